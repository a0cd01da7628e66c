"""Where an engine listens: ``unix:/path``, ``host:port`` or ``[v6]:port``; pure."""

from typing import NamedTuple


class UnixEndpoint(NamedTuple):
    """A unix stream socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


class TcpEndpoint(NamedTuple):
    """A TCP socket; ``host`` without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


Endpoint = UnixEndpoint | TcpEndpoint


def parse_endpoint(text: str) -> Endpoint:
    """The address ``text`` names; ValueError with a sentence for people where it names none."""
    if text.startswith("unix:"):
        path = text[5:]
        if not path:
            raise ValueError(f"no path in {text!r}")
        return UnixEndpoint(path)
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"an IPv6 address stands in brackets: {text!r}")
    if not host or not (port.isascii() and port.isdigit()) or not 0 <= int(port) <= 65535:
        raise ValueError(f"neither unix:/path nor host:port: {text!r}")
    return TcpEndpoint(host, int(port))
