"""What the table remembers of clients, in a form that outlives the table: penalties, strikes,
scores, bad recipients, passes.

``pack`` writes the rows that say something, with times of the wall clock; ``load`` puts them into a
table made anew (another boot, a damaged file, another layout), with nobody connected. Fingerprints
and places are keyed with the table's secret, so the secret is in there as well: who keeps the
result keeps it from others.

Words of 64 bits in the machine's own order: a head, each client's record, each answer, a digest of
all. The form is this module's own; where a row's words stand may change without it.

Limits: a rate's stamps, what a limit has refused, and networks are not kept. What began before the
machine's boot counts as from the boot on, unless it is over an hour old (a day for strikes); a
score of before is forgotten, as it has halved more often than the table can say. Rows change while
they are read; a row that changes hands meanwhile is left out.

Time is an argument: ms of CLOCK_BOOTTIME, and ms of the wall clock at the same moment.
"""

import hashlib
from array import array
from typing import Final

from gwsmtp.base.errors import TableError
from gwsmtp.limits import layout
from gwsmtp.limits.answers import load_answers, pack_answers
from gwsmtp.limits.arena import Table
from gwsmtp.limits.identity import Placement
from gwsmtp.limits.layout import (
    ANSWER_COUNT,
    ANSWER_WORDS,
    BAD_COUNT,
    CLIENT_COUNT,
    CLIENT_TAGS,
    CLIENT_WORDS,
    WAYS,
    WORD,
    Client,
)
from gwsmtp.limits.peers import FORGET_MS, FORGET_STRIKES_MS, is_remembered

_MAGIC: Final = int.from_bytes(b"GWSMTPsn", "little")
_VERSION: Final = 2
_WITHOUT_ANSWERS: Final = 1  # a version that has none, and says so by a 0
_HEAD_WORDS: Final = 8  # magic, version, words of a record, records, secret (2), wall time, answers
_DIGEST: Final = 16
_MINUTE_MS: Final = 60_000
_HALF: Final = 32
_LOW: Final = (1 << _HALF) - 1
_LARGEST: Final = (1 << 64) - 1

# The order is the file's: after the tag plain numbers, times, bad recipients.
_NUMBERS: Final = (
    Client.SCORE,
    Client.STRIKES,
    Client.CLEAN_SESSIONS,
    Client.ACCEPTED,
    Client.ACCEPTED_BEFORE,
    Client.SKETCH,
)
_TIMES: Final = (
    Client.SCORE_MS,
    Client.STRIKE_MS,
    Client.PENALTY_UNTIL,
    Client.PASS_UNTIL,
    Client.FIRST_SEEN,
    Client.LAST_SEEN,
    Client.ACCEPTED_MS,
    Client.SKETCH_MS,
)
_RECORD_WORDS: Final = 1 + len(_NUMBERS) + len(_TIMES) + BAD_COUNT
LONGEST: Final = (
    WORD * (_HEAD_WORDS + CLIENT_COUNT * _RECORD_WORDS + ANSWER_COUNT * ANSWER_WORDS) + _DIGEST
)
"""Octets of the largest one."""


