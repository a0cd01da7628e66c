"""Engines that go wrong while messages come in all the time.

One that dies, or answers nonsense beside a good one, costs nobody anything. One that hangs costs
its messages the deadline (SETTINGS row 5), never a session; and none of those is delivered.
"""

import os
import signal

import pytest

from gwsmtp.limits.slots import Role
from tests.process.conftest import StartGateway
from tests.support.eventlog import events
from tests.support.fakeengine import FakeEngine, Mode
from tests.support.gateway import Gateway
from tests.support.processes import wait_for_child
from tests.support.rawsink import RawSink
from tests.support.traffic import Traffic

pytestmark = pytest.mark.full

NO_VERDICT = b"451 4.3.0 "
KILLS = 3
NO_HELLO = ("mute", "rude")


def expect_no_bugs(gateway: Gateway) -> None:
    """Nothing but engines went wrong, and every message that was put off says why."""
    log = gateway.log_lines()
    wrong = [line for line in log if "level=ERROR" in line or "Traceback" in line]
    assert not [line for line in wrong if "event=child_died" not in line], wrong
    for message in events(gateway, "message"):
        assert message["outcome"] == "accepted" or message["cause"], message


def test_the_embedded_one_is_killed(start_gateway: StartGateway, sink: RawSink) -> None:
    """What it had is offered to the next one."""
    gateway: Gateway = start_gateway(sink.address)
    pids = [wait_for_child(gateway, Role.ENGINE)]
    with Traffic(gateway.address) as traffic:
        for _ in range(KILLS):
            traffic.wait_for_more(20)
            os.kill(pids[-1], signal.SIGKILL)
            pids.append(wait_for_child(gateway, Role.ENGINE, *pids))
        traffic.wait_for_more(20)
    traffic.check(sink)
    expect_no_bugs(gateway)


def test_the_embedded_one_stands_still_for_a_while(
    start_gateway: StartGateway, sink: RawSink
) -> None:
    """Within the deadline: messages wait for it."""
    gateway: Gateway = start_gateway(sink.address)
    pid = wait_for_child(gateway, Role.ENGINE)
    with Traffic(gateway.address) as traffic:
        for _ in range(3):
            traffic.wait_for_more(20)
            os.kill(pid, signal.SIGSTOP)
            traffic.wait_until_unanswered()
            os.kill(pid, signal.SIGCONT)
        traffic.wait_for_more(20)
    traffic.check(sink)
    expect_no_bugs(gateway)


def test_the_embedded_one_hangs(start_gateway: StartGateway, sink: RawSink) -> None:
    """Beyond the deadline. (How it comes back, after 10 s, is ``test_scan``'s.)"""
    gateway: Gateway = start_gateway(sink.address, {"scan": {"deadline": 1}})
    pid = wait_for_child(gateway, Role.ENGINE)
    with Traffic(gateway.address) as traffic:
        traffic.wait_for_more(20)
        os.kill(pid, signal.SIGSTOP)
        traffic.wait_until_unanswered()
        traffic.wait_for_answers(20)
        os.kill(pid, signal.SIGCONT)
    traffic.check(sink, may_hear=NO_VERDICT)
    assert len(traffic.heard) > len(traffic.accepted)
    expect_no_bugs(gateway)


@pytest.mark.parametrize("mode", ["garbage", "nonsense", "close", "half", "mute", "rude"])
def test_one_of_two_is_of_no_use(start_gateway: StartGateway, sink: RawSink, mode: Mode) -> None:
    """Each message that it spoils is offered to the other one."""
    with FakeEngine() as bad, FakeEngine() as good:
        named = [{"name": n, "address": e.address} for n, e in (("bad", bad), ("good", good))]
        gateway: Gateway = start_gateway(sink.address, {"scan": {"engines": named}})
        with Traffic(gateway.address) as traffic:
            traffic.wait_for_more(10)
            asked, bad.mode = len(bad.requests), mode
            bad.break_off()
            if mode not in NO_HELLO:
                bad.wait_for_requests(asked + 3)
            traffic.wait_for_more(60)
            bad.mode = "accept"
            traffic.wait_for_more(10)
        traffic.check(sink)
        expect_no_bugs(gateway)
