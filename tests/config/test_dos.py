"""Denial of Service Protection, row 86: what is accepted, normalised and refused."""

from pathlib import Path
from typing import Any

import pytest

from tests.config.helpers import value_of


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        (
            "dos_protection: {limits: {connections: {limit: 600}}}",
            "dos_protection.limits.connections.burst",
            100,
        ),
    ],
)
def test_values_are_normalised(tmp_path: Path, text: str, key: str, expected: Any) -> None:
    assert value_of(tmp_path, text, key) == expected
