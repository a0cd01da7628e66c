"""Where everything stands in the shared table's file. No other module knows an offset.

The file is an array of 64-bit words in the machine's own byte order (it never leaves the machine)::

    page 0         header: identity, leader, generation
    pages 1 … 64   one page for each slot: head, gauges, totals
    page 65        control: lock holder, hash key, listeners' live counts, pressure, counters, the
                   words that a change under way would leave half made
    allow list     256 networks with their ends
    ledgers        one for each slot: 4,096 open connections, a word each
    rings          one for each slot: the last 1,024 decisions
    roll-ups       16,384 networks (/24, /48): tags, then rows
    clients        65,536 clients (/32, /64): tags, then rows
    hop ledgers    one for each slot: 1,024 connections to next hops, a word each
    next hops      1,024 of those that have connections now: tags, then rows
    answers        131,072 recipients as their hosts answered, three words each

Rules that keep it readable by every process of every version:

* Zeroed memory is a valid empty table: free slots, totals of nothing, no clients.
* The header's first page, the place of the slots, their head, gauges and totals are FROZEN FOR
  EVER, numbers of gauges and totals included: new ones are appended. So sums stay exact while two
  versions of gwsmtp share a file in a hot upgrade. What a slot needs beyond its page (decision
  ring, ledger) has a region of its own behind the slots, never a larger page.
* A new region, or a change behind the slots, raises ``LAYOUT_VERSION``; ``LAYOUT_HASH`` is made
  from the numbers below, so that a forgotten raise is found as well.
* A slot's page and ring have one writer at any time: the master while the slot is free or its child
  dead, the child in between. What stands behind the slots else is written under the admission lock.
* A tag is the whole identity of a client or network, 0 where the row is empty; it is stored last
  when a row is taken. (A next hop's is a hash; its name stands in its row.) Tags lie apart from
  rows so that a bucket of eight is read at once.

Words are aligned and stored by one machine instruction, so a reader never sees half a number.
They are named by plain numbers in classes: a member of an IntEnum costs 0.1 µs each time it is
named, and an admission names thirty.
"""

import hashlib
from typing import Final

WORD: Final = 8
PAGE: Final = 4096
PAGE_WORDS: Final = PAGE // WORD

LAYOUT_VERSION: Final = 4
MAGIC: Final = int.from_bytes(b"GWSMTPtb", "little")

SLOT_COUNT: Final = 64
"""Room for two generations of workers and the other roles."""

GAUGE_COUNT: Final = 32
TOTAL_COUNT: Final = 64


class Header:
    """Words of page 0. ``MAGIC`` is stored last when a file is made."""

    MAGIC: Final = 0
    LAYOUT_VERSION: Final = 1
    LAYOUT_HASH: Final = 2
    FILE_SIZE: Final = 3
    BOOT_ID_LOW: Final = 4
    BOOT_ID_HIGH: Final = 5
    GENERATION: Final = 6
    LEADER_PID: Final = 7
    LEADER_TICKS: Final = 8
    CREATED_MS: Final = 9  # CLOCK_BOOTTIME


class Head:
    """First words of a slot's page. ``STATE`` publishes: it is stored last when a slot is taken
    and when it is given back.
    """

    STATE: Final = 0
    PID: Final = 1
    TICKS: Final = 2
    OWNER_PID: Final = 3  # the master that forked it
    OWNER_TICKS: Final = 4
    GENERATION: Final = 5
    ROLE: Final = 6
    NUMBER: Final = 7
    CLAIMED_MS: Final = 8
    READY_MS: Final = 9
    HEARTBEAT_MS: Final = 10


HEAD_WORDS: Final = 16
_SLOT_GAUGES: Final = HEAD_WORDS
_SLOT_TOTALS: Final = HEAD_WORDS + GAUGE_COUNT

LISTENER_COUNT: Final = 2
"""The plain listener and the SSL listener; counted apart (rows 11 and 29)."""


