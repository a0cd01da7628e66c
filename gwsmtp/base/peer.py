"""Who is at the other end of a connection, normalised."""

import ipaddress


class Peer:
    """A client's address: ``ip`` in canonical text, ``::ffff:a.b.c.d`` as ``a.b.c.d``."""

    __slots__ = ("ip", "port")

    def __init__(self, ip: str, port: int) -> None:
        self.ip = ip
        self.port = port

    @property
    def literal(self) -> str:
        """The address literal of RFC 5321 4.1.3, brackets included."""
        return f"[IPv6:{self.ip}]" if ":" in self.ip else f"[{self.ip}]"

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


def peer_of(address: tuple[str, int] | tuple[str, int, int, int]) -> Peer:
    """The peer of a socket's address tuple; a scope id (``%eth0``) is dropped."""
    ip = address[0]
    if ":" in ip:
        parsed = ipaddress.IPv6Address(ip.partition("%")[0])
        mapped = parsed.ipv4_mapped
        ip = str(mapped) if mapped is not None else parsed.compressed
    return Peer(ip, address[1])
