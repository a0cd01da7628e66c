"""The allow list: at most 256 networks whose clients skip limits and penalties, each until a time.

It stands in the table, so that a command changes it for all workers at once, without a reload. A
change is made under the admission lock and ends by raising ``Control.ALLOW_CHANGES``; a worker
looks at that word at each connection and reads the entries only when it has moved. An entry's end
is stored last, and zeroed first when its place goes to another.

Time is an argument, ms of CLOCK_BOOTTIME.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gwsmtp.base.errors import TableError
from gwsmtp.base.netmatch import AddressPattern, address_number
from gwsmtp.limits.arena import Table
from gwsmtp.limits.layout import (
    ALLOW,
    ALLOW_COUNT,
    ALLOW_WORDS,
    CONTROL,
    Allow,
    Control,
)
from gwsmtp.limits.undo import done, keep

_CHANGES: Final = CONTROL + Control.ALLOW_CHANGES
_KIND_SHIFT: Final = 8
_PREFIX_MASK: Final = 0xFF
_WORD_BITS: Final = 64
_WORD_MASK: Final = (1 << _WORD_BITS) - 1
_BITS: Final = {4: 32, 6: 128}

_Networks = dict[int, dict[int, int]]
"""Host bits -> network without them -> until when."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """One entry that has not ended: a network and when it ends."""

    pattern: AddressPattern
    until_ms: int


class AllowList:
    """The list as a worker asks it: built once, read again when it has changed."""

    __slots__ = ("_networks", "_seen", "_words")

    def __init__(self, table: Table) -> None:
        self._words = table.words
        self._seen = -1
        self._networks: dict[int, _Networks] = {}

    def covers(self, ip: str, now_ms: int) -> bool:
        """Whether an entry that has not ended names ``ip``. Takes no lock; while the list is empty
        it costs one load. Raises ValueError for what is no address.
        """
        changes = self._words[_CHANGES]
        if changes != self._seen:
            self._read(now_ms)
            self._seen = changes
        if not self._networks:
            return False
        version, number = address_number(ip)
        for shift, networks in self._networks.get(version, {}).items():
            if networks.get(number >> shift, 0) > now_ms:
                return True
        return False

    def _read(self, now_ms: int) -> None:
        found: dict[int, _Networks] = {}
        for _, entry in _entries(self._words):
            if entry.until_ms > now_ms:
                pattern = entry.pattern
                shift = _BITS[pattern.version] - pattern.prefix
                networks = found.setdefault(pattern.version, {}).setdefault(shift, {})
                networks[pattern.network >> shift] = entry.until_ms
        self._networks = found


def read_allowed(table: Table, now_ms: int) -> list[Allowed]:
    """Entries that have not ended, those that end first first. Takes no lock."""
    found = [entry for _, entry in _entries(table.words) if entry.until_ms > now_ms]
    return sorted(found, key=lambda entry: entry.until_ms)


def allow(table: Table, pattern: AddressPattern, until_ms: int, now_ms: int) -> None:
    """Puts ``pattern`` on the list until ``until_ms``, or gives its entry that end. Wants the lock.

    Raises TableError when all places are taken by entries that have not ended.
    """
    words = table.words
    place = -1
    spare = -1
    for at, entry in _entries(words, free=True):
        if entry.pattern == pattern:
            place = at
            break
        if spare < 0 and entry.until_ms <= now_ms:
            spare = at
    place = place if place >= 0 else spare
    if place < 0:
        raise TableError(f"the allow list is full: {ALLOW_COUNT} networks")
    keep(words, place, ALLOW_WORDS)
    words[place + Allow.UNTIL_MS] = 0
    words[place + Allow.KIND] = pattern.version << _KIND_SHIFT | pattern.prefix
    words[place + Allow.HIGH] = pattern.network >> _WORD_BITS
    words[place + Allow.LOW] = pattern.network & _WORD_MASK
    words[place + Allow.UNTIL_MS] = until_ms
    words[_CHANGES] += 1
    done(words)


def disallow(table: Table, pattern: AddressPattern, now_ms: int) -> bool:
    """Takes ``pattern`` off the list; whether it was on it and had not ended. Wants the lock."""
    for place, entry in _entries(table.words):
        if entry.pattern == pattern:
            keep(table.words, place, ALLOW_WORDS)
            table.words[place + Allow.UNTIL_MS] = 0
            table.words[_CHANGES] += 1
            done(table.words)
            return entry.until_ms > now_ms
    return False


def _entries(words: memoryview, *, free: bool = False) -> Iterator[tuple[int, Allowed]]:
    """(word index, entry) of each taken place; with ``free`` of all."""
    for place in range(ALLOW, ALLOW + ALLOW_COUNT * ALLOW_WORDS, ALLOW_WORDS):
        entry = words[place : place + ALLOW_WORDS].tolist()
        until_ms, kind = entry[Allow.UNTIL_MS], entry[Allow.KIND]
        version, prefix = kind >> _KIND_SHIFT, kind & _PREFIX_MASK
        is_taken = until_ms and version in _BITS and prefix <= _BITS[version]
        if is_taken:
            number = entry[Allow.HIGH] << _WORD_BITS | entry[Allow.LOW]
            yield place, Allowed(AddressPattern(version, number, prefix), until_ms)
        elif free:
            yield place, Allowed(AddressPattern(0, 0, 0), 0)
