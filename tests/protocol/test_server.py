"""The server's machine: dialogs in memory, any chunking, any bytes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwsmtp.base import replies
from gwsmtp.base.errors import LocalProtocolError
from gwsmtp.protocol import events
from gwsmtp.protocol.extensions import Offer
from gwsmtp.protocol.server import ServerProtocol
from gwsmtp.protocol.state import State
from tests.support import dialog

CONVERSATION = (
    b"EHLO c\r\nMAIL FROM:<a@b.test> SIZE=10\r\nRCPT TO:<x@example.test>\r\n"
    b"RCPT TO:<unknown@example.test>\r\nDATA\r\nA: b\r\n\r\n..x\r\nbare\nlf\r\n.\r\nNOOP\r\n"
    b"MAIL FROM:<a\nb@c>\r\nMAIL FROM:<>\r\nRCPT TO:<y@example.test>\r\nDATA\r\n.\r\n"
    b"QUIT\r\nleft over"
)


@pytest.mark.parametrize("path", dialog.all_dialogs(), ids=lambda path: path.stem)
def test_dialog_in_memory(path: Path) -> None:
    dialog.run_in_memory(path)


def greeted() -> dialog.Memory:
    server = dialog.Memory()
    server.protocol.take_output()
    return server


@given(st.lists(st.integers(1, 30), min_size=1, max_size=200))
def test_chunking_changes_nothing(cuts: list[int]) -> None:
    whole = greeted()
    expected = whole.send(CONVERSATION)
    server = greeted()
    said, position = b"", 0
    for cut in cuts:
        said += server.send(CONVERSATION[position : position + cut])
        position += cut
    said += server.send(CONVERSATION[position:])
    assert said == expected
    assert server.messages == whole.messages


@given(st.lists(st.binary(max_size=700), max_size=8))
def test_any_bytes_are_answered_or_waited_for(pieces: list[bytes]) -> None:
    server = greeted()
    for piece in pieces:
        server.send(piece)


WORDS = [
    *(b"EHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<c@example.test>", b"DATA", b"RSET", b"QUIT"),
    *(b"\r\n", b"\n", b"\r", b".", b"\r\n.\r\n", b"\0", b"text", b"HELO \xff"),
]


@given(st.lists(st.sampled_from(WORDS), max_size=60))
def test_grammar_shaped_bytes_are_answered_or_waited_for(pieces: list[bytes]) -> None:
    whole, parts = greeted(), greeted()
    said = b"".join(parts.send(piece) for piece in pieces)
    assert said == whole.send(b"".join(pieces))
    assert parts.messages == whole.messages


def test_command_line_of_512_octets_passes_and_513_does_not() -> None:
    server = greeted()
    assert server.send(b"NOOP " + b"x" * 505 + b"\r\n").startswith(b"250")
    assert server.send(b"NOOP " + b"x" * 506 + b"\r\n") == replies.LINE_TOO_LONG.wire
    assert server.send(b"NOOP\r\n").startswith(b"250")


def test_mail_has_the_allowance_of_its_extensions() -> None:
    server = greeted()
    server.send(b"EHLO c\r\n")
    sender = b"a" * 200 + b"@b.test"
    line = b"MAIL FROM:<" + sender + b">" + b" " * 300 + b"SIZE=1\r\n"
    assert 512 < len(line) <= 555
    assert server.send(line).startswith(b"250")


def test_endless_line_is_refused_once_and_dropped_to_its_end() -> None:
    server = greeted()
    assert server.send(b"A" * 600) == replies.LINE_TOO_LONG.wire
    assert server.send(b"A" * 100_000) == b""
    assert server.send(b"NOOP\r") == b""
    assert server.send(b"\nNOOP\r\n") == replies.NOOP.wire


def test_bare_lf_is_reported_at_once_and_its_line_goes_on_to_crlf() -> None:
    server = greeted()
    assert server.send(b"EHLO c\n") == replies.BARE_NEWLINE_IN_COMMAND.wire
    assert server.send(b"NOOP\n") == b""
    assert server.send(b"NOOP\r\n") == b""
    assert server.send(b"NOOP\r\n") == replies.NOOP.wire


def test_octets_of_8_bit_in_a_command_are_refused() -> None:
    server = greeted()
    assert server.send(b"EHLO \xc3\xa4.test\r\n") == replies.BAD_ARGUMENTS.wire


def test_upcoming_recipients_are_those_received_in_a_row() -> None:
    server = greeted()
    server.send(b"EHLO c\r\nMAIL FROM:<a@b.test>\r\n")
    protocol = server.protocol
    protocol.receive(
        b"RCPT TO:<a@example.test>\r\nrcpt to:<b@example.test>\r\nRCPT TO:bad\r\n"
        b"RCPT TO:<c@example.test>\r\nDATA\r\nRCPT TO:<d@example.test>\r\n"
    )
    event = protocol.next_event()
    assert isinstance(event, events.Recipient)
    upcoming = protocol.upcoming_recipients()
    assert [mailbox.text for mailbox in upcoming] == ["b@example.test", "c@example.test"]
    protocol.reply(replies.RECIPIENT_OK)
    following = protocol.next_event()
    assert isinstance(following, events.Recipient)
    assert following.mailbox.text == "b@example.test"


def test_an_event_asked_for_while_one_is_unanswered_is_our_bug() -> None:
    protocol = ServerProtocol(Offer(0))
    with pytest.raises(LocalProtocolError):
        protocol.next_event()


def test_a_reply_to_nothing_is_our_bug() -> None:
    server = greeted()
    with pytest.raises(LocalProtocolError):
        server.protocol.reply(replies.NOOP)


def test_nothing_is_parsed_after_a_reply_that_closes() -> None:
    server = greeted()
    assert server.send(b"QUIT\r\nNOOP\r\n") == replies.BYE.wire
    assert server.protocol.state is State.CLOSED
    assert not server.protocol.has_input


def test_abort_says_its_reply_and_closes() -> None:
    server = greeted()
    server.protocol.abort(replies.TIMEOUT)
    assert server.protocol.take_output() == replies.TIMEOUT.wire
    assert server.is_closed


def test_close_says_nothing() -> None:
    server = greeted()
    server.protocol.close()
    assert server.protocol.take_output() == b""
    assert server.is_closed


def test_output_put_back_goes_out_first() -> None:
    server = greeted()
    server.protocol.receive(b"NOOP\r\n")
    server.protocol.next_event()
    server.protocol.put_back(b"rest\r\n")
    server.protocol.put_back(b"")
    server.protocol.reply(replies.NOOP)
    assert server.protocol.has_output
    assert server.protocol.take_output() == b"rest\r\n" + replies.NOOP.wire


def test_refused_data_leaves_no_payload() -> None:
    server = greeted()
    server.send(b"EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@example.test>\r\n")
    server.protocol.receive(b"DATA\r\nNOOP\r\n")
    server.protocol.next_event()
    server.protocol.reply(replies.SPOOL_FULL)
    assert isinstance(server.protocol.next_event(), events.Noop)
