"""Thousands of clients driven by one thread, each through the steps of its plan.

    endings = run_crowd(plans, at_most=500)

A plan is an address and what its client does there, in order: octets are sent, ``Until`` waits for
octets of the server, and the last step says who ends the connection. At most ``at_most`` are open
at a time; the next one begins when one has ended, so descriptors and time are bounded.

Standard library, nothing of gwsmtp. Limits: IPv4; what is sent must fit into a socket's buffer.
"""

import contextlib
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple

_BACK_AGAIN = struct.pack("ii", 1, 0)
_CALM_S = 0.2


class Until(bytes):
    """These octets are waited for, behind those of the last ``Until``."""


class End(Enum):
    """Who ends a connection. BY_SERVER waits for it, and for a server that resets as well."""

    CLOSE = "closed"
    RESET = "reset"
    BY_SERVER = "ended by server"


Step = bytes | End


class Plan(NamedTuple):
    """What one client does at ``address`` (host:port); ``name`` is for the counts."""

    name: str
    address: str
    steps: tuple[Step, ...]


class Ending(NamedTuple):
    """How clients of one name ended, and what they had heard since their last ``Until``.

    ``how`` is an ``End``'s value, or ``early`` where the server left before its step.
    """

    name: str
    how: str
    heard: bytes


class _Member:
    __slots__ = ("_at", "_is_connected", "heard", "plan", "sock")

    def __init__(self, plan: Plan) -> None:
        host, _, port = plan.address.rpartition(":")
        self.plan = plan
        self.heard = bytearray()
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self._at = 0
        self._is_connected = False
        with contextlib.suppress(BlockingIOError):
            self.sock.connect((host, int(port)))

    def go_on(self, has_input: bool) -> Ending | None:
        """Does what can be done now; its ending once it has ended."""
        if not self._is_connected:
            error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            assert not error, f"{self.plan.name}: cannot connect: error {error}"
            self._is_connected = True
        try:
            if has_input:
                data = self.sock.recv(65536)
                self.heard += data
                if not data:
                    return self._ended_by_server()
            return self._step()
        except (ConnectionResetError, BrokenPipeError):
            return self._ended_by_server()

    def _step(self) -> Ending | None:
        for step in self.plan.steps[self._at :]:
            if isinstance(step, End):
                return self._end(step)
            if isinstance(step, Until):
                found = self.heard.find(step)
                if found < 0:
                    return None
                del self.heard[: found + len(step)]
            else:
                assert self.sock.send(step) == len(step), f"{self.plan.name}: too much at once"
            self._at += 1
        raise AssertionError(f"{self.plan.name} has no end")

    def _end(self, end: End) -> Ending | None:
        if end is End.BY_SERVER:
            return None
        if end is End.RESET:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _BACK_AGAIN)
        return self._ending(end.value)

    def _ended_by_server(self) -> Ending:
        is_meant = self.plan.steps[self._at] is End.BY_SERVER
        return self._ending(End.BY_SERVER.value if is_meant else "early")

    def _ending(self, how: str) -> Ending:
        self.sock.close()
        return Ending(self.plan.name, how, bytes(self.heard))


def run_crowd(plans: Iterable[Plan], at_most: int = 250, deadline_s: float = 60) -> Counter[Ending]:
    """Runs all plans to their ends and counts the endings; fails after ``deadline_s``."""
    ends_at = time.monotonic() + deadline_s
    waiting = iter(plans)
    members: dict[int, _Member] = {}
    endings: Counter[Ending] = Counter()
    poll = select.epoll()
    try:
        _fill(poll, members, waiting, at_most)
        while members:
            assert time.monotonic() < ends_at, f"{len(members)} have not ended: {_names(members)}"
            for fd, event in poll.poll(_CALM_S):
                member = members[fd]
                ending = member.go_on(bool(event & ~select.EPOLLOUT))
                if ending is None:
                    poll.modify(fd, select.EPOLLIN)
                else:  # closing it took it out of the poll
                    endings[ending] += 1
                    del members[fd]
            _fill(poll, members, waiting, at_most)
    finally:
        poll.close()
        for member in members.values():
            member.sock.close()
    return endings


def _fill(
    poll: select.epoll, members: dict[int, _Member], waiting: Iterator[Plan], at_most: int
) -> None:
    while len(members) < at_most and (plan := next(waiting, None)) is not None:
        member = _Member(plan)
        members[member.sock.fileno()] = member
        poll.register(member.sock.fileno(), select.EPOLLIN | select.EPOLLOUT)


def _names(members: dict[int, _Member]) -> dict[str, int]:
    return dict(Counter(member.plan.name for member in members.values()))
