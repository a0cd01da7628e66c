"""Message Tracking Services, rows 80-85: what is accepted, normalised and refused."""

from pathlib import Path

import pytest

from tests.config.helpers import HEAD, problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("message_tracking: {default_ou: 'a/b'}", "without / and comma"),
    ],
)
def test_values_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    found = problems(tmp_path, HEAD + text)
    assert any(expected in line for line in found), found
