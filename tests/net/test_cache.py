"""The cache with two ages and one flight a key."""

import gevent
import pytest
from gevent.event import Event

from gwsmtp.net.cache import Cache


def test_ages() -> None:
    cache: Cache[str, int] = Cache(10)
    cache.put("a", 1, fresh_until=10, usable_until=20)
    assert cache.fresh("a", 9.9) == 1
    assert cache.fresh("a", 10) is None
    assert cache.usable("a", 19.9) == 1
    assert cache.usable("a", 20) is None
    cache.drop("a")
    assert cache.usable("a", 0) is None


def test_oldest_written_makes_room() -> None:
    cache: Cache[int, int] = Cache(3)
    for key in (1, 2, 3):
        cache.put(key, key, 1, 1)
    cache.put(1, 10, 1, 1)
    cache.put(4, 4, 1, 1)
    assert len(cache) == 3
    assert [cache.fresh(key, 0) for key in (1, 2, 3, 4)] == [10, None, 3, 4]


def test_one_asks_for_all() -> None:
    cache: Cache[str, str] = Cache(10)
    asked, go = [], Event()

    def ask() -> str:
        asked.append(1)
        go.wait()
        return "answer"

    greenlets = [gevent.spawn(cache.fly, "k", ask) for _ in range(5)]
    gevent.sleep(0)
    go.set()
    assert [greenlet.get(timeout=5) for greenlet in greenlets] == ["answer"] * 5
    assert len(asked) == 1


def test_everybody_gets_the_error() -> None:
    cache: Cache[str, str] = Cache(10)
    go = Event()

    def ask() -> str:
        go.wait()
        raise ValueError("no")

    def fly() -> str:
        try:
            return cache.fly("k", ask)
        except ValueError as e:
            return f"error {e}"

    greenlets = [gevent.spawn(fly) for _ in range(3)]
    gevent.sleep(0)
    go.set()
    assert [greenlet.get(timeout=5) for greenlet in greenlets] == ["error no"] * 3


def test_a_killed_asker_is_replaced() -> None:
    cache: Cache[str, str] = Cache(10)
    never = Event()
    first = gevent.spawn(cache.fly, "k", lambda: str(never.wait()))
    gevent.sleep(0)
    second = gevent.spawn(cache.fly, "k", lambda: "mine")
    gevent.sleep(0)
    first.kill()
    assert second.get(timeout=5) == "mine"
    with pytest.raises(ZeroDivisionError):
        cache.fly("k", lambda: str(1 / 0))
