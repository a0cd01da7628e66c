"""Whether the other end of a loopback connection has read all that was sent to it.

Asks the kernel (sock_diag(7), or /proc/net/tcp where that is not to be had) for the octets in the
other end's receive queue: so a test can have its writes read one by one without waiting blindly.
Linux and IPv4 only.
"""

import os
import socket
import struct
import time
from pathlib import Path

from tests.support.rawclient import RawClient

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST = 1
_ALL_STATES = 0xFFFFFFFF
_LISTEN = "0A"  # in /proc/net/tcp
_RQUEUE_AT = 16 + 4 + 48 + 4  # nlmsghdr; family to retransmissions; the socket's id; expiry


def wait_until_read(client: RawClient, deadline_s: float = 10) -> None:
    """Returns when the server has read all that ``client`` has sent."""
    queue = PeerQueue(client.sock)
    try:
        queue.wait_until_read(deadline_s)
    finally:
        queue.close()


def unread_at(address: str) -> int:
    """Octets that the server at ``address`` has not read, on all of its connections."""
    host, _, port = address.rpartition(":")
    local = f"{socket.inet_aton(host)[::-1].hex().upper()}:{int(port):04X}"
    lines = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
    ours = [fields for fields in map(str.split, lines) if fields[1] == local]
    return sum(int(fields[4].partition(":")[2], 16) for fields in ours if fields[3] != _LISTEN)


class PeerQueue:
    """The receive queue at the other end of ``sock``, which is connected over loopback."""

    def __init__(self, sock: socket.socket) -> None:
        mine, theirs = sock.getsockname(), sock.getpeername()
        self._ports = (theirs[1], mine[1])
        self._addresses = tuple(socket.inet_aton(end[0]) for end in (theirs, mine))
        self._diag = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
        self._is_diag_known = True

    def close(self) -> None:
        """Ends the questions."""
        self._diag.close()

    def wait_until_read(self, deadline_s: float = 10) -> None:
        """Returns when the queue is empty; fails after ``deadline_s``."""
        ends_at = time.monotonic() + deadline_s
        while octets := self.octets():
            assert time.monotonic() < ends_at, f"{octets} octets are still unread"
            os.sched_yield()

    def octets(self) -> int:
        """How much the other end has not read yet."""
        if self._is_diag_known:
            octets = self._ask()
            if octets is not None:
                return octets
            self._is_diag_known = False
        return self._look_up()

    def _ask(self) -> int | None:
        theirs, mine = self._addresses
        ends = struct.pack("!HH16s16s", *self._ports, theirs, mine)
        body = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, _ALL_STATES)
        body += ends + struct.pack("=III", 0, _ALL_STATES, _ALL_STATES)
        head = struct.pack("=IHHII", 16 + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST, 1, 0)
        self._diag.send(head + body)
        answer = self._diag.recv(4096)
        if struct.unpack_from("=H", answer, 4)[0] != _SOCK_DIAG_BY_FAMILY:
            return None
        return int(struct.unpack_from("=I", answer, _RQUEUE_AT)[0])

    def _look_up(self) -> int:
        ports = [f":{port:04X}" for port in self._ports]
        for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(ports[0]) and fields[2].endswith(ports[1]):
                return int(fields[4].partition(":")[2], 16)
        return 0
