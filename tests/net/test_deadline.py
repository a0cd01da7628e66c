"""The one timer of a connection."""

from math import inf

import gevent
import pytest
from gevent.event import Event

from gwsmtp.base.clock import monotonic
from gwsmtp.base.errors import GatewayError, PeerTimeout
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
    started = monotonic()
    assert waits(deadline, 0.05, "command") == "command"
    assert 0.04 < monotonic() - started < 5
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


class Enough(GatewayError):
    """What a watch throws here."""


def test_a_watch_is_asked_when_its_time_comes_however_often_the_wait_is_armed_anew() -> None:
    deadline = Deadline()
    asked: list[float] = []

    def look() -> float | GatewayError:
        asked.append(monotonic())
        return Enough("third") if len(asked) == 3 else 0.05

    begun = monotonic()
    deadline.watch(0.05, look)
    with pytest.raises(Enough, match="third"):
        while monotonic() - begun < 10:
            deadline.arm(30, "never")
            gevent.sleep(0.01)
            deadline.disarm()
    assert len(asked) == 3
    assert all(at - begun > 0.045 * n for n, at in enumerate(asked, 1))
    deadline.close()


def test_a_watch_asks_only_while_armed_and_makes_up_for_it() -> None:
    deadline = Deadline()
    asked: list[float] = []

    def look() -> float:
        asked.append(monotonic())
        return 30

    deadline.arm(30, "x")
    deadline.watch(0.02, look)
    deadline.disarm()
    gevent.sleep(0.06)
    assert asked == []
    assert waits(deadline, 0.05, "after it") == "after it"
    assert len(asked) == 1
    deadline.close()


def test_a_later_watch_does_not_put_off_an_earlier_one() -> None:
    deadline = Deadline()
    deadline.watch(0.02, lambda: Enough("early"))
    deadline.watch(30, lambda: Enough("early"))
    with pytest.raises(Enough):
        waits(deadline, 10, "x")
    deadline.close()


def test_after_its_error_and_after_unwatch_nothing_is_asked() -> None:
    deadline = Deadline()
    deadline.watch(0.01, lambda: Enough("once"))
    with pytest.raises(Enough):
        waits(deadline, 10, "x")
    assert waits(deadline, 0.05, "y") == "y"
    deadline.watch(0.01, lambda: Enough("never"))
    deadline.unwatch()
    assert waits(deadline, 0.05, "z") == "z"
    deadline.close()


def test_setting_the_wall_clock_ends_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's ``now`` is the wall clock's: nothing may be measured by it."""

    class Jumping:
        def __init__(self) -> None:
            self._loop = gevent.get_hub().loop

        def now(self) -> float:
            raise AssertionError("the wall clock was asked")

        def __getattr__(self, name: str) -> object:
            return getattr(self._loop, name)

    deadline = Deadline()
    monkeypatch.setattr(deadline, "_loop", Jumping())
    assert waits(deadline, 0.02, "command") == "command"
    deadline.close()


def test_it_says_since_when_the_wait_lasts() -> None:
    deadline = Deadline()
    assert deadline.armed == inf
    before = monotonic()
    deadline.arm(10, "x")
    armed = deadline.armed
    assert before <= armed <= monotonic()
    deadline.disarm()
    assert deadline.armed == inf
    gevent.sleep(0.01)
    deadline.rearm()  # nothing was completed: the wait goes on
    assert deadline.armed == armed
    deadline.close()


def test_a_wait_that_has_begun_can_be_hurried_and_never_prolonged() -> None:
    deadline = Deadline()
    deadline.hurry(lambda _seconds: 0.0)  # nothing is waited for
    gevent.spawn_later(0.01, deadline.hurry, lambda seconds: seconds / 1000)
    gevent.spawn_later(0.02, deadline.hurry, lambda _seconds: 60.0)
    started = monotonic()
    assert waits(deadline, 100, "long") == "long"
    assert 0.09 < monotonic() - started < 5
    gevent.spawn_later(0.05, deadline.hurry, lambda _seconds: 0.001)  # is over already
    started = monotonic()
    assert waits(deadline, 100, "next") == "next"
    assert 0.04 < monotonic() - started < 5
    deadline.close()
