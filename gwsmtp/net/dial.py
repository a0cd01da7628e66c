"""Outgoing TCP connections: a name to its addresses, an address to a connected socket.

Names are looked up with the system's resolver (so /etc/hosts counts) in threads, and remembered
for a minute. Blocks the calling greenlet only.
"""

import ipaddress
import socket as std_socket
from collections.abc import Callable

from gevent import socket

from gwsmtp.base.seams import Clock
from gwsmtp.net.offload import Offload

REMEMBER_S = 60.0
AddressList = tuple[str, ...]


class DialError(OSError):
    """No connection came about; the text says with whom and why."""


class Dialer:
    """Resolves and connects; one per worker."""

    __slots__ = ("_clock", "_known", "_names", "_source")

    def __init__(self, names: Offload, clock: Clock, source: str = "") -> None:
        self._names = names
        self._clock = clock
        self._source = source
        self._known: dict[str, tuple[float, AddressList]] = {}

    def addresses(self, host: str) -> AddressList:
        """The addresses of ``host``, itself if it is one; raises DialError."""
        try:
            return (str(ipaddress.ip_address(host)),)
        except ValueError:
            pass
        now = self._clock.monotonic()
        known = self._known.get(host)
        if known is not None and now < known[0]:
            return known[1]
        try:
            found = self._names.run(_look_up(host))
        except OSError as e:
            if known is not None:
                return known[1]
            raise DialError(f"{host}: {e}") from e
        if len(self._known) > 10_000:
            self._known.clear()
        self._known[host] = (now + REMEMBER_S, found)
        return found

    def connect(self, address: str, port: int) -> socket.socket:
        """A connected socket without Nagle's delay; the caller holds the deadline; raises OSError.

        An address of another family than row 10's source address is refused (row 10).
        """
        is_v6 = ":" in address
        if self._source and (":" in self._source) != is_v6:
            raise DialError(f"{address}: not the family of the source address {self._source}")
        sock = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._source:
                sock.bind((self._source, 0))
            sock.connect((address, port))
        except BaseException:
            sock.close()
            raise
        return sock


def _look_up(host: str) -> Callable[[], AddressList]:
    def look_up() -> AddressList:
        rows = std_socket.getaddrinfo(host, None, type=std_socket.SOCK_STREAM)
        return tuple(dict.fromkeys(str(row[4][0]) for row in rows))

    return look_up
