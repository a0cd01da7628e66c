"""Relay/Host Protection, rows 61-65: what is accepted, normalised and refused."""

from pathlib import Path
from typing import Any

import pytest

from tests.config.helpers import HEAD, problems, value_of


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        (
            "relay_protection: {allowed_sources: '10.*, 192.0.2.1'}",
            "relay_protection.allowed_sources.1.pattern",
            "192.0.2.1",
        ),
        (
            "relay_protection: {allowed_sources: [192.168.*.]}",
            "relay_protection.allowed_sources.0.any_sender",
            True,
        ),
        ("relay_protection: {allowed_sources: []}", "relay_protection.allowed_sources", ()),
    ],
)
def test_values_are_normalised(tmp_path: Path, text: str, key: str, expected: Any) -> None:
    assert value_of(tmp_path, text, key) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("relay_protection: {allowed_sources: ['*']}", "covers everybody"),
        ("relay_protection: {allowed_sources: [0.0.0.0/0]}", "covers everybody"),
        ("relay_protection: {allowed_sources: [10.*.1]}", "not at the end"),
    ],
)
def test_values_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    found = problems(tmp_path, HEAD + text)
    assert any(expected in line for line in found), found
