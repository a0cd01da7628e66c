"""The built-in next hop, behaving and misbehaving, as its clients see it."""

import hashlib
import random
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from gwsmtp.trial.mischief import GARBAGE
from tests.support.nexthop import NextHop
from tests.support.rawclient import RawClient
from tests.support.wait import wait_for

ENVELOPE = ("a@client.example", ["user@example.test"])


@pytest.fixture
def client(hop: NextHop) -> Iterator[RawClient]:
    with RawClient(hop.address) as client:
        yield client


def _first_octets(hop: NextHop) -> bytes:
    """Everything a new connection hears until the server closes it."""
    with RawClient(hop.address) as client:
        return client.read_to_end()


def _first_line(hop: NextHop) -> bytes:
    with RawClient(hop.address) as client:
        return client.read_line()


class TestBehaving:
    def test_says_what_it_is(self, client: RawClient) -> None:
        greeting = client.read_reply()
        assert greeting.code == 220
        assert greeting.text.endswith("gwsmtp trial, for trying out only")
        reply = client.command("EHLO client.example")
        keywords = {line.split()[0] for line in reply.lines[1:]}
        assert keywords == {
            *("PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8", "DSN")
        }
        assert client.quit().code == 221

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\r\n",
            b".\r\n..\r\n.x\r\n",
            b"Subject: 8 bit\r\n\r\n\xe4\xf6\xfc\x00\xff\r\n",
            b"bare \n.\n LF and \r.\r CR\r\n",
            b"a" * 200_000 + b"\r\n",
        ],
        ids=["empty", "one line", "dots", "8 bit", "bare newlines", "long line"],
    )
    def test_files_exactly_what_was_sent(
        self, hop: NextHop, client: RawClient, content: bytes
    ) -> None:
        client.greet()
        assert client.send_message(*ENVELOPE, content).code == 250
        assert hop.filed() == [content]
        (message,) = hop.entries("message")
        assert message["sha256"] == hashlib.sha256(content).hexdigest()
        assert message["size"] == len(content)
        assert [message["sender"], message["recipients"]] == list(ENVELOPE)

    def test_any_chunking_gives_the_same_message(self, hop: NextHop, client: RawClient) -> None:
        client.greet()
        wire = b"..one\r\n\r\n...\r\ntwo\r\n.\r\n"
        for size in (1, 2, 3, 5, 7):
            client.begin_data(*ENVELOPE)
            client.send_chunks(wire, range(size, len(wire), size))
            assert client.read_reply().code == 250
        assert hop.filed() == [b".one\r\n\r\n..\r\ntwo\r\n"] * 5

    def test_a_pipelined_group_with_the_next_message(self, hop: NextHop, client: RawClient) -> None:
        client.greet()
        group = b"RSET\r\nMAIL FROM:<>\r\nRCPT TO:<u@example.test>\r\nDATA\r\n"
        client.send(group + b"one\r\n.\r\n" + group + b"two\r\n.\r\nQUIT\r\n")
        codes = [client.read_reply().code for _ in range(11)]
        assert codes == [250, 250, 250, 354, 250] * 2 + [221]
        assert hop.filed() == [b"one\r\n", b"two\r\n"]

    def test_errors_of_form_are_answered_and_harm_nothing(
        self, hop: NextHop, client: RawClient
    ) -> None:
        client.read_reply()
        dialogue: list[tuple[bytes | str, int]] = [
            ("MAIL FROM:<a@b>", 503),
            ("EHLO", 501),
            ("EHLO x", 250),
            ("DATA", 503),
            ("RCPT TO:<a@b>", 503),
            ("MAIL FROM a@b", 501),
            ("MAIL FROM:<a@b> SIZE=99999999999", 552),
            ("MAIL FROM:<a@b> SIZE=x", 501),
            ("MAIL FROM:<a@b> BODY=BINARYMIME", 501),
            ("MAIL FROM:<a@b> HOLDFOR=9", 555),
            ("MAIL FROM:<a@b> SIZE=10 BODY=8BITMIME", 250),
            ("MAIL FROM:<a@b>", 503),
            ("RCPT TO:<>", 501),
            ('RCPT TO:<"x> y"@example.test>', 250),
            ("RCPT TO:<u@example.test> RET=FULL", 555),
            ("RCPT TO:<u@example.test> NOTIFY=NEVER,DELAY", 501),
            ("WIZ", 500),
            (b"NOOP\nQUIT", 500),
            (b"NOOP " + b"x" * 3000, 500),
            ("VRFY u", 252),
            ("noop", 250),
            ("rcpt to: <u@example.test>", 250),
        ]
        for line, code in dialogue:
            assert client.command(line).code == code, line
        client.send(b"DATA\r\nx\r\n.\r\n")
        assert [client.read_reply().code for _ in range(2)] == [354, 250]
        assert hop.filed() == [b"x\r\n"]

    def test_smtputf8_and_dsn_are_taken_and_noted(self, hop: NextHop, client: RawClient) -> None:
        client.greet()
        mail = "MAIL FROM:<\u00e4@b.test> SMTPUTF8 RET=HDRS ENVID=a+2Bb"
        rcpt = "RCPT TO:<\u00fc@example.test> NOTIFY=success,DELAY ORCPT=utf-8;\u00fc@example.test"
        assert client.command(mail).code == 250
        assert client.command(rcpt).code == 250
        assert client.command("RCPT TO:<u@example.test>").code == 250
        client.send(b"DATA\r\nx\r\n.\r\n")
        assert [client.read_reply().code for _ in range(2)] == [354, 250]
        (message,) = hop.entries("message")
        assert message["recipients"] == ["\u00fc@example.test", "u@example.test"]
        assert message["parameters"] == [mail.partition("> ")[2], rcpt.partition("> ")[2], ""]

    def test_errors_without_end_end_the_session(self, client: RawClient) -> None:
        client.greet()
        codes = [client.command("WIZ").code for _ in range(21)]
        assert codes == [500] * 20 + [421]
        assert client.read_to_end() == b""

    def test_a_connection_lost_in_a_message_files_nothing(
        self, hop: NextHop, client: RawClient
    ) -> None:
        client.greet()
        client.begin_data(*ENVELOPE)
        client.send(b"half a message\r\n.\r")
        client.close()
        (closed,) = hop.wait_for_entries("closed")
        assert (closed["reason"], closed["phase"]) == ("client closed", "body")
        assert closed["octets"] == 18
        assert not hop.entries("message")

    @pytest.mark.full
    def test_a_message_above_the_limit_is_read_to_its_dot(
        self, hop: NextHop, client: RawClient
    ) -> None:
        client.greet()
        assert client.send_message(*ENVELOPE, (b"x" * 998 + b"\r\n") * 68_000).code == 552
        assert client.send_message(*ENVELOPE, b"small\r\n").code == 250
        assert hop.filed() == [b"small\r\n"]


