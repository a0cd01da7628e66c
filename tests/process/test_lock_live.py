"""The admission lock on a running gateway: whoever keeps it is ended, and the others go on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from gwsmtp.base import procid
from gwsmtp.limits.rangelock import holder
from gwsmtp.limits.slots import Role, SlotView
from tests.process.conftest import StartGateway
from tests.support.crowdprocess import Crowd
from tests.support.gateway import Gateway
from tests.support.processes import children, live, table_of
from tests.support.rawclient import RawClient
from tests.support.running import REPOSITORY
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

GOAL_S, DEADLINE_S = 1.0, 5.0
SETTINGS = {
    "workers": {"count": 4},
    "server": {"max_inbound_connections": 400},
    "dos_protection": {"limits": {"concurrency": {"mode": "off"}, "connections": {"mode": "off"}}},
}
KEEP = """
import signal, sys, time
from pathlib import Path
from gwsmtp.limits.arena import open_table
from gwsmtp.limits.rangelock import OUTSIDER, RangeLock
from gwsmtp.limits.slots import Role, claim_slot
table = open_table(Path(sys.argv[1]))
slot = claim_slot(table, Role.TRACKER, 0, 1, (1, 1), 1) if sys.argv[2] == "slot" else OUTSIDER
RangeLock(table, slot, time.sleep).hold()
print("held", flush=True)
signal.pause()
"""


@contextmanager
def kept_lock(gateway: Gateway, kind: str) -> Iterator[subprocess.Popen[str]]:
    """A process of nobody's that holds the lock of a gateway, under a slot or without one."""
    path = gateway.base / "run" / "test.table"
    process = subprocess.Popen(
        [sys.executable, "-c", KEEP, str(path), kind],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.stdout.close()
        yield process
    finally:
        process.kill()
        process.wait()


def told(took_s: float) -> None:
    print(f"others went on {took_s:.2f} s after the stop (goal {GOAL_S:g} s)")


@pytest.mark.parametrize("kind", ["slot", "outsider"])
def test_a_stopped_holder_of_the_lock_is_ended_and_clients_are_let_in(
    start_gateway: StartGateway, kind: str
) -> None:
    gateway = start_gateway("127.0.0.1:1", SETTINGS)
    with ExitStack() as stack:
        early = stack.enter_context(RawClient(gateway.address))
        early.greet()
        keeper = stack.enter_context(kept_lock(gateway, kind))
        keeper.send_signal(signal.SIGSTOP)
        began_at = time.monotonic()
        clients = [stack.enter_context(RawClient(gateway.address)) for _ in range(20)]
        assert early.command("NOOP").code == 250, "who is in does not notice"
        early.quit()
        assert [client.read_reply().code for client in clients] == [220] * 20
        told(time.monotonic() - began_at)
        assert time.monotonic() - began_at < DEADLINE_S
        assert keeper.wait(DEADLINE_S) == -signal.SIGKILL
        line = gateway.wait_for_log("event=lock_kept")
        assert f"pid={keeper.pid} stopped=True" in line
        wait_for(lambda: live(gateway) == (20, 0), lambda: f"20 live, not {live(gateway)}", 5)
    wait_for(lambda: live(gateway) == (0, 0), lambda: f"nobody live, not {live(gateway)}", 5)


def stop_in_the_lock(gateway: Gateway) -> SlotView:
    """Stops workers at random moments until one of them holds the lock; the others go on."""
    with table_of(gateway) as table:

        def try_each() -> SlotView | None:
            for worker in children(gateway, Role.WORKER):
                os.kill(worker.pid, signal.SIGSTOP)
                wait_for(lambda pid=worker.pid: procid.is_stopped(pid), "a stop")  # type: ignore[misc]
                if holder(table) == worker.index:
                    return worker
                os.kill(worker.pid, signal.SIGCONT)
            return None

        ends_at = time.monotonic() + 60
        while time.monotonic() < ends_at:
            if found := try_each():
                return found
    raise AssertionError("no worker was ever stopped in the lock")


def test_a_worker_stopped_in_the_lock_under_load(start_gateway: StartGateway) -> None:
    gateway = start_gateway("127.0.0.1:1", SETTINGS)
    with Crowd(gateway.address) as crowd, Crowd(gateway.address) as others:
        held = crowd.connect(100)["in"]
        assert held == 100
        others.churn(100, seed=3)
        victim = stop_in_the_lock(gateway)
        began_at = time.monotonic()
        with RawClient(gateway.address) as client:
            assert client.read_reply().code == 220
        told(time.monotonic() - began_at)
        assert time.monotonic() - began_at < DEADLINE_S
        line = gateway.wait_for_log("event=lock_kept")
        assert f"pid={victim.pid} stopped=True" in line
        wait_for(lambda: len(children(gateway, Role.WORKER)) == 4, "a successor", 20)
        others.calm()
        found = crowd.noop()
        assert found["in"] + found["lost"] == held
        wait_for(
            lambda: live(gateway) == (found["in"], 0),
            lambda: f"{found['in']} live, not {live(gateway)}",
            DEADLINE_S,
        )
        assert sum("event=lock_kept" in logged for logged in gateway.log_lines()) == 1
