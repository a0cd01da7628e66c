"""The client's machine: commands that cannot be broken, replies that are counted and bounded."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwsmtp.base.errors import LocalProtocolError, RemoteProtocolError
from gwsmtp.protocol.client import (
    MAX_LINE_OCTETS,
    MAX_LINES,
    MAX_REPLY_OCTETS,
    MAX_UNREAD_OCTETS,
    ClientProtocol,
    HopReply,
    offered_extensions,
)

ALL = b"250-h\r\n250-PIPELINING\r\n250-SIZE 9\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN\r\n"


def greeted(ehlo: bytes = ALL) -> ClientProtocol:
    """A machine that has said EHLO."""
    client = ClientProtocol()
    client.receive(b"220 h ready\r\n")
    assert str(client.next_reply()) == "220 h ready"
    client.ehlo("c.test")
    assert client.take_output() == b"EHLO c.test\r\n"
    client.receive(ehlo)
    assert client.next_reply() is not None
    return client


def awaiting(count: int) -> ClientProtocol:
    """A machine with as many NOOPs on the wire."""
    client = greeted()
    for _ in range(count):
        client.noop()
    client.take_output()
    return client


def in_content() -> ClientProtocol:
    """A machine that was told 354."""
    client = greeted()
    client.data()
    client.take_output()
    client.receive(b"354\r\n")
    assert client.next_reply()
    return client


def answers(client: ClientProtocol) -> list[tuple[int, list[str]]]:
    """All replies that can be taken now."""
    found = []
    while client.awaited and (reply := client.next_reply()) is not None:
        found.append((reply.code, reply.lines))
    return found


class TestCommands:
    def test_a_group_leaves_in_one_piece(self) -> None:
        client = greeted()
        client.rset()
        client.mail("a@b.test", 44, is_8bit=True)
        client.rcpt("c@d.test")
        client.data()
        assert client.take_output() == (
            b"RSET\r\nMAIL FROM:<a@b.test> BODY=8BITMIME SIZE=44\r\nRCPT TO:<c@d.test>\r\nDATA\r\n"
        )
        assert client.take_output() == b""
        assert [command[:4] for command in client.awaited] == ["RSET", "MAIL", "RCPT", "DATA"]

    def test_a_host_without_pipelining_is_given_one_command_at_a_time(self) -> None:
        client = greeted(b"250 h\r\n")
        client.mail("")
        client.rcpt("c@d.test")
        assert client.take_output() == b"MAIL FROM:<>\r\n"
        assert client.take_output() == b""
        client.receive(b"250 ok\r\n")
        assert answers(client) == [(250, ["ok"])]
        assert client.take_output() == b"RCPT TO:<c@d.test>\r\n"
        assert client.awaited == ["RCPT TO:<c@d.test>"]

    def test_parameters_of_what_is_not_offered_are_left_out(self) -> None:
        client = greeted(b"250-h\r\n250 PIPELINING\r\n")
        client.mail("a@b.test", 44, is_8bit=True, dsn="RET=HDRS")
        client.rcpt("c@d.test", "NOTIFY=NEVER")
        assert client.take_output() == b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n"

    def test_parameters_of_what_is_offered(self) -> None:
        client = greeted()
        client.mail("ä@b.test", is_utf8=True, dsn="RET=HDRS ENVID=x")
        client.rcpt("ü@d.test", "NOTIFY=NEVER")
        client.rcpt("c@d.test")
        assert client.take_output().decode() == (
            "MAIL FROM:<ä@b.test> SMTPUTF8 RET=HDRS ENVID=x\r\n"
            "RCPT TO:<ü@d.test> NOTIFY=NEVER\r\nRCPT TO:<c@d.test>\r\n"
        )

    def test_smtputf8_where_it_is_not_offered_is_our_bug(self) -> None:
        with pytest.raises(LocalProtocolError, match="not offered"):
            greeted(b"250 h\r\n").mail("a@b.test", is_utf8=True)

    def test_a_transaction_without_smtputf8_takes_back_the_leave_of_the_one_before(self) -> None:
        client = greeted()
        client.mail("ä@b.test", is_utf8=True)
        client.rset()
        client.mail("a@b.test")
        with pytest.raises(LocalProtocolError, match="SMTPUTF8"):
            client.rcpt("ü@d.test")

    def test_helo_offers_nothing(self) -> None:
        client = greeted()
        client.helo("c.test")
        assert client.take_output() == b"HELO c.test\r\n"
        client.receive(b"250-h\r\n250 SIZE 10\r\n")
        assert answers(client) == [(250, ["h", "SIZE 10"])]
        assert (client.extensions, client.can_pipeline) == ({}, False)

    def test_a_refused_ehlo_offers_nothing(self) -> None:
        client = greeted(b"502-no\r\n502 PIPELINING\r\n")
        assert (client.extensions, client.can_pipeline) == ({}, False)

    def test_only_the_reply_to_ehlo_makes_an_offer(self) -> None:
        client = awaiting(1)
        client.ehlo("again.test")
        client.receive(b"250-ok\r\n250 CHUNKING\r\n")
        assert answers(client) == [(250, ["ok", "CHUNKING"])]
        assert client.extensions == {}
        client.take_output()
        client.receive(ALL)
        assert answers(client)
        assert client.can_pipeline

    def test_quit_is_the_last(self) -> None:
        client = greeted()
        client.quit()
        assert client.take_output() == b"QUIT\r\n"
        for command in (client.noop, client.data, client.quit, partial(client.helo, "c")):
            with pytest.raises(LocalProtocolError, match="behind QUIT"):
                command()


BAD = ["\r", "\n", "\r\nDATA", "\0", "\x1b", "\x7f", "\t", "\x85", "\u2028", "\ud800"]


class TestNoInjection:
    @pytest.mark.parametrize("bad", BAD, ids=ascii)
    def test_no_text_can_end_a_command(self, bad: str) -> None:
        client = greeted()
        client.mail("a@b.test", is_utf8=True)
        assert client.take_output() == b"MAIL FROM:<a@b.test> SMTPUTF8\r\n"
        for queue in (
            partial(client.mail, f"a{bad}@b.test"),
            partial(client.mail, "ä@b.test", dsn=f"ENVID={bad}", is_utf8=True),
            partial(client.rcpt, f"a@b.test{bad}"),
            partial(client.rcpt, "a@b.test", f"ORCPT=rfc822;{bad}"),
            partial(client.ehlo, f"c{bad}.test"),
            partial(client.helo, f"c{bad}.test"),
        ):
            with pytest.raises(LocalProtocolError, match="control character"):
                queue()
        assert client.take_output() == b""

    @pytest.mark.parametrize("address", ["a> SIZE=1 <b@c", "a b@c.test", 'x"> "@b', '"a"@b> X'])
    def test_no_address_can_end_its_path(self, address: str) -> None:
        client = greeted()
        for queue in (partial(client.mail, address), partial(client.rcpt, address)):
            with pytest.raises(LocalProtocolError, match="end its path"):
                queue()

    def test_a_quoted_local_part_may_hold_anything_printable(self) -> None:
        client = greeted()
        client.rcpt(r'"a> \" b"@c.test')
        assert client.take_output() == b'RCPT TO:<"a> \\" b"@c.test>\r\n'

    @pytest.mark.parametrize("name", ["ä.test", "a\u200d.test"])
    def test_what_is_not_ascii_needs_smtputf8(self, name: str) -> None:
        client = greeted()
        for queue in (partial(client.ehlo, name), partial(client.mail, name)):
            with pytest.raises(LocalProtocolError, match="SMTPUTF8 was not said"):
                queue()

    @given(st.text(max_size=40), st.text(max_size=40), st.booleans())
    def test_a_command_is_one_line_whatever_it_holds(
        self, address: str, dsn: str, is_utf8: bool
    ) -> None:
        client = greeted()
        try:
            client.mail(address, is_utf8=is_utf8, dsn=dsn)
            client.rcpt(address, dsn)
        except LocalProtocolError:
            pass
        wire = client.take_output()
        lines = wire.splitlines(keepends=True)
        assert len(lines) == len(client.awaited)
        assert all(line.startswith((b"MAIL FROM:<", b"RCPT TO:<")) for line in lines)
        assert all(line.endswith(b"\r\n") and b"\0" not in line for line in lines)


class TestContent:
    def test_nothing_follows_data_before_its_reply(self) -> None:
        client = greeted()
        client.data()
        with pytest.raises(LocalProtocolError, match="NOOP behind DATA"):
            client.noop()

    def test_refused_data_lets_commands_through(self) -> None:
        client = awaiting(0)
        client.data()
        client.take_output()
        client.receive(b"554 no\r\n")
        assert answers(client) == [(554, ["no"])]
        client.noop()
        assert client.take_output() == b"NOOP\r\n"
        with pytest.raises(LocalProtocolError, match="without a 354"):
            client.end_of_data()

    def test_no_command_gets_into_the_content(self) -> None:
        client = in_content()
        for command in (client.noop, partial(client.rcpt, "a@b.test")):
            with pytest.raises(LocalProtocolError, match="in the middle of the content"):
                command()

    def test_the_end_of_data_awaits_its_reply_and_commands_may_follow(self) -> None:
        client = in_content()
        client.end_of_data()
        client.rset()
        assert client.take_output() == b"RSET\r\n"
        assert client.awaited == ["end-of-data", "RSET"]
        client.receive(b"250 taken\r\n250 reset\r\n")
        assert answers(client) == [(250, ["taken"]), (250, ["reset"])]

    def test_a_host_that_answers_before_the_dot_is_out_of_order(self) -> None:
        client = in_content()
        client.receive(b"2")
        with pytest.raises(RemoteProtocolError, match="before the end of data"):
            client.end_of_data()


class TestReplies:
    @given(st.lists(st.integers(1, 12), max_size=40))
    def test_chunking_changes_nothing(self, cuts: list[int]) -> None:
        wire = b"250-a.test\r\n250-SIZE 10\r\n250 PIPELINING\r\n354\r\n550 5.1.1 no\n250 \r\n"
        client, found, rest = awaiting(4), [], wire
        for cut in [*cuts, len(wire)]:
            client.receive(rest[:cut])
            rest = rest[cut:]
            found += answers(client)
        assert found == [
            (250, ["a.test", "SIZE 10", "PIPELINING"]),
            (354, [""]),
            (550, ["5.1.1 no"]),
            (250, [""]),
        ]
        assert not client.has_unread

    def test_the_last_line_says_the_code(self) -> None:
        client = awaiting(1)
        client.receive(b"250-a\r\n550 b\r\n")
        assert answers(client) == [(550, ["a", "b"])]

    @pytest.mark.parametrize(
        "wire",
        [
            *(b"hello\r\n", b"99 x\r\n", b"250x\r\n", b"650 x\r\n", b"199 x\r\n", b"\r\n", b"\n"),
            *(b"25\r\n0 x\r\n", b"250\rx\r\n", b"2 0 x\r\n", b"250-x\r\n\r\n", b"\xff\xff\xff \n"),
        ],
    )
    def test_what_is_no_reply(self, wire: bytes) -> None:
        client = awaiting(1)
        client.receive(wire)
        with pytest.raises(RemoteProtocolError, match="no reply"):
            client.next_reply()

    def test_a_reply_nobody_asked_for_is_no_answer_to_the_next_command(self) -> None:
        client = awaiting(1)
        client.receive(b"250 one\r\n250 too many\r\n")
        assert answers(client) == [(250, ["one"])]
        assert client.has_unread
        client.noop()
        with pytest.raises(RemoteProtocolError, match="unasked"):
            client.take_output()

    @pytest.mark.parametrize("wire", [b"250 too many\r\n", b"2"])
    def test_a_reply_that_is_taken_and_answers_nothing(self, wire: bytes) -> None:
        client = awaiting(0)
        client.receive(wire)
        with pytest.raises(RemoteProtocolError, match="answers nothing"):
            client.next_reply()

    def test_a_reply_asked_for_that_nothing_awaits_is_our_bug(self) -> None:
        client = awaiting(0)
        client.noop()  # queued, not yet written
        with pytest.raises(LocalProtocolError, match="no command awaits"):
            client.next_reply()

    def test_a_connection_that_is_out_of_order_is_of_no_more_use(self) -> None:
        client = awaiting(3)
        client.receive(b"junk\r\n250 ok\r\n")
        with pytest.raises(RemoteProtocolError):
            client.next_reply()
        assert client.awaited == []
        assert not client.has_unread
        with pytest.raises(LocalProtocolError, match="out of order"):
            client.noop()

    @given(st.lists(st.binary(max_size=300), max_size=5))
    def test_any_bytes_are_replies_or_a_protocol_error(self, pieces: list[bytes]) -> None:
        client = awaiting(3)
        try:
            for piece in pieces:
                client.receive(piece)
                answers(client)
        except RemoteProtocolError:
            pass


WORDS = [
    *(b"250", b"250 ", b"250-", b"354 go", b"\r\n", b"\n", b"\r", b"\0", b"x" * 999, b"-", b"550"),
    *(b"250 ok\r\n", b"250-ok\r\n", b"250-" + b"y" * 4000 + b"\r\n", b"250-z\r\n" * 150),
]


class TestBounds:
    def test_a_line_up_to_the_limit_passes(self) -> None:
        client = awaiting(2)
        text = b"x" * (MAX_LINE_OCTETS - 4)
        client.receive(b"250 " + text + b"\n250 " + text)
        assert [code for code, _ in answers(client)] == [250]
        client.receive(b"\n")
        assert [code for code, _ in answers(client)] == [250]

    @pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
    def test_a_line_above_it_does_not(self, end: bytes) -> None:
        client = awaiting(1)
        client.receive(b"250 " + b"x" * (MAX_LINE_OCTETS - 3) + end)
        with pytest.raises(RemoteProtocolError, match="line of over 4096"):
            client.next_reply()

    def test_lines_of_a_reply(self) -> None:
        client = awaiting(1)
        client.receive(b"250-x\r\n" * (MAX_LINES - 1) + b"250 x\r\n")
        assert len(answers(client)[0][1]) == MAX_LINES
        client = awaiting(1)
        client.receive(b"250-x\r\n" * MAX_LINES)
        with pytest.raises(RemoteProtocolError, match="200 lines"):
            client.next_reply()

    def test_octets_of_a_reply(self) -> None:
        line = b"250-" + b"x" * 4000 + b"\r\n"
        client = awaiting(1)
        with pytest.raises(RemoteProtocolError, match="65536 octets"):
            for _ in range(MAX_REPLY_OCTETS // len(line) + 1):
                client.receive(line)
                assert client.next_reply() is None

    def test_the_octets_of_one_reply_do_not_count_for_the_next(self) -> None:
        reply = (b"250-" + b"x" * 4000 + b"\r\n") * 12 + b"250 x\r\n"
        client = awaiting(3)
        for _ in range(3):
            client.receive(reply)
            assert len(answers(client)) == 1

    def test_octets_that_are_not_taken(self) -> None:
        client = awaiting(1)
        client.receive(b"x" * MAX_UNREAD_OCTETS)
        with pytest.raises(RemoteProtocolError, match="131072 octets"):
            client.receive(b"x")

    @given(st.lists(st.lists(st.sampled_from(WORDS), max_size=30), max_size=6), st.integers(0, 9))
    def test_no_dialogue_makes_it_keep_more(self, pieces: list[list[bytes]], count: int) -> None:
        client = awaiting(count)
        for words in pieces:
            try:
                client.receive(b"".join(words))
                answers(client)
            except RemoteProtocolError:
                pass
            assert len(client._data) <= MAX_UNREAD_OCTETS
            assert sum(map(len, client._lines)) <= MAX_REPLY_OCTETS


def test_kinds_of_reply() -> None:
    assert HopReply(250, [b"2.0.0 ok"]).is_positive
    assert not HopReply(354, [b"go on"]).is_positive
    assert HopReply(451, [b"4.3.0 later"]).is_temporary
    refusal = HopReply(550, [b"5.7.1 no", b"5.7.1 never"])
    assert refusal.is_permanent
    assert refusal.enhanced == "5.7.1"
    assert str(refusal.as_ours()) == "550 5.7.1 no never"
    assert str(refusal) == "550 5.7.1 no 5.7.1 never"


def test_extensions_of_an_ehlo_reply() -> None:
    reply = HopReply(250, [b"host", b"SIZE 1000", b"pipelining"])
    assert offered_extensions(reply) == {"SIZE": "1000", "PIPELINING": ""}
