"""Workers: what is accepted, normalised and refused."""

from pathlib import Path

import pytest

from tests.config.helpers import HEAD, config_of, problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("workers: {count: 29}", "at most 28"),
        ("workers: {user: 'a b'}", "does not fit the pattern"),
    ],
)
def test_values_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    found = problems(tmp_path, HEAD + text)
    assert any(expected in line for line in found), found


def test_as_many_workers_as_cores(tmp_path: Path) -> None:
    assert 1 <= config_of(tmp_path, "").workers.number <= 28
