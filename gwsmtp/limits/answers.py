"""What hosts have answered about recipients, for all workers: known, or unknown, and since when.

A positive answer is fresh for an hour and usable for 31 days while the host cannot be asked; a
negative one lives five minutes. An entry is three words: a fingerprint's halves, each XOR the
state, and the state, which holds kind and time. So who reads without the lock a mixture of an old
and a new entry finds a fingerprint that is nobody's: it knows nothing then, and never something
wrong (but for one such mixture in 2^64). A kill between the words leaves the same. Writing wants
the lock: no two entries are of one fingerprint, so no old answer comes back when a new one goes.

A fingerprint is 128 bits of a hash keyed with the table's secret, of the mailbox and the hosts that
are asked. Its low half also places it, in buckets of eight: with a full table a lookup meets
another's answer with odds of 2^-111, and nobody outside can aim at either. The secret goes with the
snapshot, and fingerprints with it.

A full bucket loses what has expired, then the oldest negative answer, then the oldest positive: a
flood of unknown mailboxes costs a bucket one of its positive ones.

Called in workers. Time is an argument, ms of CLOCK_BOOTTIME; in the table it is later by
``_BIAS_MS``, so that an answer of before the machine's boot has its age.
"""

from array import array
from hashlib import blake2b
from typing import Final

from gwsmtp.limits import layout
from gwsmtp.limits.arena import Table
from gwsmtp.limits.layout import ANSWER_COUNT, ANSWER_WORDS, WAYS, WORD, Answer
from gwsmtp.limits.rangelock import RangeLock

Fingerprint = tuple[int, int]

NONE: Final = 0
POSITIVE: Final = 1
UNKNOWN: Final = 2

POSITIVE_MS: Final = 3_600_000
STALE_MS: Final = 31 * 86_400_000
NEGATIVE_MS: Final = 300_000

_KIND_SHIFT: Final = 56
_TIME: Final = (1 << _KIND_SHIFT) - 1
_BIAS_MS: Final = 1 << 33  # 99 days: longer than an answer is kept
_BUCKETS: Final = ANSWER_COUNT // WAYS
_BUCKET_WORDS: Final = WAYS * ANSWER_WORDS
_PERSON: Final = b"recipient"


class Answers:
    """The answers of one table, as one process sees them."""

    __slots__ = ("_key", "_lock", "_words")

    def __init__(self, table: Table, lock: RangeLock) -> None:
        self._words = table.words
        self._lock = lock
        self._key = table.secret

    def fingerprint(self, recipient: bytes) -> Fingerprint:
        """What stands for a mailbox at its hosts; never 0."""
        digest = blake2b(recipient, digest_size=2 * WORD, key=self._key, person=_PERSON).digest()
        return int.from_bytes(digest[:WORD], "little") or 1, int.from_bytes(digest[WORD:], "little")

    def fresh(self, fingerprint: Fingerprint, now_ms: int) -> int:
        """POSITIVE or UNKNOWN where that need not be asked again, else NONE. Takes no lock."""
        state = self._state(fingerprint)
        age_ms, kind = now_ms + _BIAS_MS - (state & _TIME), state >> _KIND_SHIFT
        if 0 <= age_ms < (POSITIVE_MS if kind == POSITIVE else NEGATIVE_MS):
            return kind
        return NONE

    def is_usable(self, fingerprint: Fingerprint, now_ms: int) -> bool:
        """Whether the mailbox was known, not too long ago for a host that cannot be asked. Takes no
        lock.
        """
        state = self._state(fingerprint)
        return state >> _KIND_SHIFT == POSITIVE and _is_alive(state, now_ms)

    def remember(self, fingerprint: Fingerprint, kind: int, now_ms: int) -> None:
        """Writes an answer, the only one of its fingerprint. May sleep before it has the lock."""
        high, low = fingerprint
        state = kind << _KIND_SHIFT | now_ms + _BIAS_MS
        with self._lock:
            number = self._place(fingerprint, now_ms)
            place, words = layout.answer(number), self._words
            words[place + Answer.HIGH] = high ^ state
            words[place + Answer.LOW] = low ^ state
            words[place + Answer.STATE] = state

    def _state(self, fingerprint: Fingerprint) -> int:
        high, low = fingerprint
        first = layout.answer(_bucket(low))
        found = self._words[first : first + _BUCKET_WORDS].tolist()
        for way in range(0, _BUCKET_WORDS, ANSWER_WORDS):
            state: int = found[way + Answer.STATE]
            if found[way + Answer.HIGH] ^ state == high and found[way + Answer.LOW] ^ state == low:
                return state
        return 0

    def _place(self, fingerprint: Fingerprint, now_ms: int) -> int:
        """The number of the entry that is the fingerprint's, or is to be."""
        high, low = fingerprint
        bucket = _bucket(low)
        first = layout.answer(bucket)
        found = self._words[first : first + _BUCKET_WORDS].tolist()
        least, least_way = (POSITIVE + UNKNOWN, 0), 0
        for way in range(WAYS):
            entry = found[way * ANSWER_WORDS : (way + 1) * ANSWER_WORDS]
            state: int = entry[Answer.STATE]
            if entry[Answer.HIGH] ^ state == high and entry[Answer.LOW] ^ state == low:
                return bucket + way
            worth = 1 + (state >> _KIND_SHIFT == POSITIVE) if _is_alive(state, now_ms) else 0
            if (worth, state & _TIME) < least:
                least, least_way = (worth, state & _TIME), way
        return bucket + least_way


