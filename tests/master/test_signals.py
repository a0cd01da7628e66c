"""The table of signals is true, and the queue records them."""

import os
import signal
from collections.abc import Iterator

import pytest

from gwsmtp.master.master import Master
from gwsmtp.master.signals import IGNORED, SIGNALS, SignalQueue


@pytest.fixture
def queue() -> Iterator[SignalQueue]:
    queue = SignalQueue()
    queue.open()
    yield queue
    queue.close()


def test_every_row_is_handled_and_says_what_it_does() -> None:
    for row in SIGNALS:
        handler = getattr(Master, row.handler)
        assert handler.__doc__
        assert row.does
        assert row.name == row.signum.name[3:]
    assert not {row.signum for row in SIGNALS} & set(IGNORED)
    assert len({row.signum for row in SIGNALS}) == len(SIGNALS)


def test_signals_wake_and_are_taken_in_order(queue: SignalQueue) -> None:
    for signum in (signal.SIGTTOU, signal.SIGTERM, signal.SIGTTOU):
        os.kill(os.getpid(), signum)
        queue.wait(5)
    assert queue.take() == [signal.SIGTTOU, signal.SIGTERM, signal.SIGTTOU]
    assert queue.take() == []


def test_wait_ends_without_a_signal(queue: SignalQueue) -> None:
    queue.wait(0.01)
    assert queue.take() == []


def test_ignored_signals_are_not_queued(queue: SignalQueue) -> None:
    for signum in IGNORED:
        os.kill(os.getpid(), signum)
    assert queue.take() == []


def test_closing_gives_the_signals_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    queue = SignalQueue()
    queue.open()
    assert signal.getsignal(signal.SIGTERM) != before
    queue.close()
    queue.close()
    assert signal.getsignal(signal.SIGTERM) == before
