"""The PROXY protocol's header, versions 1 and 2, as HAProxy's ``proxy-protocol.txt`` has it: what a
proxy says, before anything else, about the client whose connection it passes on.

Pure: ``read_header`` is given everything that has come so far and may be asked again with more of
it; how the octets were cut makes no difference, as what is wrong is wrong from its first octet on.
Who may be believed is the caller's to know. Where the client has gone to is checked for its form
and not told: nobody needs it. Extensions (TLVs) are stepped over, their checksum is not verified.

Deviation: a version 2 header of more than ``LONGEST_V2`` octets is refused, though its length field
allows 65,535. PROXY with an address family that is none of the Internet's (AF_UNSPEC, AF_UNIX), or
over UDP, is refused as well, as the specification leaves to the receiver: who such a client is,
nobody could count.
"""

import ipaddress
import re
from typing import Final, NamedTuple

from gwsmtp.base.peer import Peer, peer_of

LONGEST_V1: Final = 107
"""Octets of a version 1 header, its CRLF included (section 2.1)."""
LONGEST_V2: Final = 4096
"""Octets of a version 2 header with its extensions: what a proxy adds of TLS has some hundred."""

_V1: Final = b"PROXY "
_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V2_FIXED: Final = 16
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_TCP4: Final = 0x11
_TCP6: Final = 0x21
_PORT: Final = re.compile(rb"0|[1-9][0-9]{0,4}")
_NUMBERS_V4: Final = re.compile(rb"[0-9.]{7,15}")
_NUMBERS_V6: Final = re.compile(rb"[0-9A-Fa-f:.]{2,45}")


class Header(NamedTuple):
    """``client`` is who the proxy speaks for, None where it speaks for itself (LOCAL, UNKNOWN: a
    health check). ``octets``: how long the header is; what is behind it is the client's.
    """

    client: Peer | None
    octets: int


class Malformed(NamedTuple):
    """``cause`` says in a clause what is wrong."""

    cause: str


def read_header(octets: bytes) -> Header | Malformed | None:
    """What ``octets`` begin with; None as long as that is no whole header yet."""
    if octets.startswith(_V1):
        return _read_v1(octets)
    if octets.startswith(_V2):
        return _read_v2(octets)
    if _V1.startswith(octets) or _V2.startswith(octets):
        return None
    return Malformed("no PROXY header")


# Version 1: a line of text ------------------------------------------------------------------------


def _read_v1(octets: bytes) -> Header | Malformed | None:
    end = octets.find(b"\n", 0, LONGEST_V1)
    if end < 0:
        if len(octets) < LONGEST_V1:
            return None
        return Malformed(f"version 1: more than {LONGEST_V1} octets")
    line = octets[len(_V1) : end]
    if not line.endswith(b"\r"):
        return Malformed("version 1: a line end that is no CRLF")
    kind, *rest = line[:-1].split(b" ")
    if kind == b"UNKNOWN":  # whatever follows is to be ignored
        return Header(None, end + 1)
    if kind not in (b"TCP4", b"TCP6"):
        return Malformed("version 1: unknown protocol")
    if len(rest) != 4:
        return Malformed("version 1: wrong number of fields")
    read_ip = _ip_v4 if kind == b"TCP4" else _ip_v6
    source, destination = read_ip(rest[0]), read_ip(rest[1])
    source_port, destination_port = _port(rest[2]), _port(rest[3])
    if not source or not destination:
        return Malformed("version 1: bad address")
    if source_port < 0 or destination_port < 0:
        return Malformed("version 1: bad port")
    return Header(peer_of((source, source_port)), end + 1)


def _ip_v4(field: bytes) -> str:
    """The address in canonical text, "" for what is none."""
    try:
        return str(ipaddress.IPv4Address(field.decode())) if _NUMBERS_V4.fullmatch(field) else ""
    except ValueError:
        return ""


def _ip_v6(field: bytes) -> str:
    try:
        return str(ipaddress.IPv6Address(field.decode())) if _NUMBERS_V6.fullmatch(field) else ""
    except ValueError:
        return ""


def _port(field: bytes) -> int:
    """The number, without leading zeroes; -1 for what is no port."""
    number = int(field) if _PORT.fullmatch(field) else -1
    return number if number <= 65535 else -1


# Version 2: binary --------------------------------------------------------------------------------


def _read_v2(octets: bytes) -> Header | Malformed | None:
    if len(octets) < _V2_FIXED:
        return None
    command, family = octets[12], octets[13]
    length = _V2_FIXED + int.from_bytes(octets[14:16], "big")
    if command not in (_LOCAL, _PROXY):
        return Malformed("version 2: unknown version or command")
    if length > LONGEST_V2:
        return Malformed(f"version 2: more than {LONGEST_V2} octets")
    if command == _LOCAL:  # whatever follows is to be ignored
        return None if len(octets) < length else Header(None, length)
    if family not in (_TCP4, _TCP6):
        return Malformed(f"version 2: address family and transport 0x{family:02x}")
    address = 4 if family == _TCP4 else 16
    if length < _V2_FIXED + 2 * address + 4:
        return Malformed("version 2: too short for its addresses")
    if len(octets) < length:
        return None
    source = octets[_V2_FIXED : _V2_FIXED + address]
    ports = _V2_FIXED + 2 * address
    port = int.from_bytes(octets[ports : ports + 2], "big")
    return Header(peer_of((str(ipaddress.ip_address(source)), port)), length)
