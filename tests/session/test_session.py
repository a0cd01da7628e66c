"""One connection: what ends it, what its client hears, what is reported of it."""

import socket as std_socket
import struct

import gevent
import pytest

from gwsmtp.scan.outcome import Action, ScanOutcome
from gwsmtp.session.services import InboundTimeouts, SessionLimits
from tests.delivery.hops import Hop
from tests.session.rig import Rig


def test_a_message_is_traced_scanned_delivered_and_answered(house: Rig, next_hop: Hop) -> None:
    client = house.greeted()
    assert client.message().startswith("250 2.")
    assert client.ask(b"QUIT\r\n") == "221 2.0.0 Bye"
    assert client.reply() == ""
    (filed,) = next_hop.filed()
    trace, _, content = filed.partition(b"Subject")
    sid = house.messages[0].session_id
    assert content == b": x\r\n\r\nhi\r\n"
    assert trace.startswith(
        b"Received: from client.test ([127.0.0.1])\r\n\tby gw.example.test with ESMTP id "
        + f"{sid}-1".encode()
        + b"\r\n\tfor <a@example.test>;\r\n\t"
    )
    message = house.messages[0]
    assert (message.sender, message.recipients) == ("s@client.test", ("a@example.test",))
    assert (message.outcome, message.verdict, message.size_bytes) == ("accepted", "accept", 18)
    assert message.hop == str(next_hop.host)
    ended = house.wait_ended()
    assert (ended.reason, ended.after, ended.messages, ended.commands) == ("quit", "QUIT", 1, 5)
    assert ended.bytes_in > 0 < ended.bytes_out
    client.close()


def test_the_helo_name_is_not_repeated_into_a_header_when_it_is_no_domain(
    house: Rig, next_hop: Hop
) -> None:
    client = house.connect()
    client.reply()
    client.ask(b"HELO (evil);x\r\n")
    client.message()
    assert next_hop.filed()[0].startswith(b"Received: from [127.0.0.1] ([127.0.0.1])\r\n")
    assert b"with SMTP id" in next_hop.filed()[0]
    client.close()


@pytest.mark.parametrize("first", [b" ", b"\t", b"\0", b"\rx"])
def test_content_never_goes_on_in_our_trace_field(house: Rig, next_hop: Hop, first: bytes) -> None:
    client = house.greeted()
    assert client.message(first + b"by evil.test; forged\r\n").startswith("250")
    header, _, content = next_hop.filed()[0].partition(b"\r\n\r\n")
    assert header.startswith(b"Received: ")
    assert b"evil" not in header
    assert content.endswith(b"by evil.test; forged\r\n")


def test_several_recipients_are_not_named_in_the_trace(house: Rig, next_hop: Hop) -> None:
    client = house.greeted()
    client.ask(b"MAIL FROM:<>\r\n")
    for name in (b"a", b"b", b"A"):
        assert client.ask(b"RCPT TO:<" + name + b"@example.test>\r\n").startswith("250")
    client.ask(b"DATA\r\n")
    assert client.ask(b"x\r\n.\r\n").startswith("250")
    assert b"for <" not in next_hop.filed()[0]
    # The same mailbox twice is one delivery.
    assert house.messages[0].recipients == ("a@example.test", "b@example.test")
    client.close()


def test_another_next_hop_than_the_first_is_sent_away_for_now(house: Rig) -> None:
    client = house.greeted()
    client.ask(b"MAIL FROM:<>\r\n")
    client.ask(b"RCPT TO:<a@example.test>\r\n")
    assert client.ask(b"RCPT TO:<a@other.test>\r\n").startswith("452 4.5.3 ")
    assert client.ask(b"RCPT TO:<b@example.test>\r\n").startswith("250")
    client.close()


def test_a_bare_postmaster_is_that_of_our_own_domain(house: Rig) -> None:
    house.limits = SessionLimits(0, 10, -1)
    client = house.greeted()
    client.ask(b"MAIL FROM:<>\r\n")
    assert client.ask(b"RCPT TO:<Postmaster>\r\n").startswith("550 5.1.1")
    client.close()
    house.host_domain = "Example.Test"
    own = house.greeted()
    own.ask(b"MAIL FROM:<>\r\n")
    assert own.ask(b"RCPT TO:<Postmaster>\r\n").startswith("250")
    own.ask(b"DATA\r\n")
    assert own.ask(b"x\r\n.\r\n").startswith("250")
    assert house.messages[0].recipients == ("Postmaster@Example.Test",)
    own.close()


