"""What outlives the table: packed with the wall clock's time, loaded under another boot's."""

from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwsmtp.base.errors import TableError
from gwsmtp.limits import layout
from gwsmtp.limits.arena import Table
from gwsmtp.limits.dictionary import Dictionary
from gwsmtp.limits.identity import Placement, identify
from gwsmtp.limits.layout import CLIENT_COUNT, CLIENT_TAGS, WAYS, Client
from gwsmtp.limits.peers import Peers
from gwsmtp.limits.policy import Policy
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.limits.snapshot import LONGEST, load, pack
from tests.support.tables import make_table, never_sleep

NOW = 900_000_000
WALL = 1_700_000_000_000
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
IP = "192.0.2.7"
SECRET = b"another secret!!"
BYTES = st.integers(1, 255)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def new_table(stack: ExitStack, secret: bytes = b"") -> Table:
    table = make_table()
    if secret:
        table.set_secret(secret)
    stack.callback(table.close)
    return table


def row_of(table: Table, ip: str = IP) -> int:
    return Peers(table, Placement(table)).find(identify(ip).client)


def take(table: Table, ip: str = IP, **values: int) -> int:
    """A client's place, with words set by their names."""
    row = Peers(table, Placement(table)).take(identify(ip).client, NOW)
    place = layout.client_row(row)
    for name, value in values.items():
        table.words[place + getattr(Client, name)] = value
    return row


def passed_on(
    old: Table, stack: ExitStack, *, now_ms: int = NOW, later_ms: int = 0, back_ms: int = 0
) -> Table:
    """A new table with the snapshot of ``old``, ``later_ms`` afterwards at ``now_ms``."""
    new = new_table(stack, SECRET)
    load(new, pack(old, NOW, WALL), now_ms, WALL + later_ms - back_ms)
    return new


def word(table: Table, name: str, ip: str = IP) -> int:
    value: int = table.words[layout.client_row(row_of(table, ip)) + getattr(Client, name)]
    return value


def test_penalty_strikes_and_pass_are_kept_with_their_time_and_nobody_is_connected(
    stack: ExitStack,
) -> None:
    old = new_table(stack)
    take(old, LIVE=3, PENALTY_UNTIL=NOW + HOUR, STRIKES=2, STRIKE_MS=NOW - MINUTE)
    take(old, "2001:db8:5::1", PASS_UNTIL=NOW + DAY, CLEAN_SESSIONS=7, LIVE=1, SCORE=4_000)
    boot = 20 * MINUTE  # the machine was booted 20 minutes ago, the snapshot is 30 minutes old
    new = passed_on(old, stack, now_ms=boot, later_ms=30 * MINUTE)
    assert word(new, "PENALTY_UNTIL") == boot + 30 * MINUTE
    assert (word(new, "STRIKES"), word(new, "STRIKE_MS")) == (2, 0)
    assert word(new, "LIVE") == word(new, "LIVE", "2001:db8:5::1") == 0
    assert word(new, "PASS_UNTIL", "2001:db8:5::1") == boot + DAY - 30 * MINUTE
    assert word(new, "CLEAN_SESSIONS", "2001:db8:5::1") == 7
    assert word(new, "SCORE", "2001:db8:5::1") == 0  # of before the boot
    assert new.secret == old.secret != SECRET


def test_in_the_same_boot_scores_go_on_where_they_were(stack: ExitStack) -> None:
    old = new_table(stack)
    take(old, SCORE=15_000, SCORE_MS=NOW - MINUTE)
    new = passed_on(old, stack, now_ms=NOW + 5_000, later_ms=5_000)
    assert (word(new, "SCORE"), word(new, "SCORE_MS")) == (15_000, NOW - MINUTE)


def dictionary(table: Table) -> Dictionary:
    return Dictionary(table, RangeLock(table, 0, never_sleep), Policy())


def test_hiding_goes_on_for_the_same_mailboxes(stack: ExitStack) -> None:
    old = new_table(stack)
    row, marks = take(old), Placement(old).fingerprint
    for name in (b"a", b"b", b"c"):
        assert dictionary(old).note(row, marks(name), NOW - 10 * MINUTE)
    boot = 5 * MINUTE
    new = passed_on(old, stack, now_ms=boot, later_ms=15 * MINUTE)
    assert dictionary(new).hides(row_of(new), 0, boot)
    assert dictionary(new).count(row_of(new), boot) == 3
    assert not dictionary(new).note(row_of(new), Placement(new).fingerprint(b"b"), boot)
    assert dictionary(new).note(row_of(new), Placement(new).fingerprint(b"d"), boot)


