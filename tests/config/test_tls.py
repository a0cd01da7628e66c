"""SSL, rows 25-35: what is accepted, normalised and refused."""

from pathlib import Path
from typing import Any

import pytest

from gwsmtp.base.endpoint import Endpoint
from tests.config.helpers import HEAD, problems, value_of


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("ssl: {listen: '[::]'}", "ssl.listen", (Endpoint("::", 465),)),
        ("ssl: {cipher_list: 'HIGH !aNULL,!RC4'}", "ssl.openssl_ciphers", "HIGH:!aNULL:!RC4"),
        ("ssl: {disable_protocols: 'SSLv2, TLSv1'}", "ssl.disable_protocols", ("SSLv2", "TLSv1")),
    ],
)
def test_values_are_normalised(tmp_path: Path, text: str, key: str, expected: Any) -> None:
    assert value_of(tmp_path, text, key) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ssl: {disable_protocols: [TLSv1.3]}", 'did you mean "TLSv1'),
        ("ssl: {cipher_list: ''}", "at least 1 characters"),
    ],
)
def test_values_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    found = problems(tmp_path, HEAD + text)
    assert any(expected in line for line in found), found
