"""The server's machine: dialogs in memory, any chunking, any bytes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwsmtp.base import replies
from gwsmtp.base.errors import LocalProtocolError
from gwsmtp.base.reply import Reply
from gwsmtp.protocol import events
from gwsmtp.protocol.commands import parse_command
from gwsmtp.protocol.extensions import Offer
from gwsmtp.protocol.server import ServerProtocol
from gwsmtp.protocol.state import State
from tests.support import dialog

CONVERSATION = (
    b"BDAT 6 LAST\r\nQUIT\r\n"
    b"EHLO c\r\nMAIL FROM:<a@b.test> SIZE=10\r\nRCPT TO:<x@example.test>\r\n"
    b"RCPT TO:<unknown@example.test>\r\nDATA\r\nA: b\r\n\r\n..x\r\nbare\nlf\r\n.\r\nNOOP\r\n"
    b"MAIL FROM:<a\nb@c>\r\nMAIL FROM:<>\r\nRCPT TO:<y@example.test>\r\nDATA\r\n.\r\n"
    b"MAIL FROM:<>\r\nRCPT TO:<y@example.test>\r\nBDAT 9\r\nA\r\n.\r\n\r\n\rBDAT 1\r\n\nBDAT 0\r\n"
    b"BDAT 2 LAST\r\n\0\r"
    b"MAIL FROM:<>\r\nRCPT TO:<y@example.test>\r\nBDAT 3\r\n\r\n.RSET\r\n"
    b"MAIL FROM:<>\r\nRCPT TO:<y@example.test>\r\nBDAT 3 LAST\r\n\r\n."
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
    *(b"BDAT 3\r\n", b"BDAT 0 LAST\r\n", b"BDAT 70 LAST\r\n", b"\x16", b"\x03", b"GET / HTTP/1.1"),
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


def test_a_line_both_too_long_and_bare_is_too_long_however_it_is_cut() -> None:
    line = b"A" * 600 + b"\n"
    for cut in (1, 550, 566, 600, 601):
        server = greeted()
        said = server.send(line[:cut]) + server.send(line[cut:] + b"\r\nNOOP\r\n")
        assert said == replies.LINE_TOO_LONG.wire + replies.NOOP.wire


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


class Small(dialog.Memory):
    """Takes messages of ten octets."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol.take_output()
        self.send(b"EHLO c\r\n")

    def _answer(self, event: events.Event) -> Reply:
        if isinstance(event, events.Bdat) and event.size > 10:
            return replies.MESSAGE_TOO_BIG
        return super()._answer(event)

    def is_reading(self) -> bool:
        return self.protocol.is_reading_payload

    def envelope(self) -> None:
        said = self.send(b"MAIL FROM:<>\r\nRCPT TO:<y@example.test>\r\n")
        assert said == replies.SENDER_OK.wire + replies.RECIPIENT_OK.wire


def test_the_reply_to_a_refused_chunk_waits_until_its_octets_were_dropped() -> None:
    server = Small()
    server.envelope()
    assert server.send(b"BDAT 12\r\nNOOP\r\n") == b""
    assert server.is_reading()
    assert server.send(b"QUIT\r") == b""
    assert server.send(b"\nNOOP\r\n") == replies.MESSAGE_TOO_BIG.wire + replies.NOOP.wire
    assert not server.is_reading()
    assert server.protocol.state is State.FAILED


def test_chunks_behind_a_refused_one_are_dropped_up_to_the_last() -> None:
    server = Small()
    server.envelope()
    said = server.send(b"BDAT 11\r\n12345678901BDAT 2\r\nabBDAT 2 LAST\r\ncd")
    lost = replies.CHUNK_LOST.wire
    assert said == replies.MESSAGE_TOO_BIG.wire + lost + lost
    assert server.protocol.state is State.READY
    assert server.messages == []
    server.envelope()
    assert server.send(b"BDAT 2 LAST\r\nxy").startswith(b"250")
    assert server.messages == [b"xy"]


@pytest.mark.parametrize("command", [b"RSET", b"EHLO c", b"MAIL FROM:<>"])
def test_what_ends_a_refused_run_of_chunks(command: bytes) -> None:
    server = Small()
    server.envelope()
    server.send(b"BDAT 2\r\nabBDAT 11\r\n12345678901")
    assert server.send(b"DATA\r\n") == replies.CHUNKS_BEGUN.wire
    assert b"250 " in server.send(command + b"\r\n")
    server.send(b"RSET\r\n")
    server.envelope()
    assert server.send(b"BDAT 1 LAST\r\nz").startswith(b"250")
    assert server.messages == [b"z"]  # nothing of the lost one


def test_a_chunk_that_nobody_can_wait_for_closes() -> None:
    server = greeted()
    assert server.send(b"BDAT 160000001\r\n") == replies.TOO_MUCH_DATA.wire
    assert server.is_closed
    server = Small()
    server.envelope()
    assert server.send(b"BDAT 160000001\r\n") == replies.TOO_MUCH_DATA.wire