class TestMisbehaving:
    def test_replies_by_stage_and_address(self, hop: NextHop, client: RawClient) -> None:
        hop.misbehave("rcpt:unknown*=550 5.1.1 unknown", r"mail:slow*=451-4.3.0 so\n451 4.3.0 slow")
        client.greet()
        assert client.command("MAIL FROM:<slow@x>").lines == ["4.3.0 so", "4.3.0 slow"]
        assert client.command("MAIL FROM:<a@x>").code == 250
        assert client.command("RCPT TO:<unknown1@example.test>").text == "5.1.1 unknown"
        assert client.command("DATA").code == 503
        assert client.command("RCPT TO:<u@example.test>").code == 250

    def test_a_refused_end_files_nothing(self, hop: NextHop, client: RawClient) -> None:
        hop.misbehave("end#1=451 4.3.0 later")
        client.greet()
        assert client.send_message(*ENVELOPE, b"first\r\n").code == 451
        assert client.send_message(*ENVELOPE, b"second\r\n").code == 250
        assert hop.filed() == [b"second\r\n"]
        assert len(hop.entries("message")) == 2

    def test_a_reply_lost_after_filing(self, hop: NextHop, client: RawClient) -> None:
        hop.misbehave("filed=close")
        client.greet()
        client.begin_data(*ENVELOPE)
        client.send(b"x\r\n.\r\n")
        assert client.read_to_end() == b""
        assert hop.filed() == [b"x\r\n"]

    def test_refused_as_greeting(self, hop: NextHop) -> None:
        hop.misbehave("greeting=554 5.7.1 no")
        with RawClient(hop.address) as client:
            assert client.read_reply().code == 554
            assert client.command("EHLO x").code == 503
            assert client.quit().code == 221

    def test_421_ends_the_session(self, hop: NextHop) -> None:
        hop.misbehave("greeting=421 4.3.2 busy")
        assert _first_octets(hop) == b"421 4.3.2 busy\r\n"

    def test_ehlo_refused_helo_taken(self, hop: NextHop, client: RawClient) -> None:
        hop.misbehave("ehlo=502 5.5.1 no")
        client.read_reply()
        assert client.command("EHLO x").code == 502
        assert client.command("MAIL FROM:<a@b>").code == 503
        assert client.command("HELO x").code == 250
        assert client.command("MAIL FROM:<a@b>").code == 250

    def test_close_while_the_body_comes(self, hop: NextHop, client: RawClient) -> None:
        hop.misbehave("body=close")
        client.greet()
        client.begin_data(*ENVELOPE)
        client.send(b"x\r\n")
        assert client.read_to_end() == b""
        client.close()
        (closed,) = hop.wait_for_entries("closed")
        assert (closed["reason"], closed["phase"]) == ("script: close", "body")

    def test_a_reply_before_the_dot(self, hop: NextHop, client: RawClient) -> None:
        hop.misbehave("body=451 4.3.0 early")
        client.greet()
        client.begin_data(*ENVELOPE)
        client.send(b"x\r\n")
        assert client.read_reply().text == "4.3.0 early"

    def test_reset_sends_rst(self, hop: NextHop, client: RawClient) -> None:
        hop.misbehave("data=reset")
        client.greet()
        client.pipeline(["MAIL FROM:<a@b>", "RCPT TO:<u@example.test>"])
        client.send(b"DATA\r\n")
        with pytest.raises(ConnectionResetError):
            client.read_to_end()

    def test_hang_reads_nothing_and_notices_the_client_leave(
        self, hop: NextHop, client: RawClient
    ) -> None:
        hop.misbehave("data=hang")
        client.greet()
        client.pipeline(["MAIL FROM:<a@b>", "RCPT TO:<u@example.test>"])
        client.send(b"DATA\r\n")
        hop.wait_for_entries("action")
        client.sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.read_line()
        client.send(b"unread octets do not hide the end")
        client.sock.shutdown(socket.SHUT_WR)
        (closed,) = hop.wait_for_entries("closed", deadline_s=2)
        assert closed["reason"] == "script: hang, client left"

    def test_garbage_then_on(self, hop: NextHop, client: RawClient) -> None:
        hop.misbehave("rset=garbage")
        client.greet()
        client.send(b"RSET\r\nNOOP\r\n")
        client.send(b"QUIT\r\n")
        assert client.read_to_end() == GARBAGE + b"250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n"

    @pytest.mark.parametrize(
        ("kind", "begin", "unit"),
        [("flood", b"250-flood ", b"\r\n250-"), ("line", b"250 endless ", b" endless ")],
    )
    def test_flood_is_bounded_by_a_client_that_leaves(
        self, hop: NextHop, client: RawClient, kind: str, begin: bytes, unit: bytes
    ) -> None:
        hop.misbehave(f"noop={kind}")
        client.greet()
        client.send(b"NOOP\r\n")
        heard = b""
        while len(heard) < 400_000:
            heard += client.sock.recv(65536)
        assert heard.startswith(begin)
        assert heard.count(unit) > 4000
        assert (b"\n" in heard) is (kind == "flood")
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        (closed,) = hop.wait_for_entries("closed")
        assert closed["reason"].startswith("lost")

    def test_drip_and_delay_take_their_time(self, hop: NextHop, client: RawClient) -> None:
        hop.misbehave("noop=drip 250", "rset=delay 0.2")
        client.greet()
        began = time.monotonic()
        assert client.command("NOOP").code == 250
        assert time.monotonic() - began >= 0.4  # 5 octets, the last is followed by no wait
        began = time.monotonic()
        assert client.command("RSET").code == 250
        assert time.monotonic() - began >= 0.2

    def test_a_delayed_or_dripped_end_still_files(self, hop: NextHop, client: RawClient) -> None:
        hop.misbehave("end#1=delay 0.1", "end#1=drip 250")
        client.greet()
        assert client.send_message(*ENVELOPE, b"one\r\n").text == "2.0.0 Message filed"
        assert client.send_message(*ENVELOPE, b"two\r\n").raw == b"250\r\n"
        assert hop.filed() == [b"one\r\n", b"two\r\n"]

    def test_data_answered_by_a_354_of_the_script(self, hop: NextHop, client: RawClient) -> None:
        hop.misbehave("data#1=354 mine", r"data#1=250 nonsense")
        client.greet()
        assert client.send_message(*ENVELOPE, b"one\r\n").code == 250
        client.pipeline(["MAIL FROM:<a@b>", "RCPT TO:<u@example.test>"])
        assert client.command("DATA").code == 250
        assert client.command("NOOP").code == 250  # no payload is expected now

    def test_raw_octets(self, hop: NextHop, client: RawClient) -> None:
        hop.misbehave(r"noop=raw 250-a\n250 b\r\n")
        client.greet()
        client.send(b"NOOP\r\n")
        assert client.read_line() + client.read_line() == b"250-a\n250 b\r\n"

    def test_raw_octets_of_a_2xx_grant_what_was_asked_for(
        self, hop: NextHop, client: RawClient
    ) -> None:
        hop.misbehave(r"mail=raw 250 a\r\n", r"rcpt#1=raw 550 b\r\n", r"rcpt=raw 250 c\r\n")
        client.greet()
        lines = ["MAIL FROM:<a@b>", "RCPT TO:<u@x.test>", "RCPT TO:<v@x.test>"]
        assert [reply.code for reply in client.pipeline(lines)] == [250, 550, 250]
        client.send(b"DATA\r\nx\r\n.\r\n")
        assert [client.read_reply().code for _ in range(2)] == [354, 250]
        assert hop.entries("message")[0]["recipients"] == ["v@x.test"]

    def test_a_wrong_script_is_noted_and_changes_nothing(
        self, hop: NextHop, client: RawClient
    ) -> None:
        hop.misbehave("noop=450 x")
        client.greet()
        assert client.command("NOOP").code == 450
        hop.misbehave("noop=explode")
        assert client.command("NOOP").code == 450
        (entry,) = hop.entries("script")
        assert "explode" in entry["problem"]


class TestBounds:
    def test_any_octets_leave_it_standing(self, hop: NextHop) -> None:
        draw = random.Random(20260921)
        words = [b"EHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"DATA", b".", b"\r\n", b"\n"]
        for _ in range(100):
            with RawClient(hop.address) as client:
                parts = draw.choices([*words, b"\r", b"\x00", b"\xff" * 50, b"<", b"x" * 999], k=60)
                client.send(b"".join(parts))
        hop.wait_for_entries("closed", 100)

    def test_the_501st_session_is_told_to_wait(self, hop: NextHop) -> None:
        clients = [RawClient(hop.address) for _ in range(500)]
        try:
            for client in clients:
                assert client.read_reply().code == 220
            assert _first_octets(hop).startswith(b"421 4.3.2")
            clients.pop().close()
            hop.wait_for_entries("closed")
            wait_for(lambda: _first_line(hop).startswith(b"220"), "a free session")
        finally:
            for client in clients:
                client.close()
