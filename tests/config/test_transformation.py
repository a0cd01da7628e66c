"""Address Transformation, rows 88-89: what is accepted, normalised and refused."""

from pathlib import Path
from typing import Any

import pytest

from tests.config.helpers import HEAD, problems, value_of


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        (
            "address_transformation: {rules: [a], definitions: "
            "[{name: a, match: '*@a.example', replace: '*@b.example'}]}",
            "address_transformation.rules.0.override.sender",
            None,
        ),
    ],
)
def test_values_are_normalised(tmp_path: Path, text: str, key: str, expected: Any) -> None:
    assert value_of(tmp_path, text, key) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "address_transformation: {definitions: [{name: a, match: 'a b', replace: c}]}",
            "must be an address with * and ?",
        ),
        (
            "address_transformation: {rules: [{name: a, override: {sender: maybe}}]}",
            "must be true or false",
        ),
    ],
)
def test_values_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    found = problems(tmp_path, HEAD + text)
    assert any(expected in line for line in found), found
