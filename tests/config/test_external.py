"""External Delivery, rows 14-17: what is accepted, normalised and refused."""

from pathlib import Path

import pytest

from tests.config.helpers import HEAD, problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("external_delivery: {line_limit: 77}", "at least 78"),
        ("external_delivery: {connection_security: starttls}", 'did you mean "tls"?'),
    ],
)
def test_values_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    found = problems(tmp_path, HEAD + text)
    assert any(expected in line for line in found), found
