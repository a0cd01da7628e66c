"""Target: PROXY headers.

Held: nothing raises; the pieces are answered like the whole; what is taken for a header is one by a
pattern of its own, and the client is the address that stands in it.
"""

import ipaddress
import re
import struct

from gwsmtp.protocol import proxyheader
from tests.fuzz.cutting import pieces, split
from tests.fuzz.fragments import PROXY, expanded, full_table

FRAGMENTS = PROXY
LONGEST = 4096

_TABLE = full_table(FRAGMENTS)
_PORT = rb"(0|[1-9]\d{0,4})"
_LINE = re.compile(
    rb"PROXY (?:TCP[46] ([\d.a-fA-F:]+) [\d.a-fA-F:]+ %b %b|UNKNOWN.*)\r\n" % ((_PORT,) * 2)
)
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def check(wire: bytes, steering: bytes) -> None:
    """Raises where a header is not what it should be."""
    so_far, first = b"", None
    for piece in pieces(wire, steering):
        so_far += piece
        first = proxyheader.read_header(so_far)
        if first is not None:
            break
    whole = proxyheader.read_header(wire)
    assert _told(first) == _told(whole), f"{wire!r} is {whole}, in pieces {first}"
    if isinstance(whole, proxyheader.Header):
        header = wire[: whole.octets]
        assert len(header) == whole.octets <= LONGEST, f"{whole} of {len(wire)} octets"
        address, port = (_line if header.startswith(b"PROXY") else _binary)(header)
        client = whole.client
        told = (_same(client.ip), client.port) if client is not None else ("", 0)
        assert told == (address, port), f"{header!r} is of {(address, port)}, read as {told}"


def _told(found: proxyheader.Header | proxyheader.Malformed | None) -> str:
    if isinstance(found, proxyheader.Header):
        return f"{found.client} {found.octets}"
    return "" if found is None else found.cause


def _same(ip: str) -> str:
    parsed = ipaddress.ip_address(ip)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def _line(header: bytes) -> tuple[str, int]:
    match = _LINE.fullmatch(header)
    assert match is not None, f"{header!r} is no header"
    assert len(header) <= 107, f"{len(header)} octets"
    if match[1] is None:
        return "", 0
    port = int(match[2])
    assert port < 65536, f"port {port}"
    return _same(match[1].decode()), port


def _binary(header: bytes) -> tuple[str, int]:
    command, family, length = struct.unpack_from(">BBH", header, len(_SIGNATURE))
    assert header.startswith(_SIGNATURE), f"{header!r} is no header"
    assert length + 16 == len(header), f"says {length} octets more, and is {len(header)}"
    if command == 0x20:
        return "", 0
    assert command == 0x21, f"command {command}"
    address, _, port, _ = struct.unpack_from(
        {0x11: ">4s4sHH", 0x21: ">16s16sHH"}[family], header, 16
    )
    return _same(str(ipaddress.ip_address(address))), port


def raw(data: bytes) -> None:
    """Octets as they are."""
    steering, wire = split(data)
    check(wire, steering)


def fragments(data: bytes) -> None:
    """Octets made of fragments."""
    steering, chosen = split(data)
    check(expanded(chosen, _TABLE), steering)
