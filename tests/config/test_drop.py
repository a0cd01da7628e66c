"""Connection Drop Services, rows 66-79: what is accepted, normalised and refused."""

from pathlib import Path
from typing import Any

import pytest

from tests.config.helpers import HEAD, problems, value_of


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        (
            "connection_drop: {rbl: {servers: [{zone: Zen.Spamhaus.org, answers: 127.0.0.2}]}}",
            "connection_drop.rbl.servers.0.answers",
            ("127.0.0.2",),
        ),
        (
            "connection_drop: {rbl: {servers: a.example}}",
            "connection_drop.rbl.servers.0.zone",
            "a.example",
        ),
        (
            "connection_drop: {ip_reputation: {host_address: rep.example}}",
            "connection_drop.ip_reputation.host_address",
            "rep.example:8080",
        ),
        (
            "connection_drop: {ip_reputation: {host_address: 127.0.0.1}}",
            "connection_drop.ip_reputation.host_address",
            "127.0.0.1",
        ),
    ],
)
def test_values_are_normalised(tmp_path: Path, text: str, key: str, expected: Any) -> None:
    assert value_of(tmp_path, text, key) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "connection_drop: {rejected_addresses: [10.1*]}",
            "rejected_addresses[0]: 10.1* has half an octet",
        ),
        ("connection_drop: {rbl: {servers: ['a b']}}", "is no domain name"),
        ("connection_drop: {rbl: {servers: [{zone: a.b, answers: [10.0.0.1]}]}}", "127.0.0.0/8"),
        ("connection_drop: {ip_reputation: {host_address: 'unix:x'}}", "absolute path"),
        ("connection_drop: {delayed_rejection_state: rctp}", 'did you mean "rcpt"?'),
    ],
)
def test_values_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    found = problems(tmp_path, HEAD + text)
    assert any(expected in line for line in found), found
