"""The one timer of a connection."""

import gevent
import pytest
from gevent.event import Event

from gwsmtp.base.errors import PeerTimeout
from gwsmtp.net.deadline import Deadline


def waits(deadline: Deadline, seconds: float, phase: str) -> str:
    """Waits for nothing until the deadline ends it."""
    deadline.arm(seconds, phase)
    try:
        gevent.sleep(20)
    except PeerTimeout as e:
        return e.phase
    return "no timeout"


def test_expiry_is_thrown_into_the_wait_with_its_phase() -> None:
    deadline = Deadline()
    started = gevent.get_hub().loop.now()
    assert waits(deadline, 0.05, "command") == "command"
    gevent.get_hub().loop.update_now()
    assert 0.04 < gevent.get_hub().loop.now() - started < 5
    deadline.close()


def test_a_later_deadline_does_not_fire_early() -> None:
    deadline = Deadline()
    deadline.arm(0.02, "first")
    deadline.disarm()
    deadline.arm(0.2, "second")
    gevent.sleep(0.06)
    deadline.disarm()
    assert waits(deadline, 0.02, "third") == "third"
    deadline.close()


def test_an_earlier_deadline_fires_in_time() -> None:
    deadline = Deadline()
    deadline.arm(30, "long")
    deadline.disarm()
    assert waits(deadline, 0.02, "short") == "short"
    deadline.close()


def test_disarmed_it_never_fires() -> None:
    deadline = Deadline()
    deadline.arm(0.02, "x")
    deadline.disarm()
    gevent.sleep(0.08)
    deadline.close()


def test_rearm_goes_on_with_the_old_deadline() -> None:
    deadline = Deadline()
    deadline.arm(0.05, "old")
    deadline.disarm()
    gevent.sleep(0.08)
    deadline.rearm()
    with pytest.raises(PeerTimeout, match="old"):
        gevent.sleep(20)
    deadline.close()


def test_interrupt_reaches_the_armed_wait_only() -> None:
    deadline, ready = Deadline(), Event()

    def victim() -> str:
        deadline.arm(30, "wait")
        ready.set()
        try:
            gevent.sleep(20)
        except ValueError as e:
            return str(e)
        return "not interrupted"

    greenlet = gevent.spawn(victim)
    ready.wait()
    deadline.interrupt(lambda: None)
    gevent.sleep(0)
    assert not greenlet.ready(), "who decides otherwise at the last moment leaves it alone"
    deadline.interrupt(lambda: ValueError("drain"))
    assert greenlet.get(timeout=5) == "drain"
    deadline.interrupt(lambda: ValueError("nobody waits"))
    gevent.sleep(0)
    deadline.close()
