"""Workers reduced to their admission: real processes, told over pipes what to do, killed at will.

A worker answers each order with one line of JSON. One that was told to ``burst`` lets connections
in and out by itself until it is told ``stop``, or killed in the middle of it.
"""

import contextlib
import json
import os
import random
import select
import signal
import socket
import time
from pathlib import Path
from typing import Any

from gwsmtp.base import procid
from gwsmtp.limits.admission import Admission
from gwsmtp.limits.arena import Table, open_table
from gwsmtp.limits.entrance import Entrance
from gwsmtp.limits.identity import Placement, identify
from gwsmtp.limits.peers import Peers
from gwsmtp.limits.policy import Policy
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.limits.slots import Role, SlotState, SlotWriter, claim_slot

ANSWER_S = 20.0


class FewPlaces(Placement):
    """All clients share four buckets, all networks two: rows are given up all the time."""

    __slots__ = ()

    def client_bucket(self, tag: int) -> int:
        """One of four."""
        return super().client_bucket(tag) % 32 // 8 * 8

    def rollup_bucket(self, tag: int) -> int:
        """One of two."""
        return super().rollup_bucket(tag) % 16 // 8 * 8


class _Desk:
    """What a worker does with its orders, inside its process."""

    def __init__(self, table: Table, slot: int, policy: Policy) -> None:
        lock = RangeLock(table, slot, time.sleep)
        self._door = Admission(table, slot, lock, Peers(table, FewPlaces(table)), policy)
        self._held: dict[int, Entrance] = {}
        self._next = 0

    def enter(
        self, listener: int, ip: str, now_ms: int, is_exempt: bool, is_proxied: bool
    ) -> dict[str, Any]:
        if is_proxied:
            entrance = self._enter_by_proxy(listener, ip, now_ms, is_exempt)
        else:
            entrance = self._door.enter(listener, identify(ip), now_ms, is_exempt=is_exempt)
        if not entrance.refused:
            self._next += 1
            self._held[self._next] = entrance
        return {
            "id": 0 if entrance.refused else self._next,
            "refused": int(entrance.refused),
            "row": entrance.row,
            "network_row": entrance.network_row,
        }

    def _enter_by_proxy(self, listener: int, ip: str, now_ms: int, is_exempt: bool) -> Entrance:
        entrance = self._door.enter_unnamed(listener, now_ms)
        if not entrance.refused:
            self._door.name(entrance, identify(ip), now_ms, is_exempt=is_exempt)
            self._door.end_unnamed(entrance)
        return entrance

    def leave(self, number: int, now_ms: int) -> dict[str, Any]:
        self._door.leave(self._held.pop(number), now_ms)
        return {}

    def burst(self, connection: socket.socket, seed: int, now_ms: int) -> dict[str, Any]:
        """Comes and goes at random until there is another order, then leaves with all of its own;
        tells how often it came.
        """
        rng, own, came = random.Random(seed), list[Entrance](), 0
        while not select.select([connection], [], [], 0)[0]:
            for _ in range(20):
                now_ms += 1
                if own and rng.random() < 0.5:
                    self._door.leave(own.pop(rng.randrange(len(own))), now_ms)
                    continue
                ip = f"10.{rng.randrange(6)}.0.{rng.randrange(40)}"
                if rng.random() < 0.5:
                    entrance = self._enter_by_proxy(rng.randrange(2), ip, now_ms, is_exempt=False)
                else:
                    entrance = self._door.enter(rng.randrange(2), identify(ip), now_ms)
                came += 1
                if not entrance.refused:
                    own.append(entrance)
        connection.recv(65536)
        for entrance in own:
            self._door.leave(entrance, now_ms)
        return {"came": came}


def _serve(path: Path, slot: int, policy: Policy, connection: socket.socket) -> None:
    table = open_table(path)
    writer = SlotWriter(table, slot)
    writer.sign_in(procid.own_id(), 1)
    writer.set_state(SlotState.READY, 1)
    desk = _Desk(table, slot, policy)
    connection.sendall(b"{}\n")
    for line in connection.makefile("rb", 0):
        order = json.loads(line)
        what, rest = order.pop("what"), order
        if what == "burst":
            rest["connection"] = connection
        connection.sendall(json.dumps(getattr(desk, what)(**rest)).encode() + b"\n")


class CrewMember:
    """One worker, as its master sees it. Start it before there are threads: it is forked."""

    def __init__(self, table: Table, number: int, policy: Policy) -> None:
        self.slot = claim_slot(table, Role.WORKER, number, 1, procid.own_id(), 1)
        self._connection, other = socket.socketpair()
        self._connection.settimeout(ANSWER_S)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._connection.close()
                _serve(table.path, self.slot, policy, other)
            finally:
                os._exit(1)
        other.close()
        self._answers = self._connection.makefile("rb")
        self._answer()

    def ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Has it do something and waits for the answer."""
        self.tell(what, **arguments)
        return self._answer()

    def tell(self, what: str, **arguments: Any) -> None:
        """Has it do something that is answered later."""
        order = {"what": what, **arguments}
        self._connection.sendall(json.dumps(order).encode() + b"\n")

    def stop_burst(self) -> dict[str, Any]:
        """Ends a burst; waits until its last connection has left."""
        self._connection.sendall(b"\n")
        return self._answer()

    def kill(self) -> None:
        """SIGKILL, and waits for its end; idempotent."""
        if self.pid:
            os.kill(self.pid, signal.SIGCONT)
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0
        with contextlib.suppress(OSError):
            self._answers.close()
            self._connection.close()

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        assert line, f"worker {self.pid} has died"
        answer: dict[str, Any] = json.loads(line)
        return answer
