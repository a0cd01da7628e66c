"""Dictionary attacks: how many different unknown mailboxes has a client tried within the window?

A row keeps the last eight distinct bad recipients as fingerprints with the minute they were tried
last, so that up to eight the count is exact whatever is repeated, on any worker, in any session.
Beyond eight a sketch of 64 bits estimates (linear counting, Whang et al. 1990; alone it would miss
the third address in 4.6 % of cases). Nobody's addresses stand here, only keyed fingerprints.

A client with twenty or more accepted recipients in the window is an attacker only when at least
``Policy.least_share`` of its recipients are bad: large providers make typos too.

All but the reading wants the admission lock. Time is an argument, ms of CLOCK_BOOTTIME.
"""

import math
from typing import Final

from gwsmtp.limits import layout
from gwsmtp.limits.arena import Table
from gwsmtp.limits.layout import BAD_COUNT, CLIENT_WORDS, Client
from gwsmtp.limits.policy import Policy
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.limits.undo import done, keep

_MINUTE_MS: Final = 60_000
_HALF: Final = 32
_LOW: Final = (1 << _HALF) - 1
_SKETCH_BITS: Final = 64
_MANY_ACCEPTED: Final = 20


class Dictionary:
    """What one worker knows and writes of bad recipients."""

    __slots__ = ("_lock", "_policy", "_words")

    def __init__(self, table: Table, lock: RangeLock, policy: Policy) -> None:
        self._words = table.words
        self._lock = lock
        self._policy = policy

    def note(self, row: int, fingerprint: int, now_ms: int) -> bool:
        """A definitively unknown mailbox was tried; whether it is one more in the window."""
        if row < 0:
            return False
        with self._lock:
            return self._note(layout.client_row(row), fingerprint, now_ms)

    def count(self, row: int, now_ms: int) -> int:
        """Distinct bad recipients in the window, exact up to eight. Takes no lock."""
        return 0 if row < 0 else count_bad(self._words, row, self._policy.window_ms, now_ms)

    def hides(self, row: int, pending: int, now_ms: int) -> bool:
        """Whether the client is told nothing about mailboxes. ``pending`` are recipients accepted
        in this session that are not in its row yet. Takes no lock.
        """
        policy, words = self._policy, self._words
        if row < 0 or policy.bad_recipients < 0:
            return False
        place = layout.client_row(row)
        if policy.bad_recipients and not words[place + Client.BAD]:
            return False
        bad = count_bad(words, row, policy.window_ms, now_ms)
        if bad < policy.bad_recipients:
            return False
        accepted = pending + accepted_in(words, place, policy.window_ms, now_ms)
        return accepted < _MANY_ACCEPTED or bad >= policy.least_share * (bad + accepted)

    def _note(self, place: int, fingerprint: int, now_ms: int) -> bool:
        words, window_ms = self._words, self._policy.window_ms
        first = place + Client.BAD
        minute = now_ms // _MINUTE_MS + 1
        entry = fingerprint << _HALF | minute
        known = words[first : first + BAD_COUNT].tolist()
        for way, word in enumerate(known):
            if word >> _HALF == fingerprint:
                words[first + way] = entry
                return not _is_fresh(word, window_ms, now_ms)
        stale = [way for way, word in enumerate(known) if not _is_fresh(word, window_ms, now_ms)]
        if stale:
            # The first way stays taken as long as any is: its word alone says "none".
            words[first + stale[0]] = entry
            return True
        oldest = min(range(BAD_COUNT), key=lambda way: known[way] & _LOW)
        keep(words, place, CLIENT_WORDS)
        self._note_beyond(place, fingerprint, now_ms)
        words[first + oldest] = entry
        done(words)
        return True

    def _note_beyond(self, place: int, fingerprint: int, now_ms: int) -> None:
        """Into the sketch, with the eight that are still known by themselves."""
        words = self._words
        if not 0 <= now_ms - words[place + Client.SKETCH_MS] < self._policy.window_ms:
            words[place + Client.SKETCH] = 0
            words[place + Client.SKETCH_MS] = now_ms
        first = place + Client.BAD
        bits = 1 << fingerprint % _SKETCH_BITS
        for word in words[first : first + BAD_COUNT].tolist():
            bits |= 1 << (word >> _HALF) % _SKETCH_BITS
        words[place + Client.SKETCH] |= bits


def count_bad(words: memoryview, row: int, window_ms: int, now_ms: int) -> int:
    """Distinct bad recipients in the window: exact up to eight, estimated beyond."""
    place = layout.client_row(row)
    first = place + Client.BAD
    known = words[first : first + BAD_COUNT].tolist()
    exact = sum(_is_fresh(word, window_ms, now_ms) for word in known)
    sketch: int = words[place + Client.SKETCH]
    if exact < BAD_COUNT or not 0 <= now_ms - words[place + Client.SKETCH_MS] < window_ms:
        return exact
    zeros = _SKETCH_BITS - sketch.bit_count()
    if not zeros:
        return _SKETCH_BITS * int(math.log(_SKETCH_BITS))
    return max(exact, round(_SKETCH_BITS * math.log(_SKETCH_BITS / zeros)))


def accepted_in(words: memoryview, place: int, window_ms: int, now_ms: int) -> int:
    """Recipients accepted in the sliding window: the window's own, and of the one before the share
    that still reaches into it.
    """
    age_ms = now_ms - words[place + Client.ACCEPTED_MS]
    if not 0 <= age_ms < 2 * window_ms:
        return 0
    current, before = words[place + Client.ACCEPTED], words[place + Client.ACCEPTED_BEFORE]
    if age_ms >= window_ms:
        current, before, age_ms = 0, current, age_ms - window_ms
    return int(current + before * (window_ms - age_ms) / window_ms)


def accept(words: memoryview, place: int, count: int, window_ms: int, now_ms: int) -> None:
    """Adds accepted recipients. Wants the lock, and its caller keeps the row (``undo``)."""
    age_ms = now_ms - words[place + Client.ACCEPTED_MS]
    if not 0 <= age_ms < window_ms:
        is_next = window_ms <= age_ms < 2 * window_ms
        words[place + Client.ACCEPTED_BEFORE] = words[place + Client.ACCEPTED] if is_next else 0
        words[place + Client.ACCEPTED] = 0
        begun = words[place + Client.ACCEPTED_MS] + window_ms if is_next else now_ms
        words[place + Client.ACCEPTED_MS] = begun
    words[place + Client.ACCEPTED] += count


def _is_fresh(word: int, window_ms: int, now_ms: int) -> bool:
    """Whether a bad recipient's minute lies in the window; a minute ahead of now is another
    clock's.
    """
    minute = (word & _LOW) - 1
    return minute >= 0 and -_MINUTE_MS < now_ms - minute * _MINUTE_MS < window_ms + _MINUTE_MS
