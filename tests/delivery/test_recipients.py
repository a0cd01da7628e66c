"""The call-out: what a host's answers mean, what is remembered, and for how long."""

from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from gwsmtp.base import replies
from gwsmtp.base.address import Mailbox
from gwsmtp.delivery.recipients import RecipientVerifier, is_unknown
from gwsmtp.directory.domains import HostedDomain, RecipientRule, SmtpHost
from gwsmtp.limits.answers import NEGATIVE_MS, POSITIVE_MS, STALE_MS, Answers
from gwsmtp.limits.arena import Table
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.protocol.client import HopReply
from tests.delivery.hops import hop, pool
from tests.support.realclock import RealClock
from tests.support.tables import make_table, never_sleep


class MovedClock(RealClock):
    """The real clock, set forward by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_ms = 0

    def boot_ms(self) -> int:
        return super().boot_ms() + self.ahead_ms


def box(name: str) -> Mailbox:
    return Mailbox(f"{name}@example.test", name, "example.test")


def domain(*hosts: SmtpHost, rule: RecipientRule = RecipientRule.CALLOUT) -> HostedDomain:
    return HostedDomain("example.test", "root", hosts, rule, frozenset({"a@example.test"}))


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def table() -> Iterator[Table]:
    table = make_table()
    yield table
    table.close()


def answers(table: Table, slot: int = 0) -> Answers:
    return Answers(table, RangeLock(table, slot, never_sleep))


@pytest.fixture
def verifier(clock: MovedClock, table: Table) -> Iterator[RecipientVerifier]:
    callouts = pool(max_refusals=8)
    yield RecipientVerifier(callouts, clock, answers(table), accept_unavailable=False)
    callouts.close()


def test_known_and_unknown(tmp_path: Path, verifier: RecipientVerifier) -> None:
    with hop(tmp_path, "rcpt:unknown*=550 5.1.1 no such user") as next_hop:
        here = domain(next_hop.host)
        assert verifier.cached(here, box("a")) is None
        assert verifier.ask(here, box("a")) is replies.RECIPIENT_OK
        assert verifier.ask(here, box("unknown")) is replies.UNKNOWN_MAILBOX
        assert verifier.cached(here, box("A")) is replies.RECIPIENT_OK
        assert verifier.cached(here, box("unknown")) is replies.UNKNOWN_MAILBOX
        assert "MAIL FROM:<>" in next_hop.said()
        assert len(next_hop.journal("connected")) == 1


def test_a_group_is_asked_in_one_go(tmp_path: Path, verifier: RecipientVerifier) -> None:
    with hop(tmp_path, "rcpt:unknown*=550 5.1.1 no") as next_hop:
        here = domain(next_hop.host)
        others = [box("b"), box("unknown"), Mailbox("x@other.test", "x", "other.test")]
        assert verifier.ask(here, box("a"), others) is replies.RECIPIENT_OK
        assert verifier.cached(here, box("b")) is replies.RECIPIENT_OK
        assert verifier.cached(here, box("unknown")) is replies.UNKNOWN_MAILBOX
        assert not any("other.test" in line for line in next_hop.said())
        assert next_hop.said().count("MAIL FROM:<>") == 1


def test_many_sessions_that_want_the_same_ask_once(
    tmp_path: Path, verifier: RecipientVerifier
) -> None:
    with hop(tmp_path, "rcpt=delay 0.1") as next_hop:
        here = domain(next_hop.host)
        asking = [gevent.spawn(verifier.ask, here, box("a")) for _ in range(10)]
        assert {greenlet.get(timeout=5).code for greenlet in asking} == {250}
        assert sum(line.startswith("RCPT") for line in next_hop.said()) == 1


def test_ages_of_answers(tmp_path: Path, verifier: RecipientVerifier, clock: MovedClock) -> None:
    with hop(tmp_path, "rcpt:unknown*=550 5.1.1 no") as next_hop:
        here = domain(next_hop.host)
        verifier.ask(here, box("a"))
        verifier.ask(here, box("unknown"))
        clock.ahead_ms = NEGATIVE_MS
        assert verifier.cached(here, box("unknown")) is None
        assert verifier.cached(here, box("a")) is replies.RECIPIENT_OK
        clock.ahead_ms = POSITIVE_MS
        assert verifier.cached(here, box("a")) is None
    # The host is gone now: what was known to exist is good for 31 days.
    assert verifier.ask(here, box("a")) is replies.RECIPIENT_OK
    assert verifier.ask(here, box("unknown")) is replies.RECIPIENTS_UNAVAILABLE
    clock.ahead_ms = STALE_MS
    assert verifier.ask(here, box("a")) is replies.RECIPIENTS_UNAVAILABLE


def test_unavailable_may_mean_accepted(tmp_path: Path, clock: MovedClock, table: Table) -> None:
    with hop(tmp_path) as next_hop:
        here = domain(next_hop.host)
    lenient = RecipientVerifier(pool(), clock, answers(table), accept_unavailable=True)
    assert lenient.ask(here, box("a")) is replies.RECIPIENT_OK
    assert lenient.cached(here, box("a")) is None


@pytest.mark.parametrize("rule", ["rcpt=450 4.2.1 later", "rcpt=421 4.3.2 bye", "mail=451 4.3.0 x"])
def test_no_final_answer_is_not_remembered(
    tmp_path: Path, verifier: RecipientVerifier, rule: str
) -> None:
    with hop(tmp_path, rule) as next_hop:
        here = domain(next_hop.host)
        assert verifier.ask(here, box("a")) is replies.RECIPIENTS_UNAVAILABLE
        assert verifier.cached(here, box("a")) is None


def test_a_policy_refusal_is_passed_on_and_not_remembered(
    tmp_path: Path, verifier: RecipientVerifier
) -> None:
    with hop(tmp_path, "rcpt=554 5.7.1 not you") as next_hop:
        here = domain(next_hop.host)
        assert str(verifier.ask(here, box("a"))) == "554 5.7.1 not you"
        assert verifier.cached(here, box("a")) is None


def test_a_host_that_refuses_the_null_sender_accepts_any(
    tmp_path: Path, verifier: RecipientVerifier
) -> None:
    with hop(tmp_path, "mail=550 5.7.1 no null sender") as next_hop:
        assert verifier.ask(domain(next_hop.host), box("a")) is replies.RECIPIENT_OK


def test_connections_are_retired_after_eight_refusals(
    tmp_path: Path, verifier: RecipientVerifier
) -> None:
    with hop(tmp_path, "rcpt=550 5.1.1 no") as next_hop:
        here = domain(next_hop.host)
        for number in range(17):
            verifier.ask(here, box(f"u{number}"))
        assert len(next_hop.journal("connected")) == 3


def test_a_stale_connection_is_replaced(tmp_path: Path, verifier: RecipientVerifier) -> None:
    with hop(tmp_path, "rset#1=close") as next_hop:
        here = domain(next_hop.host)
        assert verifier.ask(here, box("a")) is replies.RECIPIENT_OK
        assert verifier.ask(here, box("b")) is replies.RECIPIENT_OK
        assert len(next_hop.journal("connected")) == 2


def test_the_second_host_answers_for_the_first(tmp_path: Path, verifier: RecipientVerifier) -> None:
    gone_folder = tmp_path / "gone"
    gone_folder.mkdir()
    with hop(gone_folder) as gone:
        dead = gone.host
    with hop(tmp_path) as next_hop:
        assert verifier.ask(domain(dead, next_hop.host), box("a")) is replies.RECIPIENT_OK


def test_refused_at_delivery_turns_the_answer(tmp_path: Path, verifier: RecipientVerifier) -> None:
    with hop(tmp_path) as next_hop:
        here = domain(next_hop.host)
        verifier.ask(here, box("a"))
        verifier.refused_at_delivery(here, "a@example.test", HopReply(554, [b"5.7.1 content"]))
        assert verifier.cached(here, box("a")) is replies.RECIPIENT_OK
        verifier.refused_at_delivery(here, "a@example.test", HopReply(550, [b"5.1.1 gone"]))
        assert verifier.cached(here, box("a")) is replies.UNKNOWN_MAILBOX


def test_rules_that_ask_nobody(verifier: RecipientVerifier) -> None:
    listed = domain(rule=RecipientRule.LIST)
    assert verifier.cached(listed, box("A")) is replies.RECIPIENT_OK
    assert verifier.cached(listed, box("b")) is replies.UNKNOWN_MAILBOX
    assert verifier.cached(domain(rule=RecipientRule.ANY), box("b")) is replies.RECIPIENT_OK


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (HopReply(550, [b"5.1.1 x"]), True),
        (HopReply(550, [b"no such user"]), True),
        (HopReply(551, [b"5.1.6 moved"]), True),
        (HopReply(553, [b"5.1.3 x"]), True),
        (HopReply(550, [b"5.4.1 access denied"]), True),
        (HopReply(551, [b"5.4.1 x"]), False),
        (HopReply(550, [b"5.7.1 policy"]), False),
        (HopReply(554, [b"5.1.1 x"]), False),
        (HopReply(552, [b"5.2.2 full"]), False),
        (HopReply(450, [b"4.1.1 x"]), False),
    ],
)
def test_what_means_unknown(reply: HopReply, expected: bool) -> None:
    assert is_unknown(reply) is expected


NO_UTF8 = r"ehlo=250-h\n250 PIPELINING"
UMLAUTS = [box("\u00fc"), box("a"), box("unknown\u00fc"), box("unknown")]


def test_a_group_with_addresses_that_are_not_ascii(
    tmp_path: Path, verifier: RecipientVerifier
) -> None:
    with hop(tmp_path, "rcpt:unknown*=550 5.1.1 no") as next_hop:
        here = domain(next_hop.host)
        assert verifier.ask(here, UMLAUTS[0], UMLAUTS[1:]) is replies.RECIPIENT_OK
        assert [verifier.cached(here, one) for one in UMLAUTS] == [
            *(replies.RECIPIENT_OK, replies.RECIPIENT_OK),
            *(replies.UNKNOWN_MAILBOX, replies.UNKNOWN_MAILBOX),
        ]
        assert "MAIL FROM:<> SMTPUTF8" in next_hop.said()
        assert len(next_hop.journal("connected")) == 1
        assert verifier.ask(here, box("b")) is replies.RECIPIENT_OK
        assert next_hop.said()[-2:] == ["MAIL FROM:<>", "RCPT TO:<b@example.test>"]


@pytest.mark.parametrize("rule", [NO_UTF8, "ehlo=502 5.5.1 no"])
def test_a_host_without_smtputf8_is_asked_for_ascii_only(
    tmp_path: Path, verifier: RecipientVerifier, rule: str
) -> None:
    with hop(tmp_path, rule, "rcpt:unknown*=550 5.1.1 no") as next_hop:
        here = domain(next_hop.host)
        assert verifier.ask(here, UMLAUTS[0]) is replies.NON_ASCII_ADDRESS
        assert not any(line.startswith("MAIL") for line in next_hop.said())
        for _ in range(2):
            assert verifier.ask(here, UMLAUTS[0], UMLAUTS[1:]) is replies.NON_ASCII_ADDRESS
            assert [verifier.cached(here, one) for one in UMLAUTS] == [
                *(None, replies.RECIPIENT_OK, None, replies.UNKNOWN_MAILBOX)
            ]
        assert sum(line == "MAIL FROM:<>" for line in next_hop.said()) == 1
        assert all(line.isascii() for line in next_hop.said())


def test_what_a_host_says_cannot_forge_a_pair_of_the_log(
    tmp_path: Path, verifier: RecipientVerifier, caplog: pytest.LogCaptureFixture
) -> None:
    with hop(tmp_path, "rcpt=421 4.3.2 x accepted=True level=ERROR") as next_hop:
        verifier.ask(domain(next_hop.host), box("a"))
        cause = f"{next_hop.host}: 421 4.3.2 x accepted=True level=ERROR"
    assert caplog.messages == [f'event=callout-failed accepted=False cause="{cause}"']


def test_a_list_that_cannot_be_read_refuses_nobody_for_good(verifier: RecipientVerifier) -> None:
    here = HostedDomain("example.test", "root", (), RecipientRule.LIST, None)
    assert verifier.cached(here, box("a")) is replies.RECIPIENTS_UNAVAILABLE


def test_what_one_worker_has_asked_all_know(
    tmp_path: Path, verifier: RecipientVerifier, clock: MovedClock, table: Table
) -> None:
    other = RecipientVerifier(pool(), clock, answers(table, 1), accept_unavailable=False)
    with hop(tmp_path, "rcpt:unknown*=550 5.1.1 no") as next_hop:
        here, reloaded = domain(next_hop.host), domain(next_hop.host)
        verifier.ask(here, box("a"))
        verifier.ask(here, box("unknown"))
        assert other.cached(reloaded, box("A")) is replies.RECIPIENT_OK
        assert other.cached(reloaded, box("unknown")) is replies.UNKNOWN_MAILBOX
        clock.ahead_ms = NEGATIVE_MS
        assert other.ask(reloaded, box("unknown")) is replies.UNKNOWN_MAILBOX
        assert verifier.cached(here, box("unknown")) is replies.UNKNOWN_MAILBOX
        assert sum(line.startswith("RCPT") for line in next_hop.said()) == 3
    clock.ahead_ms = POSITIVE_MS + NEGATIVE_MS
    assert other.ask(reloaded, box("a")) is replies.RECIPIENT_OK  # stale, as the host is down


def test_another_hosts_answers_are_nobodys(tmp_path: Path, verifier: RecipientVerifier) -> None:
    with hop(tmp_path) as next_hop:
        here = next_hop.host
        verifier.ask(domain(here), box("a"))
        moved = SmtpHost(here.host, here.port + 1)
        for elsewhere in (domain(moved), domain(here, moved), domain()):
            assert verifier.cached(elsewhere, box("a")) is None
        assert verifier.cached(domain(here), box("a")) is replies.RECIPIENT_OK
    assert verifier.ask(domain(moved), box("a")) is replies.RECIPIENTS_UNAVAILABLE
