"""Ledgers: which process holds which open connections. They are the truth that counts come from.

One word an entry, so that a kill leaves it whole or not there::

    bit 63 taken · 40 listener · 20-39 client row + 1 · 0-19 network row + 1

``recover`` is for the dead: whatever a dead slot's ledger names is recomputed from the ledgers of
all others, then the ledger is emptied. Interrupted anywhere, it can be done again. Called by
masters that hold the lock.
"""

from collections import Counter
from collections.abc import Collection
from typing import Final

from gwsmtp.limits import layout
from gwsmtp.limits.arena import Table
from gwsmtp.limits.hopledger import is_blank, recover_hops
from gwsmtp.limits.layout import (
    CLIENT_COUNT,
    CONTROL,
    LEDGER_SIZE,
    LISTENER_COUNT,
    ROLLUP_COUNT,
    SLOT_COUNT,
    Client,
    Control,
    Head,
    Rollup,
)
from gwsmtp.limits.slots import SlotState, find_free

_TAKEN: Final = 1 << 63
_LISTENER_SHIFT: Final = 40
_ROW_SHIFT: Final = 20
_ROW_MASK: Final = (1 << 20) - 1


def pack(listener: int, row: int, network_row: int) -> int:
    """An entry's word; rows are -1 where there is none."""
    return _TAKEN | listener << _LISTENER_SHIFT | (row + 1) << _ROW_SHIFT | network_row + 1


def unpack(entry: int) -> tuple[int, int, int]:
    """(listener, client row, network row) of an entry's word."""
    row, network_row = (entry >> _ROW_SHIFT & _ROW_MASK) - 1, (entry & _ROW_MASK) - 1
    return entry >> _LISTENER_SHIFT & 1, row, network_row


def entries(table: Table, index: int) -> list[tuple[int, int, int]]:
    """The open connections of slot ``index``, unpacked. Without the lock a moment old."""
    first = layout.ledger(index)
    words = table.words[first : first + LEDGER_SIZE].tolist()
    return [unpack(word) for word in words if word & _TAKEN]


def recover(table: Table, dead: Collection[int]) -> int:
    """Takes the connections of dead slots out of all counts, those to next hops too; returns how
    many clients' there were. So it does with whatever stands in ledgers of free slots: who is
    forked into one meanwhile writes nothing before the lock is free. Wants the lock; some ms.
    """
    gone = {*dead, *_forgotten(table)}
    lost = [entry for index in gone for entry in entries(table, index)]
    _recompute(table, gone, lost)
    recover_hops(table, gone)
    for index in gone:
        first = layout.ledger(index)
        table.words[first : first + LEDGER_SIZE] = layout.BLANK_LEDGER
    if lost:
        table.words[CONTROL + Control.RECOVERIES] += 1
        table.words[CONTROL + Control.RECOVERED_CONNECTIONS] += len(lost)
    return len(lost)


def _forgotten(table: Table) -> list[int]:
    """Free slots whose ledgers are not empty."""
    words, blank = table.words, bytes(layout.BLANK_LEDGER)
    return [
        index
        for index in find_free(table)
        if bytes(words[layout.ledger(index) : layout.ledger(index) + LEDGER_SIZE]) != blank
        or not is_blank(table, index)
    ]


def _recompute(table: Table, dead: Collection[int], lost: list[tuple[int, int, int]]) -> None:
    words = table.words
    listeners: Counter[int] = Counter()
    rows: Counter[int] = Counter()
    network_rows: Counter[int] = Counter()
    for index in range(SLOT_COUNT):
        if index in dead or words[layout.slot_head(index) + Head.STATE] == SlotState.FREE:
            continue
        for listener, row, network_row in entries(table, index):
            listeners[listener] += 1
            rows[row] += 1
            network_rows[network_row] += 1
    for listener in range(LISTENER_COUNT):
        words[CONTROL + Control.LISTENER_LIVE + listener] = listeners[listener]
    for _, row, network_row in lost:
        if 0 <= row < CLIENT_COUNT:
            words[layout.client_row(row) + Client.LIVE] = rows[row]
        if 0 <= network_row < ROLLUP_COUNT:
            words[layout.rollup_row(network_row) + Rollup.LIVE] = network_rows[network_row]
