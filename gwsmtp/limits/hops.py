"""Places at next hops: at most so many connections to each over all processes, counted exactly.

A connection has its place from before it is opened until after it is closed, idle in a pool or not;
so the lock is taken when one opens and when one closes, never for a message. A place is an entry in
the process's ledger (``hopledger``), written before the hop's count is raised and cleared after it
is lowered. When a process has died its entries go, and counts are made anew from the living.

A hop is its normalised host and port. They stand in the row themselves: the tag, a hash, only finds
the row. A row is a hop's as long as somebody has a place at it; then anybody's who wants one.

Who finds no place asks again every few hundredths of a second, and after a tenth *claims* one: one
word says how many places the process has, how long it has waited, and who it is. The smallest word
wins: the poorest first, among equals who has waited longest. While a claim stands nobody behind it
takes a place, and who gives up a connection, or has one idle, looks at it (``must_yield``): idle
ones are closed for it at once, others when the claimant has none at all or at least two fewer. So
places end up shared evenly among those that want them, whoever is the busiest; a process without a
place, the queue above all, gets the next one; and one alone may have them all. A claim that has not
been renewed for half a second is nobody's: its process has got what it wanted, or is dead.

Without a row (1,024 hops have connections now), or an entry (1,024 of this process), a process
falls back to a share of its own, which counts in no table, and ``HOPS_OVERFLOW`` tells.

Limits: places by share come on top of counted ones, if others have counted some of the same hop
when the table had room again: never more than twice the most together. A host's two names are two
hops.

Called in workers and the queue. Taking and giving back want the lock and may sleep before they have
it; everything else reads without it. Time is an argument, ms of CLOCK_BOOTTIME.
"""

import ipaddress
from array import array
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from gwsmtp.limits import layout
from gwsmtp.limits.arena import Table
from gwsmtp.limits.hopledger import pack_hop
from gwsmtp.limits.layout import (
    CONTROL,
    HOP_COUNT,
    HOP_LEDGER_SIZE,
    HOP_NAME_WORDS,
    HOP_TAGS,
    HOP_WORDS,
    WORD,
    Control,
    Hop,
    hop_name,
    hop_row,
)
from gwsmtp.limits.rangelock import RangeLock

NO_PLACE: Final = -1
BY_SHARE: Final = 0
"""The place that stands in no ledger."""

CLAIM_MS: Final = 500
CLAIM_AFTER_MS: Final = 100
"""Claims of those who wait a millisecond would have busy processes open and close connections for
each other all the time.
"""
_HELD_SHIFT: Final = 56
_SINCE_SHIFT: Final = 8
_MOST_HELD: Final = 255
_SLOT_MASK: Final = 255
_SINCE_MASK: Final = (1 << 48) - 1
_PORT_OCTETS: Final = 2
_NAME_OCTETS: Final = HOP_NAME_WORDS * WORD


def hop_identity(host: str, port: int) -> bytes:
    """What names a next hop in the table: the same for the same host, however it is written. One
    that is longer than any host name has no row.
    """
    try:
        name = ipaddress.ip_address(host).compressed
    except ValueError:
        name = host.lower().rstrip(".")
    return port.to_bytes(_PORT_OCTETS, "big") + name.encode()


class HopPlaces:
    """The places one process may take, at all its next hops. ``limit`` is how many there are at
    each for all processes together, ``share`` how many this one takes where they are not counted.
    """

    __slots__ = ("free", "limit", "lock", "number", "share", "words")

    def __init__(
        self, table: Table, slot_index: int, lock: RangeLock, limit: int, share: int
    ) -> None:
        self.words = table.words
        self.lock = lock
        self.number = slot_index + 1
        self.limit = limit
        self.share = share
        first = layout.hop_ledger(slot_index)
        self.free = [first + entry for entry in range(HOP_LEDGER_SIZE - 1, -1, -1)]

    def at(self, host: str, port: int) -> "PlacesAt":
        """The places at one next hop; to be asked for once, and kept."""
        return PlacesAt(self, hop_identity(host, port))


