"""Who is shed by the kernel: banned clients that go on for so long that even a refusal is too much.

Admission counts what a banned client tries (``note_try``). A client is due when it is banned, has
two strikes or more, and has come ten times within a minute of this ban; its first bans stay visible
as 421. It stays due for ten minutes, then it is heard again: if it still goes on, ten refusals
later it is due again; if it does not, nobody had to notice. An unban, the ban's end and the allow
list end it at once.

``note_try`` wants the admission lock; all else takes none and may be a moment old. Time is an
argument, ms of CLOCK_BOOTTIME. What is done about it: ``master.shedding``.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from gwsmtp.base.netmatch import AddressPattern
from gwsmtp.base.procid import is_alive
from gwsmtp.limits.arena import Table
from gwsmtp.limits.guards import standing_strikes
from gwsmtp.limits.identity import address_of
from gwsmtp.limits.layout import (
    CLIENT_COUNT,
    CLIENT_TAGS,
    CLIENT_WORDS,
    CONTROL,
    Client,
    Control,
    client_row,
)
from gwsmtp.limits.policy import Policy

MOST_TRIES: Final = 10
TRIES_MS: Final = 60_000
SHED_MS: Final = 600_000
LEAST_STRIKES: Final = 2

_CALLS: Final = CONTROL + Control.SHED_CALLS
_SHED: Final = CONTROL + Control.SHED
_FILTERED: Final = CONTROL + Control.FILTERED
_BITS: Final = {4: 32, 6: 64}
_HOST_BITS: Final = {4: 0, 6: 64}


def note_try(words: memoryview, place: int, now_ms: int) -> None:
    """The banned client whose row is at word ``place`` has come, and was refused for it."""
    tries: int = words[place + Client.TRIES]
    began: int = words[place + Client.TRIES_MS]
    lasts = SHED_MS if tries >= MOST_TRIES else TRIES_MS
    if began < words[place + Client.STRIKE_MS] or not 0 <= now_ms - began < lasts:
        tries = words[place + Client.TRIES] = 0  # a new minute, or a new ban
        words[place + Client.TRIES_MS] = now_ms
    words[place + Client.TRIES] = tries + 1
    # Also later: who had counted the tenth may have died before it said so.
    if tries + 1 >= MOST_TRIES and words[place + Client.STRIKES] >= LEAST_STRIKES:
        words[_CALLS] += 1


def is_filtered(words: memoryview) -> bool:
    """Whether an accepted socket may have inherited a filter, and has to lose it: a load, where the
    system call for nothing would be 1.3 µs. Never False again, as backlogs may be read late.
    """
    flag: int = words[_FILTERED]
    return flag != 0


def calls(table: Table) -> int:
    """Moves whenever another client may have become due."""
    count: int = table.words[_CALLS]
    return count


def count_shed(table: Table) -> int:
    """Clients that the kernel sheds now, as the leader has said; nobody without a leader that
    lives: a filter goes with the listeners it is on.
    """
    count: int = table.words[_SHED]
    return count if count and is_alive(*table.leader) else 0


def find_due(table: Table, policy: Policy, now_ms: int) -> dict[int, int]:
    """Rows of clients that are due, with their tags; who became so last comes first. Looks at a
    word of all rows: 2 ms.
    """
    words, first = table.words, client_row(0) + Client.TRIES
    column = words[first : first + CLIENT_COUNT * CLIENT_WORDS : CLIENT_WORDS].tolist()
    rows = [row for row, tries in enumerate(column) if tries >= MOST_TRIES]
    rows.sort(key=lambda row: words[client_row(row) + Client.TRIES_MS], reverse=True)
    return still_due(table, {row: words[CLIENT_TAGS + row] for row in rows}, policy, now_ms)


def still_due(
    table: Table, known: Mapping[int, int], policy: Policy, now_ms: int
) -> dict[int, int]:
    """Those of ``known`` (rows with tags) that are due now, and have not given up their row."""
    words = table.words
    return {
        row: tag
        for row, tag in known.items()
        if tag and words[CLIENT_TAGS + row] == tag and _is_due(words, row, policy, now_ms)
    }


def _is_due(words: memoryview, row: int, policy: Policy, now_ms: int) -> bool:
    place = client_row(row)
    until: int = words[place + Client.PENALTY_UNTIL]
    began: int = words[place + Client.TRIES_MS]
    return (
        now_ms < until <= now_ms + policy.longest_penalty_ms
        and words[place + Client.TRIES] >= MOST_TRIES
        and words[place + Client.STRIKE_MS] <= began
        and 0 <= now_ms - began < SHED_MS
        and standing_strikes(words, place, policy, now_ms) >= LEAST_STRIKES
    )


def is_spared(tag: int, patterns: Iterable[AddressPattern]) -> bool:
    """Whether anybody of client ``tag`` is named by ``patterns``: an IPv6 client is a whole /64, in
    which one host may be exempt.
    """
    version, number = address_of(tag)
    bits = _BITS[version]
    for pattern in patterns:
        if pattern.version not in (0, version):
            continue
        host_bits = max(bits - pattern.prefix, 0)
        network = pattern.network >> _HOST_BITS[version]
        if pattern.version == 0 or number >> host_bits == network >> host_bits:
            return True
    return False
