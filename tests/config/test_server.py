"""Server, rows 8-13: what is accepted, normalised and refused."""

from pathlib import Path
from typing import Any

import pytest

from gwsmtp.base.endpoint import Endpoint
from tests.config.helpers import HEAD, problems, value_of


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        (
            "server: {listen: '127.0.0.1, [::1]:26'}",
            "server.listen",
            (Endpoint("127.0.0.1", 25), Endpoint("::1", 26)),
        ),
        (
            "server:\n  listen: |\n    127.0.0.1:1 # one\n    # none\n    127.0.0.2:2\n",
            "server.listen",
            (Endpoint("127.0.0.1", 1), Endpoint("127.0.0.2", 2)),
        ),
        (
            "server: {source_bind_address: '192.0.2.1, 2001:DB8::1'}",
            "server.source_bind_address",
            ("192.0.2.1", "2001:db8::1"),
        ),
        ("server: {proxy_protocol: [10.*]}", "server.proxy_protocol", ("10.0.0.0/8",)),
        ("server: {dsn_template_file: }", "server.dsn_template_file", None),
        ("server: {dsn_template_file: /a/../b/./c}", "server.dsn_template_file", Path("/b/c")),
    ],
)
def test_values_are_normalised(tmp_path: Path, text: str, key: str, expected: Any) -> None:
    assert value_of(tmp_path, text, key) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server: {source_bind_address: [192.0.2.1, 192.0.2.2]}", "one IPv4 and one IPv6"),
        ("server: {source_bind_address: x}", "must be an IP address"),
        ("server: {proxy_protocol: [proxy.example]}", "no name"),
        ("server: {listen: mail.example}", "an IP address is needed"),
        ("server: {dsn_template_file: 5}", "must be a path"),
        ("server: {max_inbound_connections: 0}", "at least 1"),
        ("server: {max_inbound_connections: 65536}", "at most 65535"),
    ],
)
def test_values_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    found = problems(tmp_path, HEAD + text)
    assert any(expected in line for line in found), found
