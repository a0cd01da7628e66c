"""One flight per key: of many greenlets that want the same, one asks and the others wait for its
answer. What is known afterwards, others keep.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar, cast

from gevent.event import AsyncResult

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Flights(Generic[K, V]):
    """Used from the greenlets of one loop."""

    __slots__ = ("_flights",)

    def __init__(self) -> None:
        self._flights: dict[K, AsyncResult[V]] = {}

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
