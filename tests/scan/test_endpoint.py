"""Addresses of engines as people write them."""

import pytest

from gwsmtp.scan.endpoint import Endpoint, TcpEndpoint, UnixEndpoint, parse_endpoint


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("unix:/run/engine.sock", UnixEndpoint("/run/engine.sock")),
        ("unix:relative", UnixEndpoint("relative")),
        ("192.0.2.1:7900", TcpEndpoint("192.0.2.1", 7900)),
        ("[2001:db8::1]:7900", TcpEndpoint("2001:db8::1", 7900)),
        ("engine.example:1", TcpEndpoint("engine.example", 1)),
    ],
)
def test_an_endpoint_is_read_and_written(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text) == endpoint
    assert str(endpoint) == text


@pytest.mark.parametrize(
    "text",
    ["", "unix:", "host", "host:", ":25", "host:x", "host:65536", "host:-1", "::1:25", "host:²"],
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"unix:|brackets|no path"):
        parse_endpoint(text)