class Control:
    """Words of the control page."""

    LOCK_HOLDER: Final = 0  # slot index + 1; +1 more than the slots: a master or a tool
    HASH_KEY_LOW: Final = 1
    HASH_KEY_HIGH: Final = 2
    LISTENER_LIVE: Final = 3  # and the next
    PRESSURE: Final = 5
    PRESSURE_SINCE_MS: Final = 6
    PRESSURE_CAUSE: Final = 7
    CLIENTS_EVICTED: Final = 8
    CLIENTS_OVERFLOW: Final = 9
    ROLLUPS_EVICTED: Final = 10
    ROLLUPS_OVERFLOW: Final = 11
    PASSES: Final = 12  # clients with a pass, as the leader counted them last
    RECOVERIES: Final = 13  # of dead processes that had open connections
    RECOVERED_CONNECTIONS: Final = 14
    SHADOW_SET: Final = 15  # a bit for each limit that a command has set
    SHADOW_ON: Final = 16  # what it has set it to
    ALLOW_CHANGES: Final = 17  # raised after each change of the allow list
    SHED_CALLS: Final = 18  # raised when a client has come so often that it may be shed
    FILTERED: Final = 19  # 1 once a listener has had a filter: what it accepted may have it
    SHED: Final = 20  # clients that are shed now
    IS_SEEDED: Final = 21  # 1 once what a snapshot remembers has been put in, or there was none
    HOPS_OVERFLOW: Final = 22  # connections to next hops for which there was no row or no entry
    KEPT_COUNT: Final = 64  # words of a change that is being made, see limits.undo; 0: none
    KEPT_PLACE: Final = 65  # where they stand
    KEPT: Final = 66  # what stood there, at most a client's row


class Client:
    """Words of a client's row. Times in ms of CLOCK_BOOTTIME but where said otherwise."""

    LIVE: Final = 0
    TAT_CONNECTIONS: Final = 1  # µs, see limits.rate
    TAT_MESSAGES: Final = 2
    TAT_RECIPIENTS: Final = 3
    TAT_HANDSHAKES: Final = 4
    SCORE: Final = 5  # thousandths of a point, at SCORE_MS
    SCORE_MS: Final = 6
    PENALTY_UNTIL: Final = 7
    STRIKES: Final = 8
    STRIKE_MS: Final = 9
    PASS_UNTIL: Final = 10
    CLEAN_SESSIONS: Final = 11
    FIRST_SEEN: Final = 12
    LAST_SEEN: Final = 13
    ACCEPTED: Final = 14  # recipients in the window that began at ACCEPTED_MS
    ACCEPTED_BEFORE: Final = 15  # in the window before
    ACCEPTED_MS: Final = 16
    SKETCH: Final = 17  # 64 bits of the bad recipients beyond eight
    SKETCH_MS: Final = 18
    OVER_LIMIT: Final = 19  # refused by limits, in the window that began at OVER_LIMIT_MS
    OVER_LIMIT_MS: Final = 20
    TRIES: Final = 21  # connections while banned, in the minute that began at TRIES_MS
    TRIES_MS: Final = 22
    TAT_AUTH: Final = 23
    BAD: Final = 24  # and seven more: fingerprint in the high half, minute + 1 in the low
    AUTH_USER: Final = 32  # and three more: fingerprint in the high half, then minute and count
    PEAKS: Final = 36  # 16 bits each, see limits.peaks


BAD_COUNT: Final = 8
AUTH_USER_COUNT: Final = 4
CLIENT_WORDS: Final = 40


class Rollup:
    """Words of a network's row."""

    LIVE: Final = 0
    TAT_CONNECTIONS: Final = 1
    LAST_SEEN: Final = 2


ROLLUP_WORDS: Final = 4