def test_what_is_too_long_ago_is_forgotten(stack: ExitStack) -> None:
    old = new_table(stack)
    row = take(old, PASS_UNTIL=NOW + 9 * DAY, STRIKES=3, STRIKE_MS=NOW - HOUR, ACCEPTED=50)
    take(old, ACCEPTED_MS=NOW - MINUTE)
    dictionary(old).note(row, 5, NOW - MINUTE)
    boot = 5 * MINUTE
    new = passed_on(old, stack, now_ms=boot, later_ms=2 * HOUR)
    assert dictionary(new).count(row_of(new), boot) == 0
    assert (word(new, "STRIKES"), word(new, "ACCEPTED")) == (3, 0)
    newer = passed_on(old, stack, now_ms=boot, later_ms=DAY)
    assert word(newer, "STRIKES") == 0
    assert word(newer, "PASS_UNTIL") == boot + 8 * DAY


def test_a_large_providers_accepted_recipients_stay_beside_its_bad_ones(stack: ExitStack) -> None:
    old = new_table(stack)
    row = take(old, ACCEPTED=200, ACCEPTED_MS=NOW - 10 * MINUTE)
    for number in range(5):
        dictionary(old).note(row, number + 1, NOW - MINUTE)
    assert not dictionary(old).hides(row, 0, NOW)
    boot = 2 * MINUTE
    new = passed_on(old, stack, now_ms=boot, later_ms=5 * MINUTE)
    assert dictionary(new).count(row_of(new), boot) == 5
    assert not dictionary(new).hides(row_of(new), 0, boot)


def test_a_wall_clock_set_back_lets_no_penalty_last_longer(stack: ExitStack) -> None:
    old = new_table(stack)
    take(old, PENALTY_UNTIL=NOW + MINUTE)
    new = passed_on(old, stack, now_ms=HOUR, back_ms=40 * DAY)
    assert word(new, "PENALTY_UNTIL") == HOUR + MINUTE


def test_who_says_nothing_is_not_in_it(stack: ExitStack) -> None:
    old = new_table(stack)
    take(old)
    take(old, "192.0.2.8", PENALTY_UNTIL=NOW - 1)
    take(old, "192.0.2.9", PASS_UNTIL=NOW + 1)
    data = pack(old, NOW, WALL)
    assert load(new_table(stack), data, NOW, WALL) == 1


def test_damage_is_noticed_and_changes_nothing(stack: ExitStack) -> None:
    old, new = new_table(stack), new_table(stack, SECRET)
    take(old, PENALTY_UNTIL=NOW + HOUR)
    take(old, "192.0.2.9", PASS_UNTIL=NOW + HOUR)
    sound = pack(old, NOW, WALL)

    @given(data=st.binary(max_size=400), place=st.integers(0, len(sound) - 1), flip=BYTES)
    def is_refused(data: bytes, place: int, flip: int) -> None:
        flipped = bytearray(sound)
        flipped[place] ^= flip
        for bad in (data, sound[:place], sound + bytes(1 + place), bytes(flipped)):
            with pytest.raises(TableError):
                load(new, bad, NOW, WALL)

    is_refused()
    assert new.secret == SECRET
    assert row_of(new) == row_of(new, "192.0.2.9") == -1


def test_one_of_the_version_before_which_has_no_answers_is_loaded(stack: ExitStack) -> None:
    old = new_table(stack)
    take(old, PENALTY_UNTIL=NOW + HOUR)
    words = array("Q", pack(old, NOW, WALL)[:-16])
    assert (words[1], words[7]) == (2, 0)
    words[1] = 1
    content = words.tobytes()
    new = new_table(stack)
    assert load(new, content + blake2b(content, digest_size=16).digest(), NOW, WALL) == 1


def test_words_of_another_clock_are_no_reason_to_fail(stack: ExitStack) -> None:
    old = new_table(stack)
    far = (1 << 64) - 1
    take(old, PASS_UNTIL=NOW + 1, PENALTY_UNTIL=far, SCORE_MS=far, STRIKE_MS=far, BAD=far)
    new = new_table(stack)
    assert load(new, pack(old, NOW, WALL), 0, 0) == 1


def test_a_full_table_is_kept_whole(stack: ExitStack) -> None:
    old = new_table(stack)
    placement, filled, number = Placement(old), [0] * CLIENT_COUNT, 0
    while number < CLIENT_COUNT // 8:  # every bucket gets some, many are full
        tag = identify(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}").client
        bucket = placement.client_bucket(tag)
        if filled[bucket] < WAYS:
            row = bucket + filled[bucket]
            filled[bucket] += 1
            old.words[CLIENT_TAGS + row] = tag
            old.words[layout.client_row(row) + Client.PASS_UNTIL] = NOW + 1 + number
        number += 1
    data = pack(old, NOW, WALL)
    assert len(data) <= LONGEST
    new = new_table(stack, SECRET)
    assert load(new, data, NOW, WALL) == sum(filled)
    assert word(new, "PASS_UNTIL", "10.0.1.4") == NOW + 1 + 260
