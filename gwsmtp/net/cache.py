"""A bounded cache with two ages, and one flight per key.

An entry is fresh until ``fresh_until`` and may be used until ``usable_until`` when nobody can be
asked. Time is an argument. Oldest written entries go first when the cache is full. ``fly`` makes
sure that of many greenlets that miss the same key one asks and the others wait for its answer.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar, cast

from gevent.event import AsyncResult

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """At most ``capacity`` entries; used from the greenlets of one loop."""

    __slots__ = ("_capacity", "_entries", "_flights")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: dict[K, tuple[V, float, float]] = {}
        self._flights: dict[K, AsyncResult[V]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def fresh(self, key: K, now: float) -> V | None:
        """The value if it is fresh at ``now``."""
        entry = self._entries.get(key)
        return entry[0] if entry is not None and now < entry[1] else None

    def usable(self, key: K, now: float) -> V | None:
        """The value if it may still be used at ``now``, fresh or not."""
        entry = self._entries.get(key)
        return entry[0] if entry is not None and now < entry[2] else None

    def put(self, key: K, value: V, fresh_until: float, usable_until: float) -> None:
        """Writes an entry; the oldest written one makes room."""
        self._entries.pop(key, None)
        if len(self._entries) >= self._capacity:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (value, fresh_until, usable_until)

    def drop(self, key: K) -> None:
        """Forgets an entry."""
        self._entries.pop(key, None)

    def fly(self, key: K, ask: Callable[[], V]) -> V:
        """What ``ask`` returns, called by one greenlet for all that want ``key`` now; blocks the
        greenlet. Everybody gets the exception ``ask`` raises.
        """
        while (flight := self._flights.get(key)) is not None:
            try:
                return cast(V, flight.get())
            except _Abandoned:
                continue
        flight = AsyncResult()
        self._flights[key] = flight
        try:
            value = ask()
        except Exception as e:
            flight.set_exception(e)
            raise
        except BaseException:
            # The asking greenlet was killed: that is nobody else's answer.
            flight.set_exception(_Abandoned())
            raise
        else:
            flight.set(value)
            return value
        finally:
            del self._flights[key]


class _Abandoned(Exception):
    """The greenlet that asked for all was killed; another one asks."""
