"""Scan engines: what is accepted, normalised and refused."""

from pathlib import Path
from typing import Any

import pytest

from tests.config.helpers import HEAD, problems, value_of


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("scan: {engines: [{name: a, address: 'h.example:7'}]}", "scan.runs_embedded", False),
        ("scan: {embedded: off}", "scan.runs_embedded", False),
    ],
)
def test_values_are_normalised(tmp_path: Path, text: str, key: str, expected: Any) -> None:
    assert value_of(tmp_path, text, key) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scan: {engines: [{name: a, address: engine}]}", "needs host:port or unix:/path"),
    ],
)
def test_values_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    found = problems(tmp_path, HEAD + text)
    assert any(expected in line for line in found), found