def _bucket(low: int) -> int:
    return low % _BUCKETS * WAYS


def _is_alive(state: int, now_ms: int) -> bool:
    """Whether an answer may still be of use: not expired, and not of another clock."""
    kind, age_ms = state >> _KIND_SHIFT, now_ms + _BIAS_MS - (state & _TIME)
    if kind == POSITIVE:
        return 0 <= age_ms < STALE_MS
    return kind == UNKNOWN and 0 <= age_ms < NEGATIVE_MS


def pack_answers(table: Table, now_ms: int, wall_ms: int) -> list[int]:
    """All answers that may be of use, three words each: both halves of the fingerprint, and kind
    and time of the wall clock. Takes no lock; an entry that changes meanwhile is nobody's.
    """
    first, packed = layout.answer(0), list[int]()
    words = table.words[first : first + ANSWER_COUNT * ANSWER_WORDS].tolist()
    ahead_ms = wall_ms - now_ms - _BIAS_MS
    for place in range(0, len(words), ANSWER_WORDS):
        state = words[place + Answer.STATE]
        if state and _is_alive(state, now_ms):
            high, low = words[place + Answer.HIGH] ^ state, words[place + Answer.LOW] ^ state
            wall = max((state & _TIME) + ahead_ms, 0)
            packed += (high, low, state >> _KIND_SHIFT << _KIND_SHIFT | wall)
    return packed


def load_answers(table: Table, packed: list[int], now_ms: int, wall_ms: int) -> None:
    """Puts them into a table without any, made for the same secret. Nobody else's yet."""
    ahead_ms = wall_ms - now_ms - _BIAS_MS
    loaded = array("Q", bytes(ANSWER_COUNT * ANSWER_WORDS * WORD))
    filled: dict[int, int] = {}
    for place in range(0, len(packed), ANSWER_WORDS):
        high, low, saved = packed[place : place + ANSWER_WORDS]
        bucket = _bucket(low)
        way = filled.get(bucket, 0)
        time_ms = (saved & _TIME) - ahead_ms
        state = saved >> _KIND_SHIFT << _KIND_SHIFT | time_ms & _TIME
        if way < WAYS and 0 < time_ms <= _TIME and _is_alive(state, now_ms):
            filled[bucket] = way + 1
            entry = (bucket + way) * ANSWER_WORDS
            loaded[entry + Answer.HIGH] = high ^ state
            loaded[entry + Answer.LOW] = low ^ state
            loaded[entry + Answer.STATE] = state
    first = layout.answer(0)
    table.words[first : first + len(loaded)] = memoryview(loaded)