class Hop:
    """Words of a next hop's row; it may be given to another hop while ``LIVE`` is 0."""

    LIVE: Final = 0
    CLAIM: Final = 1  # who waits for a place, see limits.hops
    CLAIMED_MS: Final = 2  # when it last said so
    FULL_AT: Final = 3  # the most connections it knows of
    NAME: Final = 4  # and 31 more


HOP_NAME_WORDS: Final = 32
HOP_WORDS: Final = Hop.NAME + HOP_NAME_WORDS


class Answer:
    """Words of a recipient's answer; free where ``STATE`` is 0. The first two are the halves of its
    fingerprint, each XOR the state, see limits.answers.
    """

    HIGH: Final = 0
    LOW: Final = 1
    STATE: Final = 2


ANSWER_WORDS: Final = 3


class Decision:
    """Words of one entry of a ring. ``SEQUENCE`` publishes: stored last, counts from 1."""

    SEQUENCE: Final = 0
    AT_MS: Final = 1
    SESSION: Final = 2
    CLIENT: Final = 3  # tag
    WHAT: Final = 4  # reason, action, mode, listener: see limits.ring
    COUNTER: Final = 5
    THRESHOLD: Final = 6
    WINDOW_S: Final = 7


DECISION_WORDS: Final = 8
RING_SIZE: Final = 1024
LEDGER_SIZE: Final = 4096
ALLOW_COUNT: Final = 256
WAYS: Final = 8
CLIENT_COUNT: Final = 65536
ROLLUP_COUNT: Final = 16384
HOP_LEDGER_SIZE: Final = 1024
HOP_COUNT: Final = 1024
ANSWER_COUNT: Final = 131072


class Allow:
    """Words of an entry of the allow list; free where ``UNTIL_MS`` is 0."""

    UNTIL_MS: Final = 0
    KIND: Final = 1  # 4 or 6, times 256, plus the prefix length
    HIGH: Final = 2
    LOW: Final = 3


ALLOW_WORDS: Final = 4

BLANK_CLIENT: Final = memoryview(bytes(CLIENT_WORDS * WORD)).cast("Q")
BLANK_TAGS: Final = memoryview(bytes(CLIENT_COUNT * WORD)).cast("Q")
BLANK_ROLLUP: Final = memoryview(bytes(ROLLUP_WORDS * WORD)).cast("Q")
BLANK_LEDGER: Final = memoryview(bytes(LEDGER_SIZE * WORD)).cast("Q")
BLANK_HOP: Final = memoryview(bytes(HOP_WORDS * WORD)).cast("Q")
BLANK_HOP_LEDGER: Final = memoryview(bytes(HOP_LEDGER_SIZE * WORD)).cast("Q")

CONTROL: Final = PAGE_WORDS * (1 + SLOT_COUNT)
ALLOW: Final = CONTROL + PAGE_WORDS
_LEDGERS: Final = ALLOW + ALLOW_COUNT * ALLOW_WORDS
_RINGS: Final = _LEDGERS + SLOT_COUNT * LEDGER_SIZE
ROLLUP_TAGS: Final = _RINGS + SLOT_COUNT * RING_SIZE * DECISION_WORDS
_ROLLUPS: Final = ROLLUP_TAGS + ROLLUP_COUNT
CLIENT_TAGS: Final = _ROLLUPS + ROLLUP_COUNT * ROLLUP_WORDS
_CLIENTS: Final = CLIENT_TAGS + CLIENT_COUNT
_HOP_LEDGERS: Final = _CLIENTS + CLIENT_COUNT * CLIENT_WORDS
HOP_TAGS: Final = _HOP_LEDGERS + SLOT_COUNT * HOP_LEDGER_SIZE
_HOPS: Final = HOP_TAGS + HOP_COUNT
_ANSWERS: Final = _HOPS + HOP_COUNT * HOP_WORDS
FILE_SIZE: Final = WORD * (_ANSWERS + ANSWER_COUNT * ANSWER_WORDS)
"""About 31 MiB, whatever the attack."""


