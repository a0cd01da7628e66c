"""Where somebody listens: ``host:port`` as a value, and the other form, a unix socket.

Parsing is strict and explains itself: a ``ValueError`` says what is wrong in words that fit behind
a configuration key. No name is looked up here; nothing blocks.
"""

import ipaddress
import re

MAX_PORT = 65535
_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
    r"(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?\Z"
)
_ALL_NUMERIC = re.compile(r"[0-9.]+\Z")
# sockaddr_un holds 108 bytes with the closing zero
_MAX_UNIX_PATH = 107


class Endpoint:
    """An address and a port. ``host`` is a canonical IP address or a name in lower case; made at
    start and shared, so never changed afterwards.
    """

    __slots__ = ("host", "port")

    host: str
    port: int

    def __init__(self, host: str, port: int) -> None:
        object.__setattr__(self, "host", host)
        object.__setattr__(self, "port", port)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Endpoint.{name} cannot be changed")

    @property
    def is_ipv6(self) -> bool:
        """The host is an IPv6 address, not a name and not IPv4."""
        return ":" in self.host

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.is_ipv6 else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"Endpoint({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Endpoint) and (self.host, self.port) == (other.host, other.port)

    def __hash__(self) -> int:
        return hash((self.host, self.port))

    def __reduce__(self) -> tuple[type["Endpoint"], tuple[str, int]]:
        return Endpoint, (self.host, self.port)


class UnixEndpoint:
    """A unix socket's path; ``str()`` gives ``unix:/path`` back."""

    __slots__ = ("path",)

    path: str

    def __init__(self, path: str) -> None:
        object.__setattr__(self, "path", path)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"UnixEndpoint.{name} cannot be changed")

    def __str__(self) -> str:
        return f"unix:{self.path}"

    def __repr__(self) -> str:
        return f"UnixEndpoint({self.path!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnixEndpoint) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __reduce__(self) -> tuple[type["UnixEndpoint"], tuple[str]]:
        return UnixEndpoint, (self.path,)


def parse_endpoint(
    text: str, default_port: int, *, names: bool = False, any_port: bool = False
) -> Endpoint:
    """``ip``, ``ip:port``, ``[v6]:port`` or a bare IPv6 address; with ``names`` a host name too.

    With ``any_port`` port 0 is good: to listen on whatever port the system has free.
    Raises ValueError with a sentence about what is wrong.
    """
    host, port_text = _split_port(text.strip())
    if port_text == "0" and any_port:
        port = 0
    else:
        port = default_port if port_text is None else _port(port_text)
    return Endpoint(_host(host, names), port)


def parse_service_address(
    text: str, default_port: int | None = None, *, any_port: bool = False
) -> Endpoint | UnixEndpoint:
    """``unix:/path`` or ``host:port`` (engines, statistics, reputation).

    Without ``default_port`` the port must be given; ``any_port`` as ``parse_endpoint``. Raises
    ValueError.
    """
    text = text.strip()
    if text.startswith("unix:"):
        path = text[len("unix:") :]
        if not path.startswith("/"):
            raise ValueError("a unix socket needs an absolute path: unix:/path")
        if len(path.encode()) > _MAX_UNIX_PATH:
            raise ValueError(f"a unix socket's path has at most {_MAX_UNIX_PATH} bytes")
        if "\0" in path:
            raise ValueError("a path cannot hold a NUL")
        return UnixEndpoint(path)
    if default_port is None and _split_port(text)[1] is None:
        raise ValueError("needs host:port or unix:/path")
    return parse_endpoint(text, default_port or 0, names=True, any_port=any_port)


def is_host_name(text: str) -> bool:
    """A syntactically good host name (RFC 1123 2.1; underscores are tolerated, as DNS does)."""
    return bool(_HOST_NAME.match(text)) and not _ALL_NUMERIC.match(text)


def _split_port(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("an IPv6 address with a port is written [address]:port")
        if ":" not in host:
            raise ValueError("brackets are for IPv6 addresses only")
        return host, rest[1:] if rest else None
    if text.count(":") > 1:
        return text, None
    host, colon, port = text.partition(":")
    return host, port if colon else None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= MAX_PORT):
        raise ValueError(f"a port is a number from 1 to {MAX_PORT}")
    return int(text)


def _host(text: str, names: bool) -> str:
    if "%" in text:
        raise ValueError("an address with a scope (%) is not supported")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        if names and is_host_name(text):
            return text.lower().rstrip(".")
        what = "an IP address or host name" if names else "an IP address"
        raise ValueError(f"{what} is needed, with or without :port") from None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