def pack(table: Table, now_ms: int, wall_ms: int) -> bytes:
    """What is worth keeping. Takes no lock; up to a second for a full table."""
    words, ahead_ms = table.words, wall_ms - now_ms
    found: list[int] = []
    tags = words[CLIENT_TAGS : CLIENT_TAGS + CLIENT_COUNT].tolist()
    for row, tag in enumerate(tags):
        if tag:
            place = layout.client_row(row)
            client = words[place : place + CLIENT_WORDS].tolist()
            if is_remembered(client, now_ms) and words[CLIENT_TAGS + row] == tag:
                found.append(tag)
                found += _packed(client, ahead_ms)
    secret = table.secret
    head = [_MAGIC, _VERSION, _RECORD_WORDS, len(found) // _RECORD_WORDS]
    head += [int.from_bytes(half, "little") for half in (secret[:WORD], secret[WORD:])]
    answers = pack_answers(table, now_ms, wall_ms)
    count = len(answers) // ANSWER_WORDS
    content = array("Q", (*head, wall_ms, count, *found, *answers)).tobytes()
    return content + _digest(content)


def load(table: Table, data: bytes, now_ms: int, wall_ms: int) -> int:
    """Puts a snapshot into ``table``, which is nobody else's yet, and empty but for what an earlier
    call left that did not come to its end; returns the number of clients. Raises TableError, and
    changes nothing, where ``data`` is none.
    """
    content = _checked(data)
    table.words[CLIENT_TAGS : CLIENT_TAGS + CLIENT_COUNT] = layout.BLANK_TAGS
    _, _, length, count, low, high, saved_ms, _ = content[:_HEAD_WORDS]
    answers = content[_HEAD_WORDS + count * length :].tolist()
    table.set_secret(low.to_bytes(WORD, "little") + high.to_bytes(WORD, "little"))
    # Where the wall clock was set back, no time has passed.
    placement, ahead_ms, taken = Placement(table), max(wall_ms, saved_ms) - now_ms, 0
    free: dict[int, int] = {}
    for index in range(count):
        start = _HEAD_WORDS + index * length
        record = content[start : start + length].tolist()
        bucket = placement.client_bucket(record[0])
        way = free.get(bucket, 0)
        if way < WAYS:
            free[bucket] = way + 1
            client = _unpacked(record, ahead_ms, now_ms)
            place = layout.client_row(bucket + way)
            table.words[place : place + CLIENT_WORDS] = memoryview(client)
            table.words[CLIENT_TAGS + bucket + way] = record[0]
            taken += 1
    load_answers(table, answers, now_ms, now_ms + ahead_ms)
    return taken


def _packed(client: list[int], ahead_ms: int) -> list[int]:
    record = [client[word] for word in _NUMBERS]
    record += [client[word] and min(max(client[word] + ahead_ms, 1), _LARGEST) for word in _TIMES]
    for bad in client[Client.BAD : Client.BAD + BAD_COUNT]:
        minute = ((bad & _LOW) * _MINUTE_MS + ahead_ms) // _MINUTE_MS
        record.append(bad and bad & ~_LOW | min(max(minute, 1), _LOW))
    return record


def _unpacked(record: list[int], ahead_ms: int, now_ms: int) -> "array[int]":
    client = array("Q", bytes(CLIENT_WORDS * WORD))
    for word, value in zip(_NUMBERS, record[1:], strict=False):
        client[word] = value
    first = 1 + len(_NUMBERS)
    for word, value in zip(_TIMES, record[first:], strict=False):
        client[word] = min(max(value - ahead_ms, 0), _LARGEST) if value else 0
    wall = dict(zip(_TIMES, record[first:], strict=False))
    if wall[Client.SCORE_MS] < ahead_ms:
        client[Client.SCORE] = 0
    if _is_forgotten(wall[Client.STRIKE_MS], ahead_ms, now_ms, FORGET_STRIKES_MS):
        client[Client.STRIKES] = 0
    if _is_forgotten(wall[Client.ACCEPTED_MS], ahead_ms, now_ms, FORGET_MS):
        client[Client.ACCEPTED] = client[Client.ACCEPTED_BEFORE] = 0
    if _is_forgotten(wall[Client.SKETCH_MS], ahead_ms, now_ms, FORGET_MS):
        client[Client.SKETCH] = 0
    bad = [
        entry & ~_LOW | max((entry & _LOW) * _MINUTE_MS - ahead_ms, _MINUTE_MS) // _MINUTE_MS
        for entry in record[first + len(_TIMES) :]
        if entry
        and not _is_forgotten((entry & _LOW) * _MINUTE_MS, ahead_ms, now_ms, FORGET_MS + _MINUTE_MS)
    ]
    for way, entry in enumerate(bad):  # from the first on: it alone says "none"
        client[Client.BAD + way] = entry
    return client


def _is_forgotten(wall: int, ahead_ms: int, now_ms: int, after_ms: int) -> bool:
    """Whether what was at ``wall`` was before the boot, and longer ago than it is remembered."""
    return wall < ahead_ms and now_ms + ahead_ms - wall > after_ms


def _checked(data: bytes) -> "array[int]":
    """The words of a sound snapshot. Raises TableError."""
    octets = len(data) - _DIGEST
    if octets < WORD * _HEAD_WORDS or octets % WORD:
        raise TableError(f"only {len(data)} octets")
    content = array("Q", data[:octets])
    magic, version, length, count, *_, answers = content[:_HEAD_WORDS]
    if magic != _MAGIC:
        raise TableError("not a snapshot of gwsmtp")
    if _digest(data[:octets]) != data[octets:]:
        raise TableError("damaged")
    if version not in (_VERSION, _WITHOUT_ANSWERS) or length != _RECORD_WORDS:
        raise TableError(f"other form (version {version}, ours is {_VERSION})")
    if _HEAD_WORDS + count * length + answers * ANSWER_WORDS != len(content):
        raise TableError(f"{count} clients and {answers} answers, but {octets} octets")
    return content


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST).digest()
