import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwsmtp.base.reply import MAX_TEXT_OCTETS, Reply, enhanced_code, passed_on, printable


def test_wire_of_one_line() -> None:
    assert Reply(250, "2.1.0", "Sender ok").wire == b"250 2.1.0 Sender ok\r\n"
    assert Reply(354, "", "Go").wire == b"354 Go\r\n"


def test_wire_of_many_lines_repeats_the_codes() -> None:
    assert Reply(250, "2.0.0", "a", "b").wire == b"250-2.0.0 a\r\n250 2.0.0 b\r\n"


def test_reply_without_text_still_has_a_line() -> None:
    reply = Reply(250, "2.0.0")
    assert (reply.lines, reply.text, reply.wire) == (("",), "", b"250 2.0.0 \r\n")


@pytest.mark.parametrize(
    ("code", "facts"),
    [
        (250, (True, False, False)),
        (354, (True, False, False)),
        (451, (False, True, False)),
        (554, (False, False, True)),
    ],
)
def test_class_of_code(code: int, facts: tuple[bool, bool, bool]) -> None:
    reply = Reply(code, "", "x")
    assert (reply.is_positive, reply.is_temporary, reply.is_permanent) == facts


def test_replies_are_compared_by_what_they_do() -> None:
    one = Reply(421, "4.3.2", "x", closes=True)
    assert one == Reply(421, "4.3.2", "x", closes=True)
    assert hash(one) == hash(Reply(421, "4.3.2", "x", closes=True))
    assert one != Reply(421, "4.3.2", "x")
    assert one != Reply(421, "4.3.2", "y", closes=True)
    assert one != "421 4.3.2 x"


def test_reply_reads_well() -> None:
    assert str(Reply(250, "", "a", "b")) == "250 a b"
    assert repr(Reply(250, "2.0.0", "Ok")) == "Reply(250 2.0.0 Ok)"


@pytest.mark.parametrize(
    ("code", "lines", "said"),
    [
        (250, ["2.0.0 Ok: queued as 123"], "250 2.0.0 Ok: queued as 123"),
        (250, ["Ok"], "250 2.0.0 Ok"),
        (550, ["5.1.1 unknown", "5.1.1 really"], "550 5.1.1 unknown really"),
        (550, ["5.7.1", "text"], "550 5.7.1 text"),
        (550, ["2.1.5 a class that contradicts the code"], "550 5.0.0 a class that contradicts"),
        (451, ["5.1.1x not a code"], "451 4.0.0 5.1.1x not a code"),
        (550, [], "550 5.0.0 no reason given"),
        (550, ["\x00\xff"], "550 5.0.0 no reason given"),
        (550, ["5.1.1 bad\r\n250 2.0.0 Ok"], "550 5.1.1 bad 250 2.0.0 Ok"),
        (452, ["4.2.2 Postfach voll: m\xfcller"], "452 4.2.2 Postfach voll: m ller"),
    ],
)
def test_next_hops_reply_is_made_ours(code: int, lines: list[str], said: str) -> None:
    assert str(passed_on(code, lines)).startswith(said)


@given(st.sampled_from([250, 421, 451, 550, 554]), st.lists(st.text(max_size=1200), max_size=5))
def test_whatever_a_next_hop_says_is_passed_on_as_one_proper_line(
    code: int, lines: list[str]
) -> None:
    reply = passed_on(code, lines)
    wire = reply.wire
    assert reply.code == code
    assert reply.enhanced[0] == str(code)[0]
    assert wire.endswith(b"\r\n")
    assert len(wire) <= 512  # RFC 5321 4.5.3.1.5
    assert all(0x20 <= octet <= 0x7E for octet in wire[:-2])
    assert not reply.closes


@given(st.text(max_size=1000), st.integers(min_value=0, max_value=MAX_TEXT_OCTETS))
def test_printable_is_one_short_trimmed_line(text: str, limit: int) -> None:
    made = printable(text, limit)
    assert len(made) <= limit
    assert made == made.strip()
    assert made.isprintable()
    assert made.isascii()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("5.1.1 unknown", "5.1.1"),
        ("4.7.650", "4.7.650"),
        ("5.1.1unknown", ""),
        ("3.1.1 no such class", ""),
        (" 5.1.1 x", ""),
        ("", ""),
    ],
)
def test_enhanced_code_of_a_line(line: str, code: str) -> None:
    assert enhanced_code(line) == code
