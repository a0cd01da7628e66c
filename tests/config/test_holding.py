"""The hold: what is accepted, normalised and refused."""

from pathlib import Path

import pytest

from tests.config.helpers import HEAD, problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hold: {max_share: 0.9}", "at most 0.5"),
    ],
)
def test_values_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    found = problems(tmp_path, HEAD + text)
    assert any(expected in line for line in found), found