class PlacesAt:
    """This process's places at one next hop. ``held`` is how many it has."""

    __slots__ = ("_counted", "_name", "_places", "_row", "_tag", "held")

    def __init__(self, places: HopPlaces, identity: bytes) -> None:
        self._places = places
        self._name = identity.ljust(_NAME_OCTETS, b"\0")
        digest = blake2b(identity, digest_size=WORD).digest()
        self._tag = int.from_bytes(digest, "little") or 1
        self._row = -1
        self._counted = 0
        self.held = 0

    def take(self, now_ms: int, since_ms: int) -> int:
        """A place, or NO_PLACE, after claiming one if somebody has waited long enough, since
        ``since_ms``. May sleep before it has the lock.
        """
        with self._places.lock:
            return self._take(now_ms, since_ms)

    def give_back(self, place: int) -> None:
        """The connection is closed. May sleep before it has the lock."""
        if place != BY_SHARE:
            self._places.lock.hold()
        self._give_back(place)

    def try_give_back(self, place: int) -> bool:
        """``give_back`` where nothing may wait: False when another process keeps the lock."""
        if place != BY_SHARE and not self._places.lock.try_hold():
            return False
        self._give_back(place)
        return True

    @property
    def is_claimed(self) -> bool:
        """Whether somebody waits for a place, or has not long ago. One look, for every message."""
        return self._counted > 0 and self._places.words[hop_row(self._row) + Hop.CLAIM] != 0

    def must_yield(self, now_ms: int, *, is_wanted: bool) -> bool:
        """Whether a connection is to be closed for another process that waits; ``is_wanted``: one
        of our own does too.
        """
        if not self._counted:
            return False
        words, row = self._places.words, hop_row(self._row)
        claim: int = words[row + Hop.CLAIM]
        if not self._is_anothers(claim, row, now_ms) or words[row + Hop.LIVE] < self._full_at(row):
            return False
        poorer = claim >> _HELD_SHIFT
        return not is_wanted or poorer == 0 or self.held > poorer + 1

    def withdraw(self) -> None:
        """Nobody of ours waits any more. Takes no lock: it may put out the claim of another, who
        claims again soon.
        """
        if self._row >= 0:
            words, row = self._places.words, hop_row(self._row)
            if words[row + Hop.CLAIM] & _SLOT_MASK == self._places.number:
                words[row + Hop.CLAIM] = 0

    def _full_at(self, row: int) -> int:
        full_at: int = self._places.words[row + Hop.FULL_AT]
        return min(full_at, self._places.limit)

    def _is_anothers(self, claim: int, row: int, now_ms: int) -> bool:
        """Whether a claim stands that is not ours."""
        if not claim or claim & _SLOT_MASK == self._places.number:
            return False
        claimed_ms: int = self._places.words[row + Hop.CLAIMED_MS]
        return abs(now_ms - claimed_ms) < CLAIM_MS

    def _take(self, now_ms: int, since_ms: int) -> int:
        places = self._places
        number = self._row = self._find()
        if number < 0 or not places.free:
            return self._take_share()
        words, row = places.words, hop_row(number)
        claim, mine = words[row + Hop.CLAIM], self._claim(since_ms)
        is_behind = self._is_anothers(claim, row, now_ms) and claim < mine
        live: int = words[row + Hop.LIVE]
        if live < places.limit and not is_behind:
            entry = places.free.pop()
            words[entry] = pack_hop(number)
            words[row + Hop.LIVE] = live + 1
            if claim & _SLOT_MASK == places.number:
                words[row + Hop.CLAIM] = 0
            self._counted += 1
            self.held += 1
            return entry
        if not is_behind and now_ms - since_ms >= CLAIM_AFTER_MS:
            words[row + Hop.FULL_AT] = places.limit
            words[row + Hop.CLAIMED_MS] = now_ms
            words[row + Hop.CLAIM] = mine
        return NO_PLACE

    def _claim(self, since_ms: int) -> int:
        held = min(self.held, _MOST_HELD)
        since = since_ms & _SINCE_MASK
        return held << _HELD_SHIFT | since << _SINCE_SHIFT | self._places.number

    def _take_share(self) -> int:
        places = self._places
        places.words[CONTROL + Control.HOPS_OVERFLOW] += 1
        if self.held >= places.share:
            return NO_PLACE
        self.held += 1
        return BY_SHARE

    def _give_back(self, place: int) -> None:
        self.held -= 1
        if place == BY_SHARE:
            return
        places = self._places
        try:
            words, live = places.words, hop_row(self._row) + Hop.LIVE
            if words[live]:  # what damage has made too low stays at 0
                words[live] -= 1
            words[place] = 0
        finally:
            places.lock.release()
        self._counted -= 1
        places.free.append(place)

    def _find(self) -> int:
        """The hop's row, taken for it where it has none; -1 where there is no room. While we have
        counted places it stays the one they are counted in.
        """
        if self._counted or self._is_mine(self._row):
            return self._row
        words = self._places.words
        tags = words[HOP_TAGS : HOP_TAGS + HOP_COUNT].tolist()
        for row in range(HOP_COUNT):
            if tags[row] == self._tag and self._is_mine(row):
                return row
        if 0 in tags:
            return self._claim_row(tags.index(0))
        live = words[layout.hop_column(Hop.LIVE)].tolist()
        return self._claim_row(live.index(0)) if 0 in live else -1

    def _is_mine(self, row: int) -> bool:
        words = self._places.words
        if row < 0 or words[HOP_TAGS + row] != self._tag:
            return False
        return bytes(words[hop_name(row)]) == self._name

    def _claim_row(self, row: int) -> int:
        """Gives a row to this hop; -1 where its name does not fit."""
        if len(self._name) > _NAME_OCTETS:
            return -1
        words, place = self._places.words, hop_row(row)
        words[HOP_TAGS + row] = 0
        words[place : place + HOP_WORDS] = layout.BLANK_HOP
        words[hop_name(row)] = memoryview(array("Q", self._name))
        words[HOP_TAGS + row] = self._tag
        return row


@dataclass(frozen=True, slots=True)
class HopView:
    """A next hop that has connections: ``host:port``, and how many."""

    name: str
    live: int


def read_hops(table: Table) -> list[HopView]:
    """Next hops with connections, those with the most first. Takes no lock."""
    found = []
    for row, live in enumerate(table.words[layout.hop_column(Hop.LIVE)].tolist()):
        if live:
            name = bytes(table.words[hop_name(row)]).rstrip(b"\0")
            port = int.from_bytes(name[:_PORT_OCTETS], "big")
            host = name[_PORT_OCTETS:].decode(errors="replace")
            found.append(HopView(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", live))
    return sorted(found, key=lambda view: (-view.live, view.name))
