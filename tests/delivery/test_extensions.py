"""SMTPUTF8 and DSN on the way to a next hop: what is said where it offers them, and where not."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from gwsmtp.base import replies
from gwsmtp.base.clock import SystemClock
from gwsmtp.delivery.attempt import InlineDelivery, Letter, Outcome, Result
from gwsmtp.delivery.route import Route
from gwsmtp.net.offload import Offload
from gwsmtp.spool.draft import Draft, DraftBudget
from tests.delivery.hops import Hop, hop, pool

PLAIN = "Subject: x\r\n\r\n\u00fc\r\n".encode()
UTF8_HEADER = "Subject: \u00fc\r\n\r\nx\r\n".encode()
NEITHER = r"ehlo=250-h\n250-PIPELINING\n250-8BITMIME\n250 SIZE 0"
"""A host of today without both."""
ASCII = ("s@client.test", "a@example.test")
UTF8 = ("s\u00fc@client.test", "a\u00fc@example.test")


class Sender:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.pool = pool()
        self._disk = Offload("disk", 1, 10)
        self._delivery = InlineDelivery(self.pool, self._disk, SystemClock())

    def send(
        self,
        next_hop: Hop,
        envelope: tuple[str, ...],
        content: bytes = PLAIN,
        *,
        is_utf8: bool = True,
        mail_dsn: str = "",
        rcpt_dsn: Mapping[str, str] | None = None,
        in_file: bool = False,
    ) -> Result:
        budget = DraftBudget(0 if in_file else 1 << 30)
        draft = Draft(self._folder, budget, lambda function: function())
        draft.append(content)
        draft.finish()
        assert (draft.data is None) is in_file
        sender, *recipients = envelope
        letter = Letter(
            sender,
            recipients,
            b"Received: by test\r\n",
            draft,
            is_8bit=True,
            is_utf8=is_utf8,
            mail_dsn=mail_dsn,
            rcpt_dsn=rcpt_dsn or {},
        )
        try:
            return self._delivery.deliver(Route((next_hop.host,)), letter, 20, lambda: False)
        finally:
            draft.close()


@pytest.fixture
def sender(tmp_path: Path) -> Iterator[Sender]:
    one = Sender(tmp_path)
    yield one
    one.pool.close()


def parameters(next_hop: Hop) -> list[str]:
    """Those of MAIL, then of each RCPT, of the last message."""
    found: list[str] = next_hop.journal("message")[-1]["parameters"]
    return found


@pytest.mark.parametrize("envelope", [ASCII, UTF8])
@pytest.mark.parametrize("content", [PLAIN, UTF8_HEADER])
def test_smtputf8_is_said_on_where_it_is_offered(
    tmp_path: Path, sender: Sender, envelope: tuple[str, ...], content: bytes
) -> None:
    with hop(tmp_path) as next_hop:
        for _ in range(2):
            assert sender.send(next_hop, envelope, content).outcome is Outcome.DELIVERED
        (message, _) = next_hop.journal("message")
        assert (message["sender"], *message["recipients"]) == envelope
        size = len(content) + len("Received: by test\r\n")
        assert parameters(next_hop) == [f"BODY=8BITMIME SIZE={size} SMTPUTF8", ""]


def test_it_is_not_said_for_a_message_without_it(tmp_path: Path, sender: Sender) -> None:
    with hop(tmp_path) as next_hop:
        assert sender.send(next_hop, ASCII, is_utf8=False).outcome is Outcome.DELIVERED
        assert "SMTPUTF8" not in parameters(next_hop)[0]


@pytest.mark.parametrize("in_file", [False, True])
def test_a_letter_that_does_not_need_it_goes_to_a_host_without_it(
    tmp_path: Path, sender: Sender, in_file: bool
) -> None:
    with hop(tmp_path, NEITHER) as next_hop:
        assert sender.send(next_hop, ASCII, in_file=in_file).outcome is Outcome.DELIVERED
        assert parameters(next_hop)[0].startswith("BODY=8BITMIME SIZE=")
        assert "SMTPUTF8" not in parameters(next_hop)[0]
        assert next_hop.filed()[0].endswith(PLAIN)


@pytest.mark.parametrize("in_file", [False, True])
def test_a_letter_that_needs_it_is_refused_before_a_word_is_said(
    tmp_path: Path, sender: Sender, in_file: bool
) -> None:
    with hop(tmp_path, NEITHER) as next_hop:
        for envelope, content, reply in (
            ((UTF8[0], ASCII[1]), PLAIN, replies.NON_ASCII_ADDRESS),
            ((ASCII[0], ASCII[1], UTF8[1]), UTF8_HEADER, replies.NON_ASCII_ADDRESS),
            (ASCII, UTF8_HEADER, replies.UTF8_HEADER),
        ):
            result = sender.send(next_hop, envelope, content, in_file=in_file)
            assert result.outcome is Outcome.REFUSED
            assert result.reply is reply
            assert result.refused == {}
        assert [line[:4] for line in next_hop.said()] == ["EHLO"]
        # The connection is as good as before.
        assert sender.send(next_hop, ASCII, in_file=in_file).outcome is Outcome.DELIVERED
        assert len(next_hop.journal("connected")) == 1


def test_a_host_with_helo_alone_takes_what_is_ascii(tmp_path: Path, sender: Sender) -> None:
    with hop(tmp_path, "ehlo=502 5.5.1 no") as next_hop:
        assert sender.send(next_hop, UTF8).reply is replies.NON_ASCII_ADDRESS
        dsn = {ASCII[1]: "NOTIFY=NEVER"}
        result = sender.send(next_hop, ASCII, mail_dsn="RET=HDRS", rcpt_dsn=dsn)
        assert result.outcome is Outcome.DELIVERED
        assert parameters(next_hop) == ["", ""]


def test_dsn_parameters_are_sent_on_to_a_host_that_offers_dsn(
    tmp_path: Path, sender: Sender
) -> None:
    with hop(tmp_path) as next_hop:
        result = sender.send(
            next_hop,
            (*ASCII, "b@example.test"),
            is_utf8=False,
            mail_dsn="RET=HDRS ENVID=a+2Bb",
            rcpt_dsn={"b@example.test": "NOTIFY=NEVER ORCPT=rfc822;o@example.test"},
        )
        assert result.outcome is Outcome.DELIVERED
        mail, first, second = parameters(next_hop)
        assert mail.endswith(" RET=HDRS ENVID=a+2Bb")
        assert (first, second) == ("", "NOTIFY=NEVER ORCPT=rfc822;o@example.test")


def test_dsn_parameters_are_dropped_for_a_host_without(tmp_path: Path, sender: Sender) -> None:
    with hop(tmp_path, NEITHER) as next_hop:
        dsn = {ASCII[1]: "NOTIFY=NEVER"}
        result = sender.send(next_hop, ASCII, mail_dsn="RET=HDRS", rcpt_dsn=dsn)
        assert result.outcome is Outcome.DELIVERED
        assert not any("RET" in line or "NOTIFY" in line for line in next_hop.said())