def test_more_recipients_than_the_limit_are_sent_away_for_now(house: Rig) -> None:
    house.limits = SessionLimits(0, 1, -1)
    client = house.greeted()
    client.ask(b"MAIL FROM:<>\r\n")
    client.ask(b"RCPT TO:<a@example.test>\r\n")
    assert client.ask(b"RCPT TO:<b@example.test>\r\n").startswith("452 4.5.3 ")
    client.close()


@pytest.mark.parametrize(
    ("octets", "reply"), [(1000, "250 2."), (1001, "552 5.3.4"), (3000, "552 5.3.4")]
)
def test_size_is_exact_and_the_excess_is_read_to_its_end(
    house: Rig, next_hop: Hop, octets: int, reply: str
) -> None:
    house.limits = SessionLimits(1000, 10, -1)
    client = house.greeted()
    content = b"." * 80 + b"\r\n"
    content = (content * (octets // 82 + 1))[: octets - 2] + b"\r\n"
    stuffed = b"".join(b"." + line for line in content.splitlines(keepends=True))
    assert client.message(stuffed).startswith(reply)
    assert len(next_hop.filed()) == (reply == "250 2.")
    assert client.ask(b"NOOP\r\n").startswith("250")
    client.close()


def test_far_more_than_size_ends_the_session(house: Rig) -> None:
    house.limits = SessionLimits(1000, 10, -1)
    client = house.greeted()
    client.ask(b"MAIL FROM:<>\r\nRCPT TO:<a@example.test>\r\nDATA\r\n")
    client.reply(), client.reply()
    assert client.ask(b"x" * 5000).startswith("421 4.7.0")
    client.close()
    assert house.wait_ended().reason == "far more data than SIZE"
    assert house.messages[0].outcome == "lost"
    client.close()


def test_bare_newlines_are_normalised_or_refused(house: Rig, next_hop: Hop) -> None:
    client = house.greeted()
    assert client.message(b"a\nb\rc\r\n").startswith("250")
    assert next_hop.filed()[0].endswith(b"\r\na\r\nb c\r\n")
    assert house.messages[0].notes == "bare-newlines=2"
    house.reject_bare_newline = True
    strict = house.greeted()
    assert strict.message(b"a\nb\r\n").startswith("554 5.6.0")
    assert len(next_hop.filed()) == 1
    client.close()
    strict.close()


def test_a_line_of_over_a_mebibyte_is_refused(house: Rig, next_hop: Hop) -> None:
    house.limits = SessionLimits(40_000_000, 10, -1)
    client = house.greeted()
    assert client.message(b"x" * (1 << 20) + b"\r\n").startswith("250")
    assert client.message(b"x" * ((1 << 20) + 1) + b"\r\n").startswith("554 5.6.0")
    assert len(next_hop.filed()) == 1
    client.close()


@pytest.mark.parametrize(
    ("action", "reply", "outcome"),
    [
        (Action.REJECT, "554 5.7.1 bad stuff [", "rejected"),
        (Action.DEFER, "451 4.7.1 bad stuff [", "deferred"),
        (Action.DISCARD, "250 2.0.0 Ok", "discarded"),
    ],
)
def test_verdicts(house: Rig, next_hop: Hop, action: Action, reply: str, outcome: str) -> None:
    house.scanner.outcome = ScanOutcome(action, "bad stuff", "RULE")
    client = house.greeted()
    assert client.message().startswith(reply)
    assert house.messages[0].outcome == outcome
    assert house.messages[0].cause == "RULE"
    assert next_hop.filed() == []
    client.close()


def test_an_engines_headers_stand_before_ours(house: Rig, next_hop: Hop) -> None:
    house.scanner.outcome = ScanOutcome(Action.ACCEPT, headers=(("X-Spam", "no"),))
    client = house.greeted()
    client.message()
    assert next_hop.filed()[0].startswith(b"X-Spam: no\r\nReceived: ")
    client.close()


def test_row_5_delays_allows_or_rejects(house: Rig, next_hop: Hop) -> None:
    house.scanner.is_up = False
    client = house.greeted()
    assert client.message().startswith("451 4.3.0")
    house.scan_failure = "reject"
    rejecting = house.greeted()
    assert rejecting.message().startswith("554 5.3.0")
    assert next_hop.filed() == []
    house.scan_failure = "allow"
    allowing = house.greeted()
    assert allowing.message().startswith("250")
    assert next_hop.filed()[0].startswith(b"X-Gwsmtp-Scan: not scanned\r\nReceived: ")
    assert [event.verdict for event in house.messages] == ["none"] * 3
    assert "engine is down" in house.messages[2].cause
    for one in (client, rejecting, allowing):
        one.close()


def test_a_spool_that_takes_nothing_is_a_452_and_the_session_goes_on(house: Rig) -> None:
    house.spool = house.folder / "missing"
    house.limits = SessionLimits(10_000_000, 10, -1)
    client = house.greeted()
    assert client.message(b"x" * 70 + b"\r\n" + b"y" * 300_000 + b"\r\n").startswith("452 4.3.1")
    assert house.messages[0].outcome == "deferred"
    assert client.message().startswith("250")
    client.close()


def test_a_pipelined_group_is_answered_in_one_write_and_in_order(house: Rig) -> None:
    client = house.connect()
    assert client.sock.recv(1000).startswith(b"220")
    client.send(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.test>\r\nDATA\r\n")
    received = client.sock.recv(65536)
    answers = 1 + len(house.services().offer.keywords()) + 2
    assert [line[:3] for line in received.splitlines()] == [b"250"] * answers + [b"354"]
    client.close()


@pytest.mark.full
def test_a_group_is_answered_earlier_when_a_handler_waits_for_a_second(house: Rig) -> None:
    house.scanner.delay_s = 2.0
    client = house.greeted()
    client.ask(b"MAIL FROM:<>\r\n")
    client.ask(b"RCPT TO:<a@example.test>\r\n")
    started = gevent.get_hub().loop.now()
    client.send(b"DATA\r\nx\r\n.\r\n")
    assert client.reply().startswith("354")
    gevent.get_hub().loop.update_now()
    assert gevent.get_hub().loop.now() - started < 1.8
    assert client.reply().startswith("250")
    client.close()


def test_timers(house: Rig) -> None:
    house.timeouts = InboundTimeouts(0.2, 0.1, 0.15, 0.1)
    silent = house.connect()
    assert silent.reply().startswith("220")
    assert silent.reply() == "421 4.4.2 Timeout, closing connection"
    silent.close()
    assert house.wait_ended().reason == "timeout: first command"
    idle = house.greeted()
    assert idle.reply().startswith("421 4.4.2")
    idle.close()
    assert house.wait_ended().reason == "timeout: command"
    before_data = house.greeted()
    before_data.ask(b"MAIL FROM:<>\r\n")
    before_data.ask(b"RCPT TO:<a@example.test>\r\n")
    assert before_data.reply().startswith("421 4.4.2")
    before_data.close()
    assert house.wait_ended().reason == "timeout: DATA command"
    stalled = house.greeted()
    stalled.ask(b"MAIL FROM:<>\r\n")
    stalled.ask(b"RCPT TO:<a@example.test>\r\n")
    stalled.ask(b"DATA\r\n")
    assert stalled.reply().startswith("421 4.4.2")
    stalled.close()
    assert house.wait_ended().reason == "timeout: start of message data"
    inside = house.greeted()
    inside.ask(b"MAIL FROM:<>\r\n")
    inside.ask(b"RCPT TO:<a@example.test>\r\n")
    inside.ask(b"DATA\r\n")
    assert inside.ask(b"half a message\r\n").startswith("421 4.4.2")
    inside.close()
    assert house.wait_ended().reason == "timeout: message data"
    assert house.messages[-1].outcome == "lost"


@pytest.mark.full
def test_a_dribbling_client_does_not_hold_on(house: Rig) -> None:
    house.timeouts = InboundTimeouts(5, 0.3, 5, 5)
    client = house.greeted()
    started = gevent.get_hub().loop.now()
    with pytest.raises(OSError, match=r"reset|Broken"):
        for _ in range(200):
            client.send(b"N")
            gevent.sleep(0.05)
    gevent.get_hub().loop.update_now()
    assert gevent.get_hub().loop.now() - started < 4
    assert house.wait_ended().reason == "timeout: command"
    client.close()


def test_scanning_never_counts_as_the_clients_time(house: Rig) -> None:
    house.timeouts = InboundTimeouts(0.3, 0.2, 0.2, 0.2)
    house.scanner.delay_s = 0.8
    client = house.greeted()
    assert client.message().startswith("250")
    client.close()


def test_the_sixth_invalid_command_ends_the_session(house: Rig) -> None:
    client = house.greeted()
    for _ in range(5):
        assert client.ask(b"FNORD\r\n").startswith("500 5.5.2")
    assert client.ask(b"FNORD\r\nNOOP\r\nNOOP\r\n").startswith("421 4.7.0")
    assert client.reply() == ""
    client.close()
    assert house.wait_ended().errors == 6


def test_a_hundred_useless_commands_end_the_session(house: Rig) -> None:
    client = house.greeted()
    said = [client.ask(b"NOOP\r\n")[:3] for _ in range(100)]
    assert said == ["250"] * 99 + ["421"]
    client.close()


def test_a_last_reply_is_not_lost_with_unread_input(house: Rig) -> None:
    client = house.greeted()
    client.send(b"QUIT\r\n" + b"NOOP\r\n" * 5000)
    assert client.reply() == "221 2.0.0 Bye"
    assert client.reply() == ""
    client.close()


def test_a_client_that_vanished_gets_nothing_delivered(house: Rig, next_hop: Hop) -> None:
    house.scanner.delay_s = 0.2
    client = house.greeted()
    client.ask(b"MAIL FROM:<>\r\n")
    client.ask(b"RCPT TO:<a@example.test>\r\n")
    client.ask(b"DATA\r\n")
    client.send(b"x\r\n.\r\n")
    gevent.sleep(0.05)
    client.sock.setsockopt(std_socket.SOL_SOCKET, std_socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    house.wait_ended()
    assert next_hop.filed() == []
    assert next_hop.journal("message") == []
    assert house.messages[0].outcome == "lost"


def test_a_half_closed_client_is_served(house: Rig, next_hop: Hop) -> None:
    house.scanner.delay_s = 0.2
    client = house.greeted()
    client.ask(b"MAIL FROM:<>\r\n")
    client.ask(b"RCPT TO:<a@example.test>\r\n")
    client.ask(b"DATA\r\n")
    client.send(b"x\r\n.\r\n")
    client.sock.shutdown(std_socket.SHUT_WR)
    assert client.reply().startswith("250")
    assert len(next_hop.filed()) == 1
    assert house.wait_ended().reason == "closed by client"
    client.close()


def test_draining_ends_an_idle_session_and_lets_a_transaction_finish(
    house: Rig, next_hop: Hop
) -> None:
    busy = house.greeted()
    busy.ask(b"MAIL FROM:<>\r\n")
    busy.ask(b"RCPT TO:<a@example.test>\r\n")
    idle = house.greeted()
    for session in house.sessions:
        session.drain()
    assert idle.reply() == "421 4.3.2 Service closing, try again later"
    assert idle.reply() == ""
    assert busy.ask(b"DATA\r\n").startswith("354")
    assert busy.ask(b"x\r\n.\r\n").startswith("250")
    assert busy.reply().startswith("421 4.3.2")
    assert len(next_hop.filed()) == 1
    busy.close()
    idle.close()


def test_an_error_of_ours_is_a_421_and_a_traceback_in_the_log_only(
    house: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    client = house.greeted()
    house.scanner.outcome = None  # type: ignore[assignment]  # breaks the transaction's code
    assert client.message().startswith("421 4.3.0")
    assert client.reply() == ""
    client.close()
    assert house.wait_ended().reason == "internal error"
    assert "unexpected error in session" in caplog.text
    client.close()