def words_of(kind: type) -> dict[str, int]:
    """Names and numbers of the words of a header, head, row or entry."""
    return {name: number for name, number in vars(kind).items() if name.isupper()}


def slot_head(index: int) -> int:
    """Word index of slot ``index``'s head."""
    if not 0 <= index < SLOT_COUNT:
        raise IndexError(f"no slot {index}")
    return PAGE_WORDS * (1 + index)


def slot_gauges(index: int) -> int:
    """Word index of slot ``index``'s first gauge."""
    return slot_head(index) + _SLOT_GAUGES


def slot_totals(index: int) -> int:
    """Word index of slot ``index``'s first total."""
    return slot_head(index) + _SLOT_TOTALS


def ledger(index: int) -> int:
    """Word index of slot ``index``'s ledger."""
    if not 0 <= index < SLOT_COUNT:
        raise IndexError(f"no slot {index}")
    return _LEDGERS + index * LEDGER_SIZE


def ring(index: int) -> int:
    """Word index of slot ``index``'s ring of decisions."""
    if not 0 <= index < SLOT_COUNT:
        raise IndexError(f"no slot {index}")
    return _RINGS + index * RING_SIZE * DECISION_WORDS


def client_row(row: int) -> int:
    """Word index of client row ``row``; its tag stands at ``CLIENT_TAGS + row``."""
    return _CLIENTS + row * CLIENT_WORDS


def client_column(word: int) -> slice:
    """Word ``word`` of all client rows, as a slice of all words."""
    return slice(_CLIENTS + word, _CLIENTS + CLIENT_COUNT * CLIENT_WORDS, CLIENT_WORDS)


def rollup_row(row: int) -> int:
    """Word index of roll-up ``row``; its tag stands at ``ROLLUP_TAGS + row``."""
    return _ROLLUPS + row * ROLLUP_WORDS


def hop_ledger(index: int) -> int:
    """Word index of slot ``index``'s ledger of connections to next hops."""
    if not 0 <= index < SLOT_COUNT:
        raise IndexError(f"no slot {index}")
    return _HOP_LEDGERS + index * HOP_LEDGER_SIZE


def hop_row(row: int) -> int:
    """Word index of next hop ``row``; its tag stands at ``HOP_TAGS + row``."""
    return _HOPS + row * HOP_WORDS


def hop_name(row: int) -> slice:
    """The name of next hop ``row``, as a slice of all words."""
    return slice(hop_row(row) + Hop.NAME, hop_row(row) + HOP_WORDS)


def hop_column(word: int) -> slice:
    """Word ``word`` of all next hops, as a slice of all words."""
    return slice(_HOPS + word, _HOPS + HOP_COUNT * HOP_WORDS, HOP_WORDS)


def answer(number: int) -> int:
    """Word index of answer ``number``."""
    return _ANSWERS + number * ANSWER_WORDS


def _layout_hash() -> int:
    kinds = (Header, Head, Control, Client, Rollup, Decision, Allow, Hop, Answer)
    numbers = [LAYOUT_VERSION, PAGE, SLOT_COUNT, HEAD_WORDS, GAUGE_COUNT, TOTAL_COUNT, FILE_SIZE]
    numbers += [WAYS, CLIENT_WORDS, ROLLUP_WORDS, DECISION_WORDS, ALLOW_WORDS, BAD_COUNT]
    numbers += [CONTROL, ALLOW, _LEDGERS, _RINGS, ROLLUP_TAGS, _ROLLUPS, CLIENT_TAGS, _CLIENTS]
    numbers += [_HOP_LEDGERS, HOP_TAGS, _HOPS, HOP_WORDS, _ANSWERS, ANSWER_WORDS]
    numbers += [number for kind in kinds for number in words_of(kind).values()]
    numbers += [slot_head(0), slot_gauges(0), slot_totals(0)]
    text = ",".join(str(number) for number in numbers)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


LAYOUT_HASH: Final = _layout_hash()
