"""Persistent sessions meet in no one worker: the split over two workers, measured."""

import socket
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from gwsmtp.limits.slots import Gauge, Role
from tests.process.conftest import StartGateway
from tests.support.gateway import Gateway
from tests.support.processes import children
from tests.support.rawclient import RawClient
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

SESSIONS = 20
ROUNDS = 10


def split(gateway: Gateway) -> tuple[int, ...]:
    """Live sessions of each worker."""
    return tuple(worker.gauges[Gauge.SESSIONS] for worker in children(gateway, Role.WORKER))


def one_after_the_other(gateway: Gateway, stack: ExitStack) -> None:
    for _ in range(SESSIONS):
        client = stack.enter_context(RawClient(gateway.address))
        client.read_reply()


def all_at_once(gateway: Gateway, stack: ExitStack) -> None:
    host, _, port = gateway.address.rpartition(":")
    socks = [stack.enter_context(socket.socket()) for _ in range(SESSIONS)]
    for sock in socks:
        sock.setblocking(False)
    for sock in socks:
        sock.connect_ex((host, int(port)))


@pytest.mark.parametrize("connect", [one_after_the_other, all_at_once])
def test_twenty_sessions_over_two_workers_are_never_worse_than_13_and_7(
    start_gateway: StartGateway, connect: Callable[[Gateway, ExitStack], None]
) -> None:
    gateway = start_gateway("127.0.0.1:1")
    seen: Counter[tuple[int, ...]] = Counter()
    for _ in range(ROUNDS):
        with ExitStack() as stack:
            connect(gateway, stack)
            wait_for(lambda: sum(split(gateway)) == SESSIONS, f"{SESSIONS} sessions")
            seen[split(gateway)] += 1
        wait_for(lambda: sum(split(gateway)) == 0, "the end of all sessions")
    print(f"\n{dict(seen)}")
    assert max(max(pair) for pair in seen) <= 13, seen
