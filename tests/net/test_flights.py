"""The flights with two ages and one flight a key."""

import gevent
import pytest
from gevent.event import Event

from gwsmtp.net.flights import Flights


def test_one_asks_for_all() -> None:
    flights: Flights[str, str] = Flights()
    asked, go = [], Event()

    def ask() -> str:
        asked.append(1)
        go.wait()
        return "answer"

    greenlets = [gevent.spawn(flights.fly, "k", ask) for _ in range(5)]
    gevent.sleep(0)
    go.set()
    assert [greenlet.get(timeout=5) for greenlet in greenlets] == ["answer"] * 5
    assert len(asked) == 1


def test_everybody_gets_the_error() -> None:
    flights: Flights[str, str] = Flights()
    go = Event()

    def ask() -> str:
        go.wait()
        raise ValueError("no")

    def fly() -> str:
        try:
            return flights.fly("k", ask)
        except ValueError as e:
            return f"error {e}"

    greenlets = [gevent.spawn(fly) for _ in range(3)]
    gevent.sleep(0)
    go.set()
    assert [greenlet.get(timeout=5) for greenlet in greenlets] == ["error no"] * 3


def test_a_killed_asker_is_replaced() -> None:
    flights: Flights[str, str] = Flights()
    never = Event()
    first = gevent.spawn(flights.fly, "k", lambda: str(never.wait()))
    gevent.sleep(0)
    second = gevent.spawn(flights.fly, "k", lambda: "mine")
    gevent.sleep(0)
    first.kill()
    assert second.get(timeout=5) == "mine"
    with pytest.raises(ZeroDivisionError):
        flights.fly("k", lambda: str(1 / 0))
