"""What the master says to a living child: words over a socket pair made before the fork.

Signals carry no descriptor, and those a terminal sends to a whole group may not reach children; so
each child has one SOCK_SEQPACKET pair of its own. One packet is one word of ``Word``, with a
descriptor where the word needs one. Nobody answers, nothing here waits: a child that stands still
and whose socket is full misses words, which the master is told by ``tell``'s result.

Imported by the master: no gevent.
"""

import _socket
import array
import os
import socket
from enum import Enum


class Word(Enum):
    """What can be said."""

    LOG = b"log"
    """Write to the descriptor that comes along from now on (USR1, logs were rotated)."""
    HOLD = b"hold"
    """Stop accepting; sessions go on (WINCH)."""
    ACCEPT = b"accept"
    """Accept again (HUP)."""


_LONGEST = 64


def make_pair() -> tuple[socket.socket, socket.socket]:
    """(the master's end, the child's end); both non-blocking and close-on-exec."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def tell(end: socket.socket, word: Word, fd: int = -1) -> bool:
    """Says ``word``, with a copy of ``fd``; False when the child cannot be told."""
    rights = [] if fd < 0 else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
    try:
        end.sendmsg([word.value], rights)
    except OSError:
        return False
    return True


class Hearing:
    """A child's end. ``fd`` is to be watched for reading."""

    __slots__ = ("_end", "fd")

    def __init__(self, fd: int) -> None:
        # Not the patched class: it would wait where this one says that there is nothing.
        self._end = _socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fd)
        self._end.setblocking(False)
        self.fd = fd

    def next(self) -> tuple[Word, int] | None:
        """One word and its descriptor, the caller's to close (-1: none); None where there is
        nothing to hear. Raises EOFError when the master is gone.
        """
        size = array.array("i").itemsize
        try:
            data, rights, _flags, _address = self._end.recvmsg(
                _LONGEST, socket.CMSG_SPACE(size), socket.MSG_CMSG_CLOEXEC
            )
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        fd = -1
        for level, kind, octets in rights:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(octets[: len(octets) - len(octets) % size])
                fd = fds[0] if fds else -1
        try:
            return Word(data), fd
        except ValueError:  # a newer master's word
            if fd >= 0:
                os.close(fd)
            return self.next()

    def close(self) -> None:
        """Hears no more."""
        self._end.close()