@pytest.mark.parametrize("size_limit", [0, -1])
def test_without_a_size_limit_only_chunks_out_of_place_are_bounded(size_limit: int) -> None:
    for state, is_bounded in ((State.READY, True), (State.FAILED, True), (State.RCPT, False)):
        event = parse_command(b"BDAT 1073741825 LAST", state, Offer(size_limit), False)
        assert isinstance(event, events.Invalid if is_bounded else events.Bdat)


@pytest.mark.parametrize(
    "argument", [b"", b"x", b"-1", b"1 LAST x", b"1 FIRST", b"9" * 19, b"1.0", b"0x10", b"+1"]
)
def test_a_size_that_cannot_be_read_closes(argument: bytes) -> None:
    server = Small()
    server.envelope()
    assert server.send(b"BDAT " + argument + b"\r\nQUIT\r\n") == replies.BDAT_UNREADABLE.wire
    assert server.is_closed


@pytest.mark.parametrize(
    "line",
    [
        *(b"BDAT\t6\r\n", b"BDAT6 LAST\r\n", b"bdat\0 6\r\n", b"BDAT 6 LAST\xff\r\n"),
        *(b"BDAT 6\xc2\xa0LAST\r\n", b"BDAT 6 LAST\n", b"BDAT 6\rLAST\r\n", b"Bdat 6\r\r\n"),
        *(b"BDAT " + b"0" * 600 + b"6 LAST\r\n", b"BDAT " + b"0" * 505 + b"6\r\n"),
    ],
)
def test_a_bdat_that_is_spoiled_closes_as_one_without_a_size(line: bytes) -> None:
    """Its octets are not known to be any, and must not become commands."""
    server = Small()
    server.envelope()
    said = server.send(line + b"RSET\r\nMAIL FROM:<evil@client.example>\r\n")
    assert said == replies.BDAT_UNREADABLE.wire
    assert server.is_closed


@pytest.mark.parametrize(
    ("octets", "name"),
    [
        (b"\x16\x03\x01\x02\x00", "TLS"),
        (b"\x16\x03\r\n", "TLS"),
        (b"GET / HTTP/1.1\r\n", "HTTP"),
        (b"post /x HTTP/1.0\r\n", "HTTP"),
        (b"CONNECT mx.test:25 HTTP/1.1\r\n", "HTTP"),
    ],
)
def test_clients_of_other_protocols_are_closed_without_a_word(octets: bytes, name: str) -> None:
    for pieces in ([octets], [octets[i : i + 1] for i in range(len(octets))]):
        server = greeted()
        found = []
        for piece in pieces:
            server.protocol.receive(piece)
            found.append(server.protocol.next_event())
        (event,) = [event for event in found if event is not None]
        assert isinstance(event, events.Foreign)
        assert event.name == name
        assert server.is_closed
        assert not server.protocol.has_output


def test_a_first_octet_like_that_of_tls_alone_is_waited_for() -> None:
    server = greeted()
    assert server.send(b"\x16") == b""
    assert server.send(b"NOOP\r\n") == replies.UNKNOWN_COMMAND.wire


def test_an_address_beyond_ascii_needs_smtputf8_in_its_own_transaction() -> None:
    server = greeted()
    server.send(b"EHLO c\r\nMAIL FROM:<> SMTPUTF8\r\n")
    recipient = "RCPT TO:<ä@example.test>\r\n".encode()
    assert server.send(recipient) == replies.RECIPIENT_OK.wire
    server.send(b"RSET\r\nMAIL FROM:<>\r\n")
    assert server.send(recipient) == replies.UTF8_NOT_ASKED.wire


def test_a_parameter_that_is_wrong_is_told_before_the_address_beyond_ascii() -> None:
    server = greeted()
    server.send(b"EHLO c\r\n")
    assert server.send("MAIL FROM:<ä@b.test> SIZE=x SMTPUTF8\r\n".encode()) == (
        replies.BAD_PARAMETER.wire
    )


def test_upcoming_recipients_beyond_ascii_are_left_out() -> None:
    server = greeted()
    server.protocol.receive("RCPT TO:<ä@example.test>\r\nRCPT TO:<b@example.test>\r\n".encode())
    assert [mailbox.text for mailbox in server.protocol.upcoming_recipients()] == ["b@example.test"]


def test_upcoming_recipients_end_at_a_line_that_is_too_long_or_not_whole() -> None:
    for line in (b"RCPT TO:<" + b"a" * 600 + b"@example.test>\r\n", b"RCPT TO:<a@example.test>"):
        server = greeted()
        server.protocol.receive(line)
        assert server.protocol.upcoming_recipients() == []


def test_closing_in_the_middle_of_a_chunk_forgets_it() -> None:
    server = Small()
    server.envelope()
    server.send(b"BDAT 5\r\nab")
    server.protocol.abort(replies.TIMEOUT)
    assert server.send(b"cdeNOOP\r\n") == replies.TIMEOUT.wire
    assert not server.protocol.is_reading_payload
