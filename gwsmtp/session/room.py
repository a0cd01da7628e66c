"""Sessions under pressure: they make room, or have to hurry.

``slowest`` finds out who has kept a worker waiting longest: since a command or a piece of a message
was complete last, as that is what arms a session's deadline. ``make_room`` ends it with 421 where
it can still be told, unless it has begun to work in that very moment. Called by the worker, in its
loop; nothing waits.
"""

from collections.abc import Iterable
from math import inf
from typing import Final, Protocol, TypeVar

from gwsmtp.base.clock import monotonic
from gwsmtp.net.deadline import Deadline
from gwsmtp.session.conduct import Conduct
from gwsmtp.session.pace import CutOff

MADE_ROOM: Final = "made room for another client"


class Guest(Protocol):
    """``session.Session`` is the one there is."""

    conduct: Conduct

    @property
    def deadline(self) -> Deadline:
        """That of the waits for the client."""
        ...


G = TypeVar("G", bound=Guest)


def slowest(guests: Iterable[G]) -> G | None:
    """The one whose client has been waited for longest; None where no client is waited for."""
    found, since = None, inf
    for guest in guests:
        armed = guest.deadline.armed
        if armed < since:
            found, since = guest, armed
    return found


def make_room(guest: Guest) -> None:
    """Ends a session soon, if its client is still waited for then."""
    deadline, conduct = guest.deadline, guest.conduct

    def leave() -> CutOff:
        return CutOff(conduct.make_room(monotonic() - deadline.armed), MADE_ROOM)

    deadline.interrupt(leave)
