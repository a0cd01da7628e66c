"""Persistent sessions meet in no one worker: the split over two workers, measured."""

import socket
import time
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
MANY = 300
MOST_S = 3.0  # an accept that is held for 50 ms each would take 15 s; all of them take 0.1 s


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


def open_many(gateway: Gateway, stack: ExitStack) -> float:
    """Seconds for ``MANY`` persistent sessions, each greeted before the next one connects."""
    began = time.monotonic()
    for _ in range(MANY):
        stack.enter_context(RawClient(gateway.address)).read_reply()
    return time.monotonic() - began


def test_sessions_that_come_one_by_one_are_not_held(start_gateway: StartGateway) -> None:
    gateway = start_gateway("127.0.0.1:1", {"server": {"max_inbound_connections": 1024}})
    with ExitStack() as stack:
        assert open_many(gateway, stack) < MOST_S
        assert max(split(gateway)) <= 0.63 * MANY, split(gateway)


def test_sessions_that_come_upon_an_uneven_split_are_not_held(start_gateway: StartGateway) -> None:
    gateway = start_gateway("127.0.0.1:1", {"server": {"max_inbound_connections": 1024}})
    with ExitStack() as stack:
        clients: dict[int, list[RawClient]] = {0: [], 1: []}
        for _ in range(100):
            before = split(gateway)
            client = stack.enter_context(RawClient(gateway.address))
            client.read_reply()
            clients[split(gateway)[0] == before[0]].append(client)
        for client in clients[1]:
            client.close()
        wait_for(lambda: split(gateway)[1] == 0, "no session in the second worker")
        assert open_many(gateway, stack) < MOST_S
        assert max(split(gateway)) <= 0.63 * sum(split(gateway)) + 1, split(gateway)
