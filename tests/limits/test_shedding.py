"""Who is due to be shed, by the tries that admission counts."""

from collections.abc import Iterator

import pytest

from gwsmtp.base.decision import Reason
from gwsmtp.base.netmatch import parse_pattern
from gwsmtp.limits import shedding
from gwsmtp.limits.admission import Admission
from gwsmtp.limits.arena import Table
from gwsmtp.limits.identity import Placement, address_of, identify
from gwsmtp.limits.layout import CLIENT_TAGS, Client, client_row
from gwsmtp.limits.peers import Peers
from gwsmtp.limits.policy import Policy
from gwsmtp.limits.rangelock import RangeLock
from tests.support.tables import make_table, never_sleep

NOW = 10_000_000
POLICY = Policy()
IP = "192.0.2.7"


@pytest.fixture
def table() -> Iterator[Table]:
    table = make_table()
    yield table
    table.close()


class Client7:
    """A banned client that tries, through the real door."""

    def __init__(self, table: Table, ip: str = IP, policy: Policy = POLICY) -> None:
        self.words = table.words
        self.identity = identify(ip)
        peers = Peers(table, Placement(table))
        self.row = peers.take(self.identity.client, NOW)
        self.admission = Admission(table, 0, RangeLock(table, 0, never_sleep), peers, policy)

    def ban(self, now_ms: int = NOW, strikes: int = 2, lasts_ms: int = 3_600_000) -> None:
        place = client_row(self.row)
        self.words[place + Client.STRIKES] = strikes
        self.words[place + Client.STRIKE_MS] = now_ms
        self.words[place + Client.PENALTY_UNTIL] = now_ms + lasts_ms

    def unban(self) -> None:
        self.words[client_row(self.row) + Client.PENALTY_UNTIL] = 0

    def come(self, now_ms: int, times: int) -> Reason:
        reason = Reason.NONE
        for _ in range(times):
            verdict = self.admission.enter(0, self.identity, now_ms)
            reason = verdict.refused
            self.admission.leave(verdict, now_ms)
        return reason


def due(table: Table, now_ms: int) -> list[int]:
    return list(shedding.find_due(table, POLICY, now_ms).values())


def test_ten_tries_within_a_minute_of_the_second_ban(table: Table) -> None:
    client = Client7(table)
    client.ban()
    assert client.come(NOW + 1, 9) is Reason.PENALTY
    before = shedding.calls(table)
    assert due(table, NOW + 1) == []
    client.come(NOW + 2, 1)
    assert shedding.calls(table) == before + 1
    assert due(table, NOW + 2) == [client.identity.client]


def test_the_first_ban_stays_audible(table: Table) -> None:
    client = Client7(table)
    client.ban(strikes=1)
    client.come(NOW + 1, 100)
    assert due(table, NOW + 1) == []
    client.ban(NOW + 50)  # what was tried before the second ban does not count
    assert due(table, NOW + 51) == []
    client.come(NOW + 52, 9)
    assert due(table, NOW + 52) == []
    client.come(NOW + 53, 1)
    assert due(table, NOW + 53) == [client.identity.client]


def test_a_strike_that_has_faded_is_none(table: Table) -> None:
    client = Client7(table)
    client.ban(lasts_ms=86_400_000)
    later = NOW + POLICY.strike_fade_ms
    client.come(later, 50)
    assert due(table, later) == []


def test_who_comes_seldom_is_heard(table: Table) -> None:
    client = Client7(table)
    client.ban()
    for minute in range(6):
        client.come(NOW + 61_000 * minute, 9)
        assert due(table, NOW + 61_000 * minute) == []


def test_it_ends_after_ten_minutes_and_begins_again_with_ten_tries(table: Table) -> None:
    client = Client7(table)
    client.ban()
    client.come(NOW, 10)
    known = shedding.find_due(table, POLICY, NOW)
    assert shedding.still_due(table, known, POLICY, NOW + shedding.SHED_MS - 1) == known
    end = NOW + shedding.SHED_MS
    assert shedding.still_due(table, known, POLICY, end) == {}
    client.come(end, 9)
    assert due(table, end) == []
    client.come(end, 1)
    assert due(table, end) == [client.identity.client]


def test_an_unban_or_the_end_of_the_ban_ends_it(table: Table) -> None:
    client = Client7(table)
    client.ban(lasts_ms=60_000)
    client.come(NOW, 10)
    known = shedding.find_due(table, POLICY, NOW)
    assert shedding.still_due(table, known, POLICY, NOW + 59_999) == known
    assert shedding.still_due(table, known, POLICY, NOW + 60_000) == {}
    client.unban()
    assert shedding.still_due(table, known, POLICY, NOW + 1) == {}


def test_a_row_that_went_to_another_client_is_forgotten(table: Table) -> None:
    client = Client7(table)
    client.ban()
    client.come(NOW, 10)
    known = shedding.find_due(table, POLICY, NOW)
    table.words[CLIENT_TAGS + client.row] = identify("192.0.2.8").client
    assert shedding.still_due(table, known, POLICY, NOW) == {}


def test_what_would_only_have_been_refused_is_no_try(table: Table) -> None:
    client = Client7(table, policy=Policy(is_acting=False))
    client.ban()
    assert client.come(NOW, 20) is Reason.NONE
    assert due(table, NOW) == []


def test_who_became_due_last_comes_first(table: Table) -> None:
    clients = [Client7(table, f"192.0.2.{number}") for number in range(1, 6)]
    for number in (3, 0, 4, 1, 2):
        clients[number].ban(NOW)
        clients[number].come(NOW + 10 * number, 10)
    assert due(table, NOW + 100) == [client.identity.client for client in reversed(clients)]


@pytest.mark.parametrize(
    ("ip", "pattern", "expected"),
    [
        ("192.0.2.7", "192.0.2.0/24", True),
        ("192.0.2.7", "192.0.3.0/24", False),
        ("192.0.2.7", "192.0.2.8", False),
        ("192.0.2.7", "*", True),
        ("192.0.2.7", "::/1", False),
        ("2001:db8:1:2::9", "2001:db8:1:2::7", True),  # a host of the same /64
        ("2001:db8:1:2::9", "2001:db8:1:3::7", False),
        ("2001:db8:1:2::9", "2001:db8::/32", True),
        ("2001:db8:1:2::9", "32.1.13.184", False),
        ("::1", "::1", True),
        ("::1", "::/60", True),
    ],
)
def test_who_is_spared(ip: str, pattern: str, expected: bool) -> None:
    tag = identify(ip).client
    assert shedding.is_spared(tag, [parse_pattern(pattern, everybody=True)]) is expected


@pytest.mark.parametrize(
    ("ip", "expected"),
    [
        ("192.0.2.7", (4, 0xC0000207)),
        ("0.0.0.0", (4, 0)),
        ("2001:db8:1:2::9", (6, 0x20010DB800010002)),
        ("::1", (6, 0)),
    ],
)
def test_a_tag_is_an_address_again(ip: str, expected: tuple[int, int]) -> None:
    assert address_of(identify(ip).client) == expected
