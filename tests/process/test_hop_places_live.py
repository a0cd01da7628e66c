"""Workers and queue together never have more connections to a next hop than they may, killed or
not; nobody waits for ever.
"""

import os
import signal
import threading
import time
from contextlib import suppress

import pytest

from gwsmtp.limits.hops import read_hops
from gwsmtp.limits.slots import Role
from tests.process.conftest import StartGateway
from tests.support.countinghop import CountingHop
from tests.support.gateway import Gateway
from tests.support.processes import children, table_of, wait_for_child
from tests.support.rawclient import RawClient
from tests.support.spooled import envelope, put
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

MOST = 5
CLIENTS = 16
SETTINGS = {"delivery": {"max_connections": MOST}}


class Clients:
    """Sessions that send message after message until they are told to stop."""

    def __init__(self, gateway: Gateway) -> None:
        self.replies: list[int] = []
        self._gateway = gateway
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._is_over.is_set():
            with suppress(OSError, AssertionError), RawClient(self._gateway.address) as client:
                client.greet()
                while not self._is_over.is_set():
                    reply = client.send_message("in@line.test", ["u@example.test"], b"a: b\r\n\r\n")
                    self.replies.append(reply.code)

    def stop(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(30)


def live(gateway: Gateway) -> list[int]:
    with table_of(gateway) as table:
        return [view.live for view in read_hops(table)]


def test_never_more_than_they_may_and_the_queue_has_its_turn(start_gateway: StartGateway) -> None:
    with CountingHop(0.05) as hop:
        gateway = start_gateway(hop.address, SETTINGS)
        clients = Clients(gateway)
        try:
            wait_for(lambda: hop.most == MOST, lambda: f"{MOST} connections, seen {hop.most}")
            for number in range(10):
                put(gateway, envelope(number, received_at=time.time()))
            wait_for(
                lambda: sum(name.startswith("s") for name in hop.senders) == 10,
                lambda: f"the queue's messages {gateway.log_tail()}",
                30,
            )
            for _ in range(2):
                pid = children(gateway, Role.WORKER)[0].pid
                sent = len(clients.replies)
                os.kill(pid, signal.SIGKILL)
                wait_for(lambda: len(children(gateway, Role.WORKER)) == 2, "a new worker")
                wait_for(
                    lambda sent=sent: len(clients.replies) > sent + 100,  # type: ignore[misc]
                    lambda: f"messages after a kill {gateway.log_tail()}",
                    30,
                )
                assert live(gateway) == [MOST]
            old = children(gateway, Role.QUEUE)[0].pid
            os.kill(old, signal.SIGKILL)
            wait_for_child(gateway, Role.QUEUE, old)
        finally:
            clients.stop()
        assert set(clients.replies) == {250}
        wait_for(lambda: live(gateway) == [], lambda: f"no connection, but {live(gateway)}", 15)
        assert hop.most == MOST


def test_one_worker_has_all_places_while_the_others_are_idle(start_gateway: StartGateway) -> None:
    with CountingHop(0.1) as hop:
        gateway = start_gateway(hop.address, SETTINGS | {"workers": {"count": 3}})
        idle = children(gateway, Role.WORKER)[1:]
        for child in idle:
            os.kill(child.pid, signal.SIGSTOP)
        try:
            clients = Clients(gateway)
            wait_for(lambda: hop.most == MOST, lambda: f"{MOST} connections, seen {hop.most}", 20)
        finally:
            for child in idle:
                os.kill(child.pid, signal.SIGCONT)
            clients.stop()
        assert hop.most == MOST
