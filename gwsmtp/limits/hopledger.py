"""Ledgers of connections to next hops: which process has which open; as ``ledger`` for clients.

One word an entry, so that a kill leaves it whole or not there: bit 63 taken, below it the next
hop's row. A row that a living entry names is never given to another hop.

Called by masters that hold the lock.
"""

from collections import Counter
from collections.abc import Collection
from typing import Final

from gwsmtp.limits import layout
from gwsmtp.limits.arena import Table
from gwsmtp.limits.layout import HOP_LEDGER_SIZE, SLOT_COUNT, Head, Hop
from gwsmtp.limits.slots import SlotState

_TAKEN: Final = 1 << 63


def pack_hop(row: int) -> int:
    """An entry's word."""
    return _TAKEN | row


def hop_entries(table: Table, index: int) -> list[int]:
    """The rows that slot ``index`` has connections to, once for each. Without the lock a moment
    old.
    """
    first = layout.hop_ledger(index)
    words = table.words[first : first + HOP_LEDGER_SIZE].tolist()
    return [word & ~_TAKEN for word in words if word & _TAKEN]


def is_blank(table: Table, index: int) -> bool:
    """Whether nothing stands in slot ``index``'s ledger."""
    first = layout.hop_ledger(index)
    words = table.words[first : first + HOP_LEDGER_SIZE]
    return bytes(words) == bytes(layout.BLANK_HOP_LEDGER)


def recover_hops(table: Table, dead: Collection[int]) -> None:
    """Takes the connections of ``dead`` slots out of all counts, which are made anew from the
    ledgers of all others. Interrupted anywhere, it can be done again. Wants the lock; about 1 ms.
    """
    words = table.words
    rows: Counter[int] = Counter()
    for index in range(SLOT_COUNT):
        if index not in dead and words[layout.slot_head(index) + Head.STATE] != SlotState.FREE:
            rows.update(hop_entries(table, index))
    for row, live in enumerate(words[layout.hop_column(Hop.LIVE)].tolist()):
        if live != rows[row]:
            words[layout.hop_row(row) + Hop.LIVE] = rows[row]
    for index in dead:
        if not is_blank(table, index):
            first = layout.hop_ledger(index)
            words[first : first + HOP_LEDGER_SIZE] = layout.BLANK_HOP_LEDGER
