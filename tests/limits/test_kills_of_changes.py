"""A kill at every single store of what changes a client's row, the allow list, a limit's mode:
afterwards it is as before or as it was meant to be, nobody else is touched, and all goes on.
"""

from collections.abc import Callable
from unittest.mock import patch

import pytest

from gwsmtp.base.decision import Reason
from gwsmtp.base.netmatch import parse_pattern
from gwsmtp.limits import allow, layout, undo
from gwsmtp.limits.arena import Table
from gwsmtp.limits.authguard import AuthGuard
from gwsmtp.limits.clients import forgive
from gwsmtp.limits.dictionary import Dictionary
from gwsmtp.limits.guards import Guard
from gwsmtp.limits.layout import (
    ALLOW,
    ALLOW_COUNT,
    ALLOW_WORDS,
    CLIENT_WORDS,
    CONTROL,
    WAYS,
    Client,
    Control,
)
from gwsmtp.limits.policy import Limit, Mode, Offence, Policy, RatePolicy
from gwsmtp.limits.rangelock import OUTSIDER, RangeLock
from gwsmtp.limits.rate import Rate
from gwsmtp.limits.shadow import force_shadow, forced_limits
from tests.limits.killed import Prepared, dies_in
from tests.limits.killhouse import MOST_STORES, NOW, FewBuckets, House, door_of, who
from tests.support.tables import never_sleep

HOUR = 3_600_000
LATER = NOW + 7 * HOUR
TIGHT = RatePolicy(Rate(60, 1), Mode.ENFORCE)
POLICY = Policy(messages=TIGHT, recipients=TIGHT)
NET = parse_pattern("192.0.2.0/24")
BY_THEMSELVES = {
    # Words that say something each for itself, or are counted anew.
    Client.LIVE,
    Client.LAST_SEEN,
    Client.PEAKS,
    Client.TAT_CONNECTIONS,
    Client.TAT_MESSAGES,
    Client.TAT_RECIPIENTS,
}
CLIENTS = slice(layout.client_row(8), layout.client_row(8 + WAYS))
ALLOWED = slice(ALLOW, ALLOW + ALLOW_COUNT * ALLOW_WORDS)

Change = Callable[[Table, House], object]


def lock_of(table: Table, house: House) -> RangeLock:
    return RangeLock(table, house.victim, never_sleep)


def guard(table: Table, house: House) -> Guard:
    return Guard(table, lock_of(table, house), POLICY)


def note_bad(fingerprint: int) -> Change:
    def change(table: Table, house: House) -> None:
        book = Dictionary(table, lock_of(table, house), POLICY)
        book.note(house.held[1].row, fingerprint, LATER)

    return change


def leave_clean(table: Table, house: House) -> None:
    door = door_of(table, house.victim)
    entrance = door.enter(0, who(1), LATER)
    entrance.accepted, entrance.was_clean = 3, True
    door.leave(entrance, LATER)


def unban(table: Table, house: House) -> object:
    with lock_of(table, house), patch("gwsmtp.limits.clients.Placement", FewBuckets):
        return forgive(table, who(1))


def fail_auth(table: Table, house: House) -> None:
    AuthGuard(table, lock_of(table, house), POLICY).fail(house.held[1].row, 77, LATER)


def charge(table: Table, house: House) -> object:
    return guard(table, house).charge(house.held[1].row, Reason.RECIPIENT_RATE, 1, LATER)


def charge_message(table: Table, house: House) -> object:
    return guard(table, house).charge_message(house.held[1].row, LATER, ahead=True)


def offend(offence: Offence) -> Change:
    return lambda table, house: guard(table, house).offend(house.held[1].row, offence, LATER)


def pardon(table: Table, house: House) -> object:
    return guard(table, house).pardon(house.held[1].row, LATER)


