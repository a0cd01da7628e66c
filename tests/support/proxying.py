"""PROXY headers put together by hand, nothing of gwsmtp."""

import ipaddress
import struct

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_DESTINATIONS = {4: "198.51.100.1", 6: "2001:db8::1"}


def v1(ip: str, port: int = 4711) -> bytes:
    """A line of version 1 for the client ``ip``."""
    version = ipaddress.ip_address(ip).version
    return f"PROXY TCP{version} {ip} {_DESTINATIONS[version]} {port} 25\r\n".encode()


def v2(ip: str, port: int = 4711, tlvs: bytes = b"") -> bytes:
    """A header of version 2 for the client ``ip``, with extensions as they are given."""
    source = ipaddress.ip_address(ip)
    destination = ipaddress.ip_address(_DESTINATIONS[source.version])
    body = source.packed + destination.packed + struct.pack(">HH", port, 25) + tlvs
    family = 0x11 if source.version == 4 else 0x21
    return SIGNATURE + struct.pack(">BBH", 0x21, family, len(body)) + body


def v2_local(body: bytes = b"") -> bytes:
    """A proxy's own health check."""
    return SIGNATURE + struct.pack(">BBH", 0x20, 0, len(body)) + body
