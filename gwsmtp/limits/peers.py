"""Rows of clients and of networks: found, taken, given up. Eight ways a bucket.

A row belongs to the tag that stands over it. It is taken when a client's first session is admitted
or its first offence is counted, and stays until its place is wanted: first whoever has nothing to
remember, then those with a pass, then those with a score; the one seen longest ago of each kind.
Rows with live sessions are never given up, and of eight ways penalties keep at most six: a flood of
banned addresses leaves room for the rest. Where nothing can be given up, ``take`` returns -1, the
client is counted by its network alone, and the control page counts an overflow.

All but ``find`` wants the admission lock. Time is an argument, ms of CLOCK_BOOTTIME.
"""

from gwsmtp.limits import layout
from gwsmtp.limits.arena import Table
from gwsmtp.limits.identity import Placement
from gwsmtp.limits.layout import (
    CLIENT_COUNT,
    CLIENT_TAGS,
    CLIENT_WORDS,
    CONTROL,
    ROLLUP_TAGS,
    ROLLUP_WORDS,
    WAYS,
    Client,
    Control,
    Rollup,
)

_MOST_PENALISED = 6
_A_PASS = 2  # of ``_worth``
FORGET_MS = 3_600_000
"""A row without penalty or pass says nothing after this long."""
FORGET_STRIKES_MS = 86_400_000
_LONGEST_MS = 60 * 86_400_000
"""What would last longer than any penalty or pass was written under another clock."""


class Peers:
    """Clients and networks of one table, as one process sees them."""

    __slots__ = ("_placement", "_words")

    def __init__(self, table: Table, placement: Placement) -> None:
        self._words = table.words
        self._placement = placement

    def find(self, tag: int) -> int:
        """The row of client ``tag``, -1 where it has none. Without the lock the answer may be a
        moment old.
        """
        bucket = self._placement.client_bucket(tag)
        return self._look(CLIENT_TAGS, bucket, tag)

    def take(self, tag: int, now_ms: int) -> int:
        """The row of client ``tag``, taken for it where it had none; -1 in a full bucket."""
        bucket = self._placement.client_bucket(tag)
        row = self._look(CLIENT_TAGS, bucket, tag)
        if row < 0:
            row = self._claim_client(bucket, tag, now_ms)
        return row

    def find_network(self, tag: int) -> int:
        """The row of network ``tag``, -1 where it has none."""
        return self._look(ROLLUP_TAGS, self._placement.rollup_bucket(tag), tag)

    def take_network(self, tag: int, now_ms: int) -> int:
        """The row of network ``tag``, taken for it where it had none; -1 in a full bucket."""
        bucket = self._placement.rollup_bucket(tag)
        row = self._look(ROLLUP_TAGS, bucket, tag)
        if row < 0:
            row = self._claim_network(bucket, tag, now_ms)
        return row

    def _look(self, tags: int, bucket: int, tag: int) -> int:
        ways = self._words[tags + bucket : tags + bucket + WAYS].tolist()
        return bucket + ways.index(tag) if tag in ways else -1

    def _claim_client(self, bucket: int, tag: int, now_ms: int) -> int:
        words = self._words
        row = self._look(CLIENT_TAGS, bucket, 0)
        if row < 0:
            row = self._least_client(bucket, now_ms)
            if row < 0:
                words[CONTROL + Control.CLIENTS_OVERFLOW] += 1
                return -1
            words[CONTROL + Control.CLIENTS_EVICTED] += 1
            words[CLIENT_TAGS + row] = 0
        place = layout.client_row(row)
        words[place : place + CLIENT_WORDS] = layout.BLANK_CLIENT
        words[place + Client.FIRST_SEEN] = words[place + Client.LAST_SEEN] = now_ms
        words[CLIENT_TAGS + row] = tag
        return row

    def _least_client(self, bucket: int, now_ms: int) -> int:
        """The row of a full bucket that may best be given up, -1: none."""
        place = layout.client_row(bucket)
        clients = self._words[place : place + WAYS * CLIENT_WORDS].tolist()
        ranks: list[tuple[int, int, int]] = []
        penalised: list[tuple[int, int, int]] = []
        count = 0
        for way in range(WAYS):
            row, client = bucket + way, clients[way * CLIENT_WORDS : (way + 1) * CLIENT_WORDS]
            is_penalised = _is_ahead(client[Client.PENALTY_UNTIL], now_ms)
            count += is_penalised
            if client[Client.LIVE]:
                continue
            rank = (_worth(client, now_ms), client[Client.LAST_SEEN], row)
            ranks.append(rank)
            if is_penalised:
                penalised.append(rank)
        if count >= _MOST_PENALISED and penalised:
            spare = [rank for rank in ranks if rank not in penalised]
            # The two ways that are not theirs change hands among the others, never grow scarcer.
            ranks = spare if count == _MOST_PENALISED and spare else penalised
        return min(ranks)[-1] if ranks else -1

    def _claim_network(self, bucket: int, tag: int, now_ms: int) -> int:
        words = self._words
        row = self._look(ROLLUP_TAGS, bucket, 0)
        if row < 0:
            idle = [
                (words[layout.rollup_row(way) + Rollup.LAST_SEEN], way)
                for way in range(bucket, bucket + WAYS)
                if not words[layout.rollup_row(way) + Rollup.LIVE]
            ]
            if not idle:
                words[CONTROL + Control.ROLLUPS_OVERFLOW] += 1
                return -1
            row = min(idle)[1]
            words[CONTROL + Control.ROLLUPS_EVICTED] += 1
            words[ROLLUP_TAGS + row] = 0
        place = layout.rollup_row(row)
        words[place : place + ROLLUP_WORDS] = layout.BLANK_ROLLUP
        words[place + Rollup.LAST_SEEN] = now_ms
        words[ROLLUP_TAGS + row] = tag
        return row


def count_passes(words: memoryview, now_ms: int) -> int:
    """Clients with a pass. Takes no lock, and some ms, as it goes through all rows."""
    until: list[int] = words[layout.client_column(Client.PASS_UNTIL)].tolist()
    tags = words[CLIENT_TAGS : CLIENT_TAGS + CLIENT_COUNT].tolist()
    # A row without a tag may still have what was somebody's until he was put out of it.
    return sum(stamp > now_ms and tags[row] != 0 for row, stamp in enumerate(until) if stamp)


def is_remembered(client: list[int], now_ms: int) -> bool:
    """Whether a row says something that is to outlive the table."""
    return _worth(client, now_ms) >= _A_PASS


def _worth(client: list[int], now_ms: int) -> int:
    """What a row remembers: 0 nothing any more, 1 little, 2 a pass, 3 a score or worse."""
    is_recent = abs(now_ms - client[Client.LAST_SEEN]) < FORGET_MS
    struck_ms = abs(now_ms - client[Client.STRIKE_MS])
    has_struck = client[Client.STRIKES] and struck_ms < FORGET_STRIKES_MS
    has_erred = client[Client.SCORE] or client[Client.BAD]
    is_penalised = _is_ahead(client[Client.PENALTY_UNTIL], now_ms)
    if is_penalised or has_struck or (has_erred and is_recent):
        return 3
    if _is_ahead(client[Client.PASS_UNTIL], now_ms):
        return 2
    return int(is_recent)


def _is_ahead(until_ms: int, now_ms: int) -> bool:
    return now_ms < until_ms <= now_ms + _LONGEST_MS
