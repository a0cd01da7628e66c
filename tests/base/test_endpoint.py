"""Endpoints: every accepted spelling, and a reason for every other one."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwsmtp.base.endpoint import (
    Endpoint,
    UnixEndpoint,
    is_host_name,
    parse_endpoint,
    parse_service_address,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1", "127.0.0.1:25"),
        ("127.0.0.1:2525", "127.0.0.1:2525"),
        ("[::1]:2525", "[::1]:2525"),
        ("[::1]", "[::1]:25"),
        ("::1", "[::1]:25"),
        ("2001:DB8:0::1", "[2001:db8::1]:25"),
        ("::ffff:10.0.0.1", "10.0.0.1:25"),
        ("  0.0.0.0:25 ", "0.0.0.0:25"),
    ],
)
def test_spellings_of_an_address(text: str, expected: str) -> None:
    endpoint = parse_endpoint(text, 25)
    assert str(endpoint) == expected
    assert parse_endpoint(str(endpoint), 1) == endpoint


@pytest.mark.parametrize(
    "text",
    ["", "mail.example.com", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:²",
     "[::1", "[::1]25", "[127.0.0.1]:25", "1.2.3", "fe80::1%lo", "1.2.3.4:5:6", ":25"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_endpoint(text, 25)


def test_names_only_where_they_are_asked_for() -> None:
    assert parse_endpoint("Mail.Example.com.:26", 25, names=True) == Endpoint(
        "mail.example.com", 26
    )
    with pytest.raises(ValueError, match="host name"):
        parse_endpoint("not a name", 25, names=True)
    with pytest.raises(ValueError, match="host name"):
        parse_endpoint("1.2.3.4.5", 25, names=True)


def test_service_addresses() -> None:
    assert parse_service_address("unix:/run/engine.sock") == UnixEndpoint("/run/engine.sock")
    assert str(parse_service_address("unix:/run/e")) == "unix:/run/e"
    assert parse_service_address("localhost:7") == Endpoint("localhost", 7)
    assert parse_service_address("127.0.0.1", 8080) == Endpoint("127.0.0.1", 8080)


@pytest.mark.parametrize("text", ["unix:run", "unix:", "unix:/" + "x" * 107, "host", "unix:/a\0"])
def test_bad_service_addresses(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_service_address(text)


def test_endpoints_are_values_that_cannot_change() -> None:
    endpoint = Endpoint("::1", 25)
    assert endpoint.is_ipv6
    assert repr(endpoint) == "Endpoint('[::1]:25')"
    assert len({endpoint, Endpoint("::1", 25)}) == 1
    assert pickle.loads(pickle.dumps(endpoint)) == endpoint
    with pytest.raises(AttributeError):
        endpoint.port = 1
    unix = UnixEndpoint("/a")
    assert pickle.loads(pickle.dumps(unix)) == unix
    assert len({unix, UnixEndpoint("/a")}) == 1
    assert repr(unix) == "UnixEndpoint('/a')"
    with pytest.raises(AttributeError):
        unix.path = "/b"


@pytest.mark.parametrize(
    ("text", "good"),
    [("a", True), ("a-b.c", True), ("_dmarc.example", True), ("1.2", False), ("-a", False),
     ("a..b", False), ("a" * 64, False), ("", False), ("ü.example", False), ("a b", False)],
)  # fmt: skip
def test_host_names(text: str, good: bool) -> None:
    assert is_host_name(text) is good


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_gives_an_endpoint_or_a_reason(text: str) -> None:
    for parse in (lambda t: parse_endpoint(t, 25, names=True), parse_service_address):
        try:
            parse(text)
        except ValueError as e:
            assert str(e)
