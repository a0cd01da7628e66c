"""The misbehaviours themselves: what a script's action does to a connection.

Contract: called from the conversation's greenlet with everything queued already sent; each waits
only by gevent. Those that end the connection raise ``Ended``; the caller closes the socket.
"""

import struct

import gevent
from gevent import socket

from gwsmtp.trial.script import Kind

HANG_S = 600.0
DRIP_INTERVAL_S = 0.1
FLOOD_OCTETS = 64 * 1024 * 1024
GARBAGE = bytes(range(256)) * 2 + b"\r\n"

_CLOSE_WAIT_S = 2.0
_CLOSE_OCTETS = 65536
_HANG_LOOK_S = 0.05
_TCP_ESTABLISHED = 1  # linux/include/net/tcp_states.h


class Ended(Exception):
    """The conversation is over; ``reason`` goes into the journal."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def perform(kind: Kind, sock: socket.socket, reply: bytes) -> None:
    """Does ``kind``; ``reply`` is what would have been said."""
    match kind:
        case Kind.HANG:
            _hang(sock)
        case Kind.CLOSE:
            close(sock)
            raise Ended("script: close")
        case Kind.RESET:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise Ended("script: reset")  # closing with this linger sends RST
        case Kind.GARBAGE:
            sock.sendall(GARBAGE)
        case Kind.FLOOD:
            _flood(sock, b"", reply[:3] + b"-" + b"flood " * 12 + b"\r\n")
        case Kind.LINE:
            _flood(sock, reply[:3] + b" ", b"endless ")
        case Kind.DRIP:
            for octet in reply:
                sock.sendall(bytes((octet,)))
                gevent.sleep(DRIP_INTERVAL_S)
        case _:
            raise ValueError(f"{kind} is said, not done")


def close(sock: socket.socket, last: bytes = b"") -> None:
    """Says ``last`` and ends the connection so that the client can read it: a plain close with
    unread input would send RST and lose it. Reads and drops for at most 2 s or 64 KiB.
    """
    try:
        if last:
            sock.sendall(last)
        sock.shutdown(socket.SHUT_WR)
        gevent.with_timeout(_CLOSE_WAIT_S, _drop_input, sock, timeout_value=None)
    except OSError:
        pass


def _drop_input(sock: socket.socket) -> None:
    dropped = 0
    while dropped < _CLOSE_OCTETS and (data := sock.recv(_CLOSE_OCTETS)):
        dropped += len(data)


def last_words(sock: socket.socket, reply: bytes) -> None:
    """Tries once to say ``reply`` without waiting."""
    try:
        sock.setblocking(False)
        sock.send(reply)
    except OSError:
        pass


def _hang(sock: socket.socket) -> None:
    """Reads nothing, so that a client that sends is held up too; hence the look at the state of
    the connection instead of a recv.
    """
    for _ in range(int(HANG_S / _HANG_LOOK_S)):
        if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _TCP_ESTABLISHED:
            raise Ended("script: hang, client left")
        gevent.sleep(_HANG_LOOK_S)
    raise Ended("script: hang")


def _flood(sock: socket.socket, first: bytes, again: bytes) -> None:
    sock.sendall(first)
    chunk = again * (65536 // len(again))
    for _ in range(FLOOD_OCTETS // len(chunk)):
        sock.sendall(chunk)
        gevent.sleep(0)  # a client that reads fast must not stop the other sessions
    close(sock)
    raise Ended("script: flood")
