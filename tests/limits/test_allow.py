"""The allow list: who stands on it, until when, seen by a worker without being told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gwsmtp.base.errors import TableError
from gwsmtp.base.netmatch import parse_pattern
from gwsmtp.limits.allow import AllowList, allow, disallow, read_allowed
from gwsmtp.limits.arena import Table, create_table
from gwsmtp.limits.layout import ALLOW_COUNT

NOW = 1_000_000


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    table = create_table(tmp_path / "t.table", now_ms=1)
    yield table
    table.close()


def put(table: Table, text: str, seconds: int = 60) -> None:
    allow(table, parse_pattern(text), NOW + seconds * 1000, NOW)


def shown(table: Table, now_ms: int = NOW) -> list[str]:
    return [str(entry.pattern) for entry in read_allowed(table, now_ms)]


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
        ("192.0.2.7", "::ffff:192.0.2.7", "::192.0.2.7"),
        ("10.*", "10.255.0.1", "11.0.0.1"),
        ("198.51.100.0/25", "198.51.100.127", "198.51.100.128"),
        ("2001:db8:1::/48", "2001:db8:1:ffff::9", "2001:db8:2::9"),
        ("2001:db8::5", "2001:db8::5", "2001:db8::6"),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:" * 7 + "ffff", "ffff:" * 7 + "fffe"),
    ],
)
def test_a_network_covers_its_clients_only(
    table: Table, pattern: str, inside: str, outside: str
) -> None:
    listed = AllowList(table)
    assert not listed.covers(inside, NOW)
    put(table, pattern)
    assert listed.covers(inside, NOW)
    assert not listed.covers(outside, NOW)


def test_an_entry_ends_at_its_time_and_not_before(table: Table) -> None:
    listed = AllowList(table)
    put(table, "192.0.2.0/24", 60)
    assert listed.covers("192.0.2.1", NOW + 59_999)
    assert not listed.covers("192.0.2.1", NOW + 60_000)
    assert shown(table, NOW + 60_000) == []


def test_who_is_taken_off_is_covered_no_more_by_those_that_knew_it(table: Table) -> None:
    listed = AllowList(table)
    put(table, "192.0.2.0/24")
    put(table, "203.0.113.0/24")
    assert listed.covers("192.0.2.1", NOW)
    assert disallow(table, parse_pattern("192.0.2.0/24"), NOW)
    assert not listed.covers("192.0.2.1", NOW)
    assert listed.covers("203.0.113.1", NOW)
    assert not disallow(table, parse_pattern("192.0.2.0/24"), NOW)


def test_the_same_network_again_gets_a_new_end_and_no_second_place(table: Table) -> None:
    listed = AllowList(table)
    put(table, "192.0.2.0/24", 60)
    assert listed.covers("192.0.2.1", NOW)
    put(table, "192.0.2.0/24", 3600)
    assert len(read_allowed(table, NOW)) == 1
    assert listed.covers("192.0.2.1", NOW + 3_599_000)


def test_entries_are_listed_by_their_end(table: Table) -> None:
    put(table, "192.0.2.9", 90)
    put(table, "2001:db8::/32", 30)
    put(table, "10.0.0.0/8", 60)
    assert shown(table) == ["2001:db8::/32", "10.0.0.0/8", "192.0.2.9"]


def test_a_full_list_says_so_and_an_ended_entry_makes_room(table: Table) -> None:
    for number in range(ALLOW_COUNT):
        put(table, f"10.0.{number}.0/24", 60 if number else 30)
    with pytest.raises(TableError, match="the allow list is full: 256 networks"):
        put(table, "192.0.2.0/24")
    later = NOW + 30_000
    listed = AllowList(table)
    assert listed.covers("10.0.200.1", later)
    allow(table, parse_pattern("192.0.2.0/24"), later + 1000, later)
    assert listed.covers("192.0.2.1", later)
    assert "10.0.0.0/24" not in shown(table, later)


def test_what_no_version_wrote_is_nobody(table: Table) -> None:
    put(table, "192.0.2.0/24")
    for place in range(len(table.words)):
        if table.words[place] == NOW + 60_000:
            table.words[place + 1] = 9 << 8 | 200
    assert shown(table) == []
    assert not AllowList(table).covers("192.0.2.1", NOW)
