"""Directories: what is accepted, normalised and refused."""

from pathlib import Path
from typing import Any

import pytest

from tests.config.helpers import HEAD, problem, problems, value_of


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("paths: {base: /srv/gw}", "paths.tmp", Path("/srv/gw/tmp")),
        ("paths: {}", "paths.tmp", Path("/opt/gwava/tmp")),
        ("paths: {base: /srv/gw, log: /var/log/gw}", "paths.log", Path("/var/log/gw")),
    ],
)
def test_values_are_normalised(tmp_path: Path, text: str, key: str, expected: Any) -> None:
    assert value_of(tmp_path, text, key) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("paths: {base: ''}", "must be a path"),
        ("paths: {base: 5}", "must be a path"),
    ],
)
def test_values_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    found = problems(tmp_path, HEAD + text)
    assert any(expected in line for line in found), found


def test_a_bad_base_directory_is_one_problem(tmp_path: Path) -> None:
    assert "paths.base" in problem(tmp_path, "paths: {base: []}")
