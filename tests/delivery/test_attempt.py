"""In line to one next hop: what the host says at each stage, and what becomes of it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gwsmtp.base.clock import SystemClock
from gwsmtp.delivery.attempt import InlineDelivery, Letter, Outcome, Result
from gwsmtp.delivery.pool import HopPool
from gwsmtp.delivery.route import Route
from gwsmtp.directory.domains import SmtpHost
from gwsmtp.net.offload import Offload
from gwsmtp.spool.draft import MEMORY_OCTETS, Draft, DraftBudget
from tests.delivery.hops import Hop, hop, pool

CONTENT = b"Subject: x\r\n\r\n.dot\r\nend\r\n"
TRACE = b"Received: by test\r\n"


class Sender:
    """Delivers one message after the other over one pool."""

    def __init__(self, folder: Path, hops: HopPool) -> None:
        self._folder = folder
        self.pool = hops
        self._delivery = InlineDelivery(hops, Offload("disk", 1, 10), SystemClock())

    def send(
        self,
        *hosts: SmtpHost,
        to: tuple[str, ...] = ("a@example.test",),
        content: bytes = CONTENT,
        is_gone: bool = False,
        patience_s: float = 20,
    ) -> Result:
        draft = Draft(self._folder, DraftBudget(1 << 30), lambda function: function())
        draft.append(content)
        draft.finish()
        letter = Letter("s@client.test", to, TRACE, draft, is_8bit=True)
        try:
            return self._delivery.deliver(Route(hosts), letter, patience_s, lambda: is_gone)
        finally:
            draft.close()


@pytest.fixture
def sender(tmp_path: Path) -> Iterator[Sender]:
    hops = pool()
    yield Sender(tmp_path, hops)
    hops.close()


def dots(next_hop: Hop) -> int:
    """How many final dots the host has seen."""
    return len(next_hop.journal("message"))


def test_delivered_with_the_hosts_own_words(tmp_path: Path, sender: Sender) -> None:
    with hop(tmp_path) as next_hop:
        result = sender.send(next_hop.host)
        assert result.outcome is Outcome.DELIVERED
        assert result.reply.code == 250
        assert result.hop == str(next_hop.host)
        assert next_hop.filed() == [TRACE + CONTENT]
        assert "MAIL FROM:<s@client.test> BODY=8BITMIME SIZE=44" in next_hop.said()


def test_a_connection_is_used_again_with_rset(tmp_path: Path, sender: Sender) -> None:
    with hop(tmp_path) as next_hop:
        for _ in range(3):
            assert sender.send(next_hop.host).outcome is Outcome.DELIVERED
        assert len(next_hop.journal("connected")) == 1
        assert next_hop.said().count("RSET") == 2
        assert len(next_hop.filed()) == 3


def test_several_recipients_in_one_transaction(tmp_path: Path, sender: Sender) -> None:
    with hop(tmp_path) as next_hop:
        assert sender.send(next_hop.host, to=("a@x.test", "b@x.test")).outcome is Outcome.DELIVERED
        assert dots(next_hop) == 1


def test_a_body_in_a_file_arrives_whole(tmp_path: Path, sender: Sender) -> None:
    content = b"".join(b".%d\r\n" % n for n in range(60_000))
    assert len(content) > MEMORY_OCTETS
    with hop(tmp_path) as next_hop:
        assert sender.send(next_hop.host, content=content).outcome is Outcome.DELIVERED
        assert next_hop.filed() == [TRACE + content]


def test_a_host_without_pipelining_is_asked_step_by_step(tmp_path: Path, sender: Sender) -> None:
    with hop(tmp_path, "ehlo=502 5.5.1 no") as next_hop:
        for _ in range(2):
            result = sender.send(next_hop.host, to=("a@x.test", "b@x.test"))
            assert result.outcome is Outcome.DELIVERED
        assert any(line.startswith("HELO ") for line in next_hop.said())
        assert "MAIL FROM:<s@client.test>" in next_hop.said()


@pytest.mark.parametrize(
    ("rule", "outcome", "reply"),
    [
        ("mail=550 5.7.1 go away", Outcome.REFUSED, "550 5.7.1 go away"),
        ("mail=451 4.3.0 later", Outcome.DEFERRED, "451 4.3.0"),
        ("rcpt=550 5.1.1 nobody", Outcome.REFUSED, "550 5.1.1 nobody"),
        ("rcpt=450 4.2.1 full", Outcome.DEFERRED, "451 4.3.0"),
        ("data=554 5.6.0 no", Outcome.REFUSED, "554 5.6.0 no"),
        ("data=452 4.3.1 full", Outcome.DEFERRED, "451 4.3.0"),
    ],
)
def test_refused_before_the_dot(
    tmp_path: Path, sender: Sender, rule: str, outcome: Outcome, reply: str
) -> None:
    with hop(tmp_path, rule) as next_hop:
        for _ in range(2):  # the connection stays usable, or is replaced
            result = sender.send(next_hop.host)
            assert result.outcome is outcome
            assert str(result.reply).startswith(reply)
        assert dots(next_hop) == 0


@pytest.mark.parametrize(
    ("rule", "outcome", "reply"),
    [
        ("end=554 5.7.1 bad\tcontent", Outcome.REFUSED, "554 5.7.1 bad content"),
        ("end=452 4.3.1 disk full", Outcome.DEFERRED, "452 4.3.1 disk full"),
        ("end=250 fine", Outcome.DELIVERED, "250 2.0.0 fine"),
    ],
)
def test_the_final_reply_is_our_answer(
    tmp_path: Path, sender: Sender, rule: str, outcome: Outcome, reply: str
) -> None:
    with hop(tmp_path, rule) as next_hop:
        result = sender.send(next_hop.host)
        assert (result.outcome, str(result.reply)) == (outcome, reply)
        assert dots(next_hop) == 1


def test_recipients_that_differ_never_see_a_dot(tmp_path: Path, sender: Sender) -> None:
    with hop(tmp_path, "rcpt:bad*=550 5.1.1 nobody") as next_hop:
        result = sender.send(next_hop.host, to=("good@x.test", "bad@x.test"))
        assert (result.outcome, str(result.reply)[:9]) == (Outcome.DEFERRED, "451 4.3.0")
        assert list(result.refused) == ["bad@x.test"]
        assert dots(next_hop) == 0


def test_all_refused_tells_which(tmp_path: Path, sender: Sender) -> None:
    with hop(tmp_path, "rcpt=550 5.1.1 nobody") as next_hop:
        result = sender.send(next_hop.host, to=("a@x.test", "b@x.test"))
        assert result.outcome is Outcome.REFUSED
        assert sorted(result.refused) == ["a@x.test", "b@x.test"]


def test_refused_recipient_with_data_already_sent_ends_the_connection_without_a_dot(
    tmp_path: Path, sender: Sender
) -> None:
    with hop(tmp_path, r"rcpt#1=raw 550 5.1.1 nobody\r\n354 go on anyway\r\n") as next_hop:
        assert sender.send(next_hop.host).outcome is Outcome.REFUSED
        assert "QUIT" not in next_hop.said()
        assert sender.send(next_hop.host).outcome is Outcome.DELIVERED
        assert dots(next_hop) == 1
        assert len(next_hop.journal("connected")) == 2


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param("greeting=hang", marks=pytest.mark.full),
        pytest.param("ehlo=hang", marks=pytest.mark.full),
        pytest.param("mail=hang", marks=pytest.mark.full),
        "rcpt=close",
        "data=reset",
    ],
)
def test_a_host_lost_before_the_dot_is_a_deferral(
    tmp_path: Path, sender: Sender, rule: str
) -> None:
    with hop(tmp_path, rule) as next_hop:
        result = sender.send(next_hop.host)
        assert (result.outcome, str(result.reply)[:9]) == (Outcome.DEFERRED, "451 4.3.0")
        assert str(next_hop.host) in result.cause
        assert dots(next_hop) == 0


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param("end=hang", marks=pytest.mark.full),
        "end=close",
        "end=reset",
        "end=garbage",
        "end=flood",
    ],
)
def test_a_host_lost_after_the_dot_leaves_the_message_in_doubt_and_is_not_asked_again(
    tmp_path: Path, sender: Sender, rule: str
) -> None:
    with hop(tmp_path, rule) as next_hop, hop(make(tmp_path / "second")) as second:
        result = sender.send(next_hop.host, second.host)
        assert (result.outcome, str(result.reply)[:9]) == (Outcome.DEFERRED, "451 4.4.2")
        assert dots(next_hop) == 1
        assert dots(second) == 0


def test_a_stale_pooled_connection_is_replaced_once(tmp_path: Path, sender: Sender) -> None:
    with hop(tmp_path, "rset#1=close") as next_hop:
        assert sender.send(next_hop.host).outcome is Outcome.DELIVERED
        assert sender.send(next_hop.host).outcome is Outcome.DELIVERED
        assert len(next_hop.journal("connected")) == 2
        assert len(next_hop.filed()) == 2


def test_the_next_host_is_tried_when_the_first_cannot_be_reached(
    tmp_path: Path, sender: Sender
) -> None:
    with hop(make(tmp_path / "gone")) as gone:
        dead = gone.host
    with hop(tmp_path) as next_hop:
        assert sender.send(dead, next_hop.host).outcome is Outcome.DELIVERED
        assert len(next_hop.filed()) == 1


def test_a_client_that_vanished_gets_nothing_delivered(tmp_path: Path, sender: Sender) -> None:
    with hop(tmp_path) as next_hop:
        assert sender.send(next_hop.host, is_gone=True).outcome is Outcome.CLIENT_GONE
        assert dots(next_hop) == 0


def test_patience_that_ran_out_before_the_dot_is_a_deferral(tmp_path: Path, sender: Sender) -> None:
    with hop(tmp_path) as next_hop:
        result = sender.send(next_hop.host, patience_s=-1)
        assert result.outcome is Outcome.DEFERRED
        assert "patience" in result.cause
        assert dots(next_hop) == 0


def test_a_host_that_greets_with_421_is_busy_not_down(tmp_path: Path, sender: Sender) -> None:
    with hop(tmp_path, "greeting#1-4=421 4.3.2 busy") as next_hop:
        for _ in range(4):
            assert sender.send(next_hop.host).outcome is Outcome.DEFERRED
        assert sender.send(next_hop.host).outcome is Outcome.DELIVERED


def test_a_dead_host_is_left_alone_after_three_failures(tmp_path: Path, sender: Sender) -> None:
    with hop(make(tmp_path / "gone")) as gone:
        dead = gone.host
    causes = [sender.send(dead).cause for _ in range(4)]
    assert all("refused" in cause for cause in causes[:3])
    assert "left alone" in causes[3]


def make(folder: Path) -> Path:
    """A folder for one more next hop."""
    folder.mkdir()
    return folder


def test_a_host_that_grants_data_with_anything_but_354_is_dropped(
    tmp_path: Path, sender: Sender
) -> None:
    with hop(tmp_path, "data#1=250 2.0.0 what") as next_hop:
        result = sender.send(next_hop.host)
        assert result.outcome is Outcome.DEFERRED
        assert "QUIT" not in next_hop.said()
        assert sender.send(next_hop.host).outcome is Outcome.DELIVERED
        assert len(next_hop.journal("connected")) == 2


@pytest.mark.full
@pytest.mark.parametrize(
    "rule",
    [
        r"end=raw 250",
        r"end=raw 250-half\r\n",
        f"end=drip 250 {'x' * 60}",
        r"filed=raw 250",
        f"filed=drip 250 {'x' * 60}",
        "filed=hang",
    ],
)
def test_a_last_word_without_end_is_waited_for_as_long_as_is_set(
    tmp_path: Path, sender: Sender, rule: str
) -> None:
    """The dot has gone: no other host and no second time."""
    with hop(tmp_path, rule) as next_hop, hop(make(tmp_path / "second")) as second:
        began = time.monotonic()
        result = sender.send(next_hop.host, second.host)
        assert 2.5 < time.monotonic() - began < 6
        assert (result.outcome, str(result.reply)[:9]) == (Outcome.DEFERRED, "451 4.4.2")
        assert (dots(next_hop), dots(second)) == (1, 0)


@pytest.mark.full
@pytest.mark.parametrize("rule", ["rcpt=delay 0.3", "rcpt=drip 250"])
@pytest.mark.parametrize("mode", ["ehlo=ok", "ehlo=502 5.5.1 no"])
def test_a_host_that_drips_every_reply_cannot_outlive_patience(
    tmp_path: Path, sender: Sender, rule: str, mode: str
) -> None:
    """Each reply alone is in time."""
    with hop(tmp_path, mode, rule) as next_hop:
        began = time.monotonic()
        many = tuple(f"u{number}@example.test" for number in range(20))
        result = sender.send(next_hop.host, to=many, patience_s=1)
        assert time.monotonic() - began < 2.5
        assert (result.outcome, str(result.reply)[:9]) == (Outcome.DEFERRED, "451 4.3.0")
        assert dots(next_hop) == 0


@pytest.mark.parametrize("more", ["250 2.0.0 more", "354 go on"])
def test_a_reply_too_many_is_noticed_before_data(tmp_path: Path, sender: Sender, more: str) -> None:
    with hop(tmp_path, rf"rcpt#2=raw 250 ok\r\n{more}\r\n") as next_hop:
        result = sender.send(next_hop.host, to=("a@x.test", "b@x.test"))
        assert result.outcome is Outcome.DEFERRED
        assert "unasked" in result.cause
        assert "DATA" not in next_hop.said()
