"""Where everything stands in the shared table's file. No other module knows an offset.

The file is an array of 64-bit words in the machine's own byte order (it never leaves the machine)::

    page 0         header: identity, leader, generation
    pages 1 … 64   one page for each slot: head, gauges, totals

Rules that keep it readable by every process of every version:

* Zeroed memory is a valid empty table: free slots, totals of nothing.
* The header's first page, the place of the slots, their head, gauges and totals are FROZEN FOR
  EVER, numbers of gauges and totals included: new ones are appended. So sums stay exact while two
  versions of gwsmtp share a file in a hot upgrade. What a slot needs beyond its page (decision
  ring, ledger) gets a region of its own behind the slots, never a larger page.
* A new region, or a change behind the slots, raises ``LAYOUT_VERSION``; ``LAYOUT_HASH`` is made
  from the numbers below, so that a forgotten raise is found as well.
* A slot's words have one writer at any time: the master while the slot is free or its child dead,
  the child in between.

Words are aligned and stored by one machine instruction, so a reader never sees half a number.
"""

import hashlib
from enum import IntEnum

WORD = 8
PAGE = 4096
PAGE_WORDS = PAGE // WORD

LAYOUT_VERSION = 1
MAGIC = int.from_bytes(b"GWSMTPtb", "little")

SLOT_COUNT = 64
"""Room for two generations of workers and the other roles."""

GAUGE_COUNT = 32
TOTAL_COUNT = 64


class Header(IntEnum):
    """Words of page 0. ``MAGIC`` is stored last when a file is made."""

    MAGIC = 0
    LAYOUT_VERSION = 1
    LAYOUT_HASH = 2
    FILE_SIZE = 3
    BOOT_ID_LOW = 4
    BOOT_ID_HIGH = 5
    GENERATION = 6
    LEADER_PID = 7
    LEADER_TICKS = 8
    CREATED_MS = 9  # CLOCK_BOOTTIME


class Head(IntEnum):
    """First words of a slot's page. ``STATE`` publishes: it is stored last when a slot is taken
    and when it is given back.
    """

    STATE = 0
    PID = 1
    TICKS = 2
    OWNER_PID = 3  # the master that forked it
    OWNER_TICKS = 4
    GENERATION = 5
    ROLE = 6
    NUMBER = 7
    CLAIMED_MS = 8
    READY_MS = 9
    HEARTBEAT_MS = 10


HEAD_WORDS = 16
_SLOT_GAUGES = HEAD_WORDS
_SLOT_TOTALS = HEAD_WORDS + GAUGE_COUNT

FILE_SIZE = PAGE * (1 + SLOT_COUNT)


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


def _layout_hash() -> int:
    numbers = [LAYOUT_VERSION, PAGE, SLOT_COUNT, HEAD_WORDS, GAUGE_COUNT, TOTAL_COUNT, FILE_SIZE]
    places = [*Header, *Head, slot_head(0), slot_gauges(0), slot_totals(0)]
    text = ",".join(str(int(number)) for number in (*numbers, *places))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


LAYOUT_HASH = _layout_hash()
