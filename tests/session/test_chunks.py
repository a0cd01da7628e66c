"""Messages that come by BDAT (RFC 3030): admitted, refused, counted, delivered once."""

from gwsmtp.base import replies
from gwsmtp.session.services import SessionLimits
from tests.delivery.hops import Hop
from tests.session.rig import Client, Rig


def begun(house: Rig) -> Client:
    """A client that has said its envelope."""
    client = house.greeted()
    client.ask(b"MAIL FROM:<s@client.test>\r\n")
    assert client.ask(b"RCPT TO:<a@example.test>\r\n").startswith("250")
    return client


def test_chunks_become_one_message_at_the_next_hop(house: Rig, next_hop: Hop) -> None:
    client = begun(house)
    assert client.ask(b"BDAT 16\r\nSubject: x\r\n\r\n.\r") == "250 2.0.0 Chunk received"
    assert client.ask(b"BDAT 0\r\n") == "250 2.0.0 Chunk received"
    assert client.ask(b"BDAT 6 LAST\r\n\n.\r\nQ\n").startswith("250 2.")
    (filed,) = next_hop.filed()
    assert filed.endswith(b"\r\nSubject: x\r\n\r\n.\r\n.\r\nQ\r\n")
    (message,) = house.messages
    assert (message.outcome, message.size_bytes) == ("accepted", 22)
    assert message.notes == "bare-newlines=1"
    client.message()
    client.ask(b"QUIT\r\n")
    ended = house.wait_ended()
    assert (ended.messages, ended.commands, ended.reason) == (2, 10, "quit")


def test_a_large_message_in_many_chunks_goes_through_a_file(house: Rig, next_hop: Hop) -> None:
    house.limits = SessionLimits(10_000_000, 10, -1)
    client = begun(house)
    line = b"x" * 998 + b"\r\n"
    for _ in range(400):  # more chunks than useless commands are allowed
        assert client.ask(b"BDAT 1000\r\n" + line).startswith("250")
    assert client.ask(b"BDAT 0 LAST\r\n").startswith("250 2.")
    assert next_hop.filed()[0].endswith(line * 400)


def test_a_chunk_over_the_size_limit_is_refused_when_its_octets_were_read(house: Rig) -> None:
    house.limits = SessionLimits(10, 10, -1)
    client = begun(house)
    assert client.ask(b"BDAT 6\r\nA: b\r\n").startswith("250")
    assert client.ask(b"BDAT 6\r\nQUIT\r\n") == str(replies.MESSAGE_TOO_BIG)
    assert client.ask(b"BDAT 6\r\nQUIT\r\n") == str(replies.CHUNK_LOST)
    assert client.ask(b"BDAT 6 LAST\r\nQUIT\r\n") == str(replies.CHUNK_LOST)
    assert client.ask(b"NOOP\r\n").startswith("250")
    (message,) = house.messages
    assert (message.outcome, message.reply) == ("rejected", str(replies.MESSAGE_TOO_BIG))
    assert message.recipients == ("a@example.test",)
    # Exactly the limit passes.
    assert begun(house).ask(b"BDAT 10 LAST\r\nA: bcdef\r\n").startswith("250")


def test_a_chunk_that_would_be_far_over_the_limit_is_not_read(house: Rig) -> None:
    house.limits = SessionLimits(10, 10, -1)
    client = begun(house)
    assert client.ask(b"BDAT 41\r\n") == str(replies.TOO_MUCH_DATA)
    assert client.reply() == ""
    assert house.wait_ended().reason == f"refused: {replies.TOO_MUCH_DATA.text}"
    assert house.messages == []


def test_chunks_behind_a_refused_one_are_far_too_much_some_time(house: Rig) -> None:
    house.limits = SessionLimits(10, 10, -1)
    client = begun(house)
    chunk = b"BDAT 9\r\n123456789"
    said = [client.ask(chunk) for _ in range(5)]
    assert said == [
        str(replies.CHUNK_OK),
        str(replies.MESSAGE_TOO_BIG),
        *[str(replies.CHUNK_LOST)] * 2,
        str(replies.TOO_MUCH_DATA),
    ]


def test_rset_between_chunks_drops_what_came(house: Rig, next_hop: Hop) -> None:
    client = begun(house)
    client.ask(b"BDAT 4\r\nA: b")
    client.ask(b"RSET\r\n")
    assert client.message(b"only this\r\n").startswith("250")
    (filed,) = next_hop.filed()
    assert filed.endswith(b"\r\nonly this\r\n")
    assert b"A: b" not in filed
    assert [message.outcome for message in house.messages] == ["lost", "accepted"]


def test_a_spool_that_takes_nothing_refuses_the_chunk(house: Rig) -> None:
    house.spool = house.folder / "missing"
    client = begun(house)
    big = b"y" * 300_000
    assert client.ask(b"BDAT 300000\r\n" + big) == str(replies.SPOOL_FULL)
    assert house.messages[0].outcome == "deferred"
    assert client.message().startswith("250")


def test_bare_newlines_in_a_chunk_are_refused_where_that_is_asked_for(
    house: Rig, next_hop: Hop
) -> None:
    house.reject_bare_newline = True
    client = begun(house)
    assert client.ask(b"BDAT 5 LAST\r\n\n.\r\n\r") == str(replies.BARE_NEWLINE_IN_DATA)
    assert client.message().startswith("250")
    assert len(next_hop.filed()) == 1


def test_a_session_that_drops_a_refused_chunk_is_not_idle(house: Rig) -> None:
    client = house.greeted()
    client.send(b"BDAT 6 LAST\r\nQU")
    assert client.ask(b"IT\r\nNOOP\r\n") == str(replies.NEED_MAIL)
    assert client.reply().startswith("250")
    house.sessions[-1].drain()
    assert client.reply() == str(replies.SHUTTING_DOWN)