OLD_BAD = {Client.BAD + way: (way + 1) << 32 | LATER // 60_000 for way in range(8)}
SCORED = {Client.SCORE: 39_000, Client.SCORE_MS: LATER - 600_000}
BANNED = {
    Client.SCORE: 41_000,
    Client.SCORE_MS: LATER - 9,
    Client.STRIKES: 3,
    Client.STRIKE_MS: LATER - 9,
    Client.PENALTY_UNTIL: LATER + HOUR,
    Client.TRIES: 12,
    Client.TRIES_MS: LATER - 8,
}
FAITHFUL = {Client.PASS_UNTIL: LATER + HOUR, Client.CLEAN_SESSIONS: 7}
ABOUT_TO_HIT = {
    Client.TAT_MESSAGES: (LATER + 500) * 1000,
    Client.TAT_RECIPIENTS: (LATER + 500) * 1000,
}

# name: what stands in the client's row before, what is done, how many stores it has at least
ROWS: dict[str, tuple[dict[int, int], Change, int]] = {
    "an offence": (SCORED, offend(Offence.SYNTAX_ERROR), 3),
    "a ban": (
        {**SCORED, **FAITHFUL, Client.STRIKES: 3, Client.STRIKE_MS: LATER - 6 * HOUR},
        offend(Offence.FOREIGN_PROTOCOL),
        5,
    ),
    "a pardon": (SCORED, pardon, 2),
    "a charge": ({}, charge, 2),
    "a message and its recipient": ({}, charge_message, 4),
    "a hit in a new window": (
        {**ABOUT_TO_HIT, Client.OVER_LIMIT: 11, Client.OVER_LIMIT_MS: NOW},
        charge,
        3,
    ),
    "a hit that is an offence": (
        {**SCORED, **ABOUT_TO_HIT, Client.OVER_LIMIT: 10, Client.OVER_LIMIT_MS: LATER - 9},
        charge_message,
        4,
    ),
    "the ninth bad recipient": (
        {**OLD_BAD, Client.SKETCH: 3, Client.SKETCH_MS: NOW},
        note_bad(99),
        4,
    ),
    "a bad recipient": ({}, note_bad(99), 1),
    "a clean session": (
        {
            Client.CLEAN_SESSIONS: 2,
            Client.ACCEPTED: 9,
            Client.ACCEPTED_BEFORE: 5,
            Client.ACCEPTED_MS: LATER - 90 * 60_000,
        },
        leave_clean,
        10,
    ),
    "an unban": ({**BANNED, Client.OVER_LIMIT: 4, Client.OVER_LIMIT_MS: LATER}, unban, 9),
    "a wrong password": ({}, fail_auth, 2),
}


def meaning(table: Table, row: int) -> dict[int, int]:
    words = table.words[layout.client_row(row) : layout.client_row(row) + CLIENT_WORDS].tolist()
    return {n: word for n, word in enumerate(words) if n not in BY_THEMSELVES}


def others(table: Table, row: int) -> list[list[int]]:
    rows = [way for way in range(8, 8 + WAYS) if way != row]
    return [
        table.words[layout.client_row(way) : layout.client_row(way + 1)].tolist() for way in rows
    ]


def goes_on(house: House) -> None:
    """The next ones find a table they can work with."""
    door = house.door
    entrance = door.enter(0, who(2), LATER)
    assert entrance.row == house.held[2].row
    assert not entrance.refused
    door.leave(entrance, LATER)
    assert not undo.is_half_made(house.table.words)
    house.check()


def dies(house: House, stores: int, change: Change) -> bool:
    """Whether the victim died before that store; recovered afterwards."""

    def prepare(table: Table) -> Prepared:
        return lambda: change(table, house)

    is_dead = dies_in(house.path, stores, prepare)
    house.recover()
    return is_dead


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_as_before_or_as_after(house: House, name: str) -> None:
    row_before, change, least = ROWS[name]
    table, row = house.table, house.held[1].row
    place = layout.client_row(row)
    for word, value in row_before.items():
        table.words[place + word] = value
    image, before, rest = bytes(table.words[CLIENTS]), meaning(table, row), others(table, row)
    assert not dies(house, MOST_STORES, change)
    after = meaning(table, row)
    for stores in range(1, MOST_STORES):
        table.words[CLIENTS] = memoryview(image).cast("Q")
        is_dead = dies(house, stores, change)
        assert meaning(table, row) in (before, after), f"killed at store {stores}"
        assert others(table, row) == rest
        if not is_dead:
            assert meaning(table, row) == after
            break
        goes_on(house)
        table.words[CLIENTS] = memoryview(image).cast("Q")
    assert stores > least


def put_on_list(table: Table, house: House) -> None:
    with lock_of(table, house):
        allow.allow(table, NET, LATER + HOUR, LATER)


def take_off_list(table: Table, house: House) -> object:
    with lock_of(table, house):
        return allow.disallow(table, NET, LATER)


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("change", [put_on_list, take_off_list])
def test_the_allow_list_is_what_workers_have_read(
    house: House, change: Change, is_there: bool
) -> None:
    """Also a worker's that looks at it in the very moment of the kill."""
    table = house.table
    for stores in range(1, MOST_STORES):
        table.words[ALLOWED] = memoryview(bytes(ALLOW_COUNT * ALLOW_WORDS * 8)).cast("Q")
        with RangeLock(table, OUTSIDER, never_sleep):
            allow.allow(table, parse_pattern("198.51.100.7"), LATER + 1, LATER)
            if is_there:
                allow.allow(table, NET, LATER + 1, LATER)
        worker = allow.AllowList(table)
        assert worker.covers("192.0.2.1", LATER) is is_there
        is_dead = dies_in(house.path, stores, lambda table: lambda: change(table, house))
        worker.covers("192.0.2.1", LATER)
        house.recover()
        entries = {str(entry.pattern): entry.until_ms for entry in allow.read_allowed(table, LATER)}
        assert entries.pop("198.51.100.7") == LATER + 1
        assert list(entries.values()) in ([], [LATER + 1], [LATER + HOUR])
        assert worker.covers("192.0.2.1", LATER) is bool(entries)
        assert worker.covers("192.0.2.1", LATER + 2) is (list(entries.values()) == [LATER + HOUR])
        if not is_dead:
            assert bool(entries) is (change is put_on_list)
            return
        assert bool(entries) in (is_there, change is put_on_list)
    raise AssertionError("no end")


@pytest.mark.parametrize("is_on", [True, False])
def test_a_limit_is_in_shadow_or_not(house: House, is_on: bool) -> None:
    table = house.table

    def change(table: Table, house: House) -> None:
        with lock_of(table, house):
            force_shadow(table, Limit.MESSAGES, is_on=is_on)

    for stores in range(1, MOST_STORES):
        with RangeLock(table, OUTSIDER, never_sleep):
            force_shadow(table, Limit.RECIPIENTS, is_on=True)
            force_shadow(table, Limit.MESSAGES, is_on=not is_on)
        is_dead = dies(house, stores, change)
        found = forced_limits(table)
        assert found in ([Limit.RECIPIENTS], [Limit.MESSAGES, Limit.RECIPIENTS])
        if not is_dead:
            assert (Limit.MESSAGES in found) is is_on
            return
        goes_on(house)
    raise AssertionError("no end")


def test_who_undoes_may_die_as_well(house: House) -> None:
    """The next holder of the lock is killed at every store of putting back what it finds."""
    table, row = house.table, house.held[1].row
    table.words[layout.client_row(row) + Client.SCORE] = 39_000
    table.words[layout.client_row(row) + Client.SCORE_MS] = LATER
    before = meaning(table, row)
    ban = offend(Offence.FOREIGN_PROTOCOL)

    def half(table: Table) -> Prepared:
        return lambda: ban(table, house)

    for stores in range(1, MOST_STORES):
        assert dies_in(house.path, CLIENT_WORDS + 7, half)
        assert undo.is_half_made(table.words)
        assert meaning(table, row) != before
        is_dead = dies_in(house.path, stores, lambda table: lock_of(table, house).hold)
        house.recover()
        assert meaning(table, row) == before
        if not is_dead:
            assert stores > CLIENT_WORDS
            return
    raise AssertionError("no end")


def test_a_damaged_copy_is_left_alone(house: House) -> None:
    words = house.table.words
    for count, place in ((99, layout.client_row(8)), (4, 3), (4, layout.FILE_SIZE)):
        words[CONTROL + Control.KEPT_PLACE], words[CONTROL + Control.KEPT_COUNT] = place, count
        image = bytes(words[CLIENTS]), bytes(words[: layout.PAGE_WORDS])
        house.recover()
        assert image == (bytes(words[CLIENTS]), bytes(words[: layout.PAGE_WORDS]))
        assert not undo.is_half_made(words)
