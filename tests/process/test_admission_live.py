"""Rows 11 and 29 on a running gateway: never one session too many, exact again after a kill."""

import os
import signal
from contextlib import ExitStack

import pytest

from gwsmtp.base.decision import Action, Reason
from gwsmtp.limits.ring import read_decisions
from gwsmtp.limits.slots import Gauge, Role
from tests.process.conftest import StartGateway
from tests.support.gateway import Gateway
from tests.support.processes import children, live, table_of
from tests.support.rawclient import RawClient
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

MOST = 12
SETTINGS = {
    "server": {"listen": ["127.0.0.1:0"], "max_inbound_connections": MOST},
    "dos_protection": {"enabled": True, "limits": {"concurrency": {"mode": "off"}}},
}


def fill(gateway: Gateway, stack: ExitStack, count: int) -> list[RawClient]:
    """Clients that have read their greeting."""
    clients = [stack.enter_context(RawClient(gateway.address)) for _ in range(count)]
    for client in clients:
        assert client.read_reply().code == 220
    return clients


def wait_for_live(gateway: Gateway, count: int) -> None:
    wait_for(lambda: live(gateway)[0] == count, f"{count} live connections", 5)


def test_the_thirteenth_of_twelve_is_refused_with_its_reference(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway("127.0.0.1:1", SETTINGS)
    with ExitStack() as stack:
        clients = fill(gateway, stack, MOST)
        with RawClient(gateway.address) as one_too_many:
            reply = one_too_many.read_reply()
            assert (reply.code, reply.text[:26]) == (421, "4.3.2 Too many connections")
            assert one_too_many.read_to_end() == b""
        with table_of(gateway) as table:
            (decision,) = read_decisions(table)
        assert (decision.reason, decision.action) == (Reason.LISTENER_FULL, Action.REFUSED)
        assert (decision.counter, decision.threshold) == (MOST, MOST)
        assert f"[{decision.session_id}]" in reply.text
        line = f"sid={decision.session_id} peer=127.0.0.1 listener=plain reason=listener-full"
        wait_for(lambda: any(line in logged for logged in gateway.log_lines()), f"a line {line}")
        clients[0].quit()
        wait_for_live(gateway, MOST - 1)
        fill(gateway, stack, 1)
    wait_for_live(gateway, 0)


def test_a_killed_workers_connections_are_free_again(start_gateway: StartGateway) -> None:
    gateway = start_gateway("127.0.0.1:1", SETTINGS)
    with ExitStack() as stack:
        fill(gateway, stack, MOST)
        victim = children(gateway, Role.WORKER)[0]
        held = MOST - victim.gauges[Gauge.SESSIONS]
        assert 0 < held < MOST
        os.kill(victim.pid, signal.SIGKILL)
        wait_for_live(gateway, held)
        fill(gateway, stack, MOST - held)
        with RawClient(gateway.address) as one_too_many:
            assert one_too_many.read_reply().code == 421
    wait_for_live(gateway, 0)
