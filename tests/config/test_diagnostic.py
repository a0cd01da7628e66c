"""Diagnostic, rows 90-93: what is accepted, normalised and refused."""

from pathlib import Path
from typing import Any

import pytest

from tests.config.helpers import HEAD, problems, value_of


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        (
            "diagnostic: {client_ip_override_address: '::ffff:192.0.2.1'}",
            "diagnostic.client_ip_override_address",
            "192.0.2.1",
        ),
    ],
)
def test_values_are_normalised(tmp_path: Path, text: str, key: str, expected: Any) -> None:
    assert value_of(tmp_path, text, key) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("diagnostic: {client_ip_override_address: x}", "must be an IP address"),
    ],
)
def test_values_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    found = problems(tmp_path, HEAD + text)
    assert any(expected in line for line in found), found
