"""PROXY headers: what is one, who the client is, and that cutting makes no difference."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwsmtp.protocol.proxyheader import (
    LONGEST_V1,
    LONGEST_V2,
    Header,
    Malformed,
    read_header,
)
from tests.support.proxying import SIGNATURE, v1, v2, v2_local

TLV = b"\x04\x00\x03abc"


def told(octets: bytes) -> tuple[str, int] | str | None:
    """(client, octets), ("", octets) for a health check, the cause of a refusal, or None."""
    found = read_header(octets)
    if isinstance(found, Malformed):
        return found.cause
    if found is None:
        return None
    return (str(found.client) if found.client else "", found.octets)


@pytest.mark.parametrize(
    ("octets", "client"),
    [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n", "192.0.2.7:4711"),
        (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n", "255.255.255.255:65535"),
        (b"PROXY TCP6 2001:DB8::7 2001:db8::1 4711 25\r\n", "[2001:db8::7]:4711"),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 4711 25\r\n", "192.0.2.7:4711"),
        (b"PROXY UNKNOWN\r\n", ""),
        (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", ""),
        (v2("192.0.2.7", 4711), "192.0.2.7:4711"),
        (v2("192.0.2.7", 4711, tlvs=TLV * 20), "192.0.2.7:4711"),
        (v2("2001:db8::7", 4711), "[2001:db8::7]:4711"),
        (v2("::ffff:192.0.2.7", 4711), "192.0.2.7:4711"),
        (v2("192.0.2.7", 4711, tlvs=bytes(LONGEST_V2 - 28)), "192.0.2.7:4711"),
        (v2_local(), ""),
        (v2_local(b"\x21" + bytes(40)), ""),
    ],
)
def test_the_client_is_whom_the_header_names(octets: bytes, client: str) -> None:
    assert told(octets) == (client, len(octets))
    assert told(octets + b"EHLO x\r\n") == (client, len(octets)), "what follows is the client's"
    assert {told(octets[:end]) for end in range(len(octets))} == {None}, "not before it is whole"


@pytest.mark.parametrize(
    ("octets", "cause"),
    [
        (b"EHLO x\r\n", "no PROXY header"),
        (b"PROXY\r\n", "no PROXY header"),
        (b"proxy TCP4 ", "no PROXY header"),
        (b"\r\n\r\n\0\r\nQUIT\r", "no PROXY header"),
        (b"\x16\x03\x01", "no PROXY header"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\n", "no CRLF"),
        (b"PROXY UNKNOWN\n", "no CRLF"),
        (b"PROXY TCP5 192.0.2.7 198.51.100.1 4711 25\r\n", "unknown protocol"),
        (b"PROXY UDP4 192.0.2.7 198.51.100.1 4711 25\r\n", "unknown protocol"),
        (b"PROXY \r\n", "unknown protocol"),
        (b"PROXY TCP4\r\n", "fields"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n", "fields"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25 \r\n", "fields"),
        (b"PROXY TCP4  192.0.2.7 198.51.100.1 4711 25\r\n", "fields"),
        (b"PROXY TCP4 192.0.2 198.51.100.1 4711 25\r\n", "bad address"),
        (b"PROXY TCP4 192.0.2.07 198.51.100.1 4711 25\r\n", "bad address"),
        (b"PROXY TCP4 192.0.2.7 2001:db8::1 4711 25\r\n", "bad address"),
        (b"PROXY TCP4 2001:db8::7 198.51.100.1 4711 25\r\n", "bad address"),
        (b"PROXY TCP4 192.0.2.\xb2 198.51.100.1 4711 25\r\n", "bad address"),
        (b"PROXY TCP6 192.0.2.7 198.51.100.1 4711 25\r\n", "bad address"),
        (b"PROXY TCP6 fe80::1%eth0 ::1 4711 25\r\n", "bad address"),
        (b"PROXY TCP6 1:2:3 ::1 4711 25\r\n", "bad address"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n", "bad port"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 99999\r\n", "bad port"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 04711 25\r\n", "bad port"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 25\r\n", "bad port"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 25\r\n", "bad port"),
        (b"PROXY UNKNOWN " + b"x" * LONGEST_V1, "more than 107"),
        (SIGNATURE + b"\x11\x11\0\x0c", "version or command"),
        (SIGNATURE + b"\x22\x11\0\x0c", "version or command"),
        (SIGNATURE + b"\x21\x00\0\x00", "family and transport 0x00"),
        (SIGNATURE + b"\x21\x31\0\xd8", "family and transport 0x31"),
        (SIGNATURE + b"\x21\x12\0\x0c", "family and transport 0x12"),
        (SIGNATURE + b"\x21\x11\0\x0b", "too short"),
        (SIGNATURE + b"\x21\x21\0\x0c", "too short"),
        (SIGNATURE + b"\x21\x11\xff\xff", "more than 4096"),
        (SIGNATURE + b"\x20\x00\xff\xff", "more than 4096"),
    ],
)
def test_anything_else_is_refused_with_its_cause(octets: bytes, cause: str) -> None:
    found = told(octets)
    assert isinstance(found, str)
    assert cause in found
    assert told(octets + b"more\r\n") == found, "what follows makes it no better"


def test_nothing_has_come_yet() -> None:
    assert read_header(b"") is None


def first_found(octets: bytes, cuts: list[int]) -> Header | Malformed | None:
    """The first answer when ``octets`` come in pieces."""
    for end in (*sorted(cuts), len(octets)):
        if (found := read_header(octets[:end])) is not None:
            return found
    return None


ADDRESSES = st.ip_addresses().map(str)
PORTS = st.integers(0, 65535)
HEADERS = st.one_of(
    st.builds(v1, ADDRESSES, PORTS),
    st.builds(v2, ADDRESSES, PORTS, tlvs=st.binary(max_size=300)),
    st.builds(v2_local, st.binary(max_size=300)),
    st.just(b"PROXY UNKNOWN\r\n"),
)
SPOILED = st.builds(
    lambda octets, place, octet: octets[: place % 40] + bytes([octet]) + octets[place % 40 + 1 :],
    HEADERS,
    st.integers(0),
    st.integers(0, 255),
)
BEGUN = st.sampled_from([SIGNATURE, SIGNATURE + b"\x21\x11", b"PROXY ", b"PROXY TCP4 "])
ANYTHING = st.one_of(
    st.binary(max_size=300), SPOILED, st.builds(bytes.__add__, BEGUN, st.binary(max_size=300))
)


@given(st.one_of(HEADERS, ANYTHING), st.binary(max_size=50), st.lists(st.integers(0, 400)))
def test_pieces_are_answered_like_the_whole(header: bytes, rest: bytes, cuts: list[int]) -> None:
    octets = header + rest
    whole, found = read_header(octets), first_found(octets, [min(c, len(octets)) for c in cuts])
    if isinstance(whole, Header):
        assert isinstance(found, Header)
        assert (str(found.client), found.octets) == (str(whole.client), whole.octets)
        assert 0 < whole.octets <= min(len(octets), LONGEST_V2)
    else:
        assert found == whole


@given(ADDRESSES, PORTS, st.sampled_from([v1, v2]))
def test_every_address_comes_through(ip: str, port: int, version: object) -> None:
    header = v1(ip, port) if version is v1 else v2(ip, port)
    found = read_header(header)
    assert isinstance(found, Header)
    assert found.client is not None
    parsed = ipaddress.ip_address(ip)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    assert (found.client.ip, found.client.port) == (str(mapped or parsed), port)
