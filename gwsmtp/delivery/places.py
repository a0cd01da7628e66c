"""Who may have a connection to a next hop: so many places at each, counted somewhere.

``Places`` is what a pool is given for each hop: ``limits.hops`` counts over all processes,
``OwnPlaces`` in this one alone, as call-outs want it: so many for each worker.
"""

from typing import Final, Protocol

NO_PLACE: Final = -1
_OURS: Final = 0


class Places(Protocol):
    """The places at one next hop. What is said about each method stands in ``limits.hops``."""

    def take(self, now_ms: int, since_ms: int) -> int: ...
    def give_back(self, place: int) -> None: ...
    def try_give_back(self, place: int) -> bool: ...
    @property
    def is_claimed(self) -> bool: ...
    def must_yield(self, now_ms: int, *, is_wanted: bool) -> bool: ...
    def withdraw(self) -> None: ...


class OwnPlaces:
    """So many, of which no other process knows."""

    __slots__ = ("_left",)

    def __init__(self, limit: int) -> None:
        self._left = limit

    def take(self, now_ms: int, since_ms: int) -> int:
        """A place, or NO_PLACE."""
        del now_ms, since_ms
        if not self._left:
            return NO_PLACE
        self._left -= 1
        return _OURS

    def give_back(self, place: int) -> None:
        """The connection is closed."""
        del place
        self._left += 1

    def try_give_back(self, place: int) -> bool:
        """The same."""
        del place
        self._left += 1
        return True

    @property
    def is_claimed(self) -> bool:
        """Nobody else can wait for them."""
        return False

    def must_yield(self, now_ms: int, *, is_wanted: bool) -> bool:
        """For nobody."""
        del now_ms, is_wanted
        return False

    def withdraw(self) -> None:
        """Nothing was claimed."""
