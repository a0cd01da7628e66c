"""What the embedded engine finds, and what it does not take for a find."""

import email.encoders
import quopri
from base64 import b64encode, encodebytes
from email.message import Message
from email.mime.application import MIMEApplication
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import SMTP

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwsmtp.engine import scanner as scanner_module
from gwsmtp.engine.rules import BUILT_IN, EICAR, GTUBE, Rule
from gwsmtp.engine.scanner import Scanner, base64_spelling

scanner = Scanner()
PLAIN_HEADER = b"From: a@example.org\r\nSubject: x\r\n\r\n"


def found(body: bytes) -> str:
    rule = scanner.scan(body)
    return rule.name if rule is not None else ""


def octets(message: Message) -> bytes:
    return message.as_bytes(policy=SMTP)


def attachment(content: bytes, encoder: str = "base64") -> MIMEApplication:
    part = MIMEApplication(content, _encoder=getattr(email.encoders, f"encode_{encoder}"))
    part.add_header("Content-Disposition", "attachment", filename="eicar.com")
    return part


def mixed(*parts: Message) -> MIMEMultipart:
    message = MIMEMultipart("mixed")
    message["Subject"] = "parts"
    for part in (MIMEText("Dear reader,\n"), *parts):
        message.attach(part)
    return message


@pytest.mark.parametrize(("needle", "name"), [(EICAR, "EICAR"), (GTUBE, "GTUBE")])
def test_the_plain_strings_are_found_anywhere(needle: bytes, name: str) -> None:
    assert len(needle) == 68
    assert found(PLAIN_HEADER + needle + b"\r\n") == name
    assert found(needle) == name
    assert found(PLAIN_HEADER + b"x" * 5000 + needle + b"y") == name
    assert found(b"Subject: " + needle + b"\r\n\r\n") == name


@pytest.mark.parametrize("body", [b"", b"\r\n", b"x", PLAIN_HEADER, EICAR[:-1], GTUBE[1:]])
def test_nothing_is_found_where_nothing_is(body: bytes) -> None:
    assert found(body) == ""


@pytest.mark.parametrize("before", range(80))
def test_base64_of_any_alignment_and_line_break(before: int) -> None:
    content = b"z" * before + EICAR + b"tail"
    assert found(octets(mixed(attachment(content)))) == "EICAR"


def test_base64_in_a_message_of_one_part() -> None:
    body = b"CONTENT-TRANSFER-ENCODING: BASE64\r\n\r\n" + encodebytes(GTUBE).replace(b"\n", b"\r\n")
    assert found(body) == "GTUBE"


@pytest.mark.parametrize("separator", [b"\r\n", b" ", b"\t\r\n", b"!\r\n"])
def test_base64_broken_into_short_lines(separator: bytes) -> None:
    encoded = b64encode(EICAR)
    lines = separator.join(encoded[start : start + 5] for start in range(0, len(encoded), 5))
    assert found(b"Content-Transfer-Encoding: base64\r\n\r\n" + lines) == "EICAR"


def test_nested_messages_and_multiparts() -> None:
    message = mixed(attachment(EICAR))
    for _ in range(5):
        message = mixed(MIMEMessage(message), attachment(b"harmless"))
    assert found(octets(message)) == "EICAR"


def test_a_nested_message_that_is_encoded_itself() -> None:
    inner = encodebytes(b"Subject: inner\r\n\r\n" + EICAR).replace(b"\n", b"\r\n")
    head = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    assert found(head + inner) == "EICAR"


@pytest.mark.parametrize("at", range(0, 68, 5))
def test_quoted_printable_with_soft_breaks(at: int) -> None:
    text = EICAR[:at] + b"=\r\n" + EICAR[at:]
    head = b"Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    assert found(head + text) == "EICAR"


def test_quoted_printable_with_every_octet_encoded() -> None:
    text = b"".join(b"=%02X" % octet for octet in EICAR)
    assert found(b"Content-Transfer-Encoding: Quoted-Printable\r\n\r\n" + text) == "EICAR"
    assert quopri.decodestring(text) == EICAR


def test_a_letter_that_quotes_the_encoded_string_is_no_find() -> None:
    quoting = MIMEText(f"It looks like this: {b64encode(EICAR).decode()}\n", _charset="us-ascii")
    assert found(octets(quoting)) == ""
    assert found(octets(mixed(quoting, attachment(b"harmless")))) == ""
    assert found(PLAIN_HEADER + b64encode(EICAR)) == "", "no MIME, no decoding"


def test_what_the_parser_cannot_take_is_judged_by_the_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = octets(mixed(attachment(EICAR)))
    for error in (RecursionError, ValueError, AssertionError, LookupError):

        def broken(_: bytes, error: type[Exception] = error) -> Message:
            raise error

        monkeypatch.setattr(scanner_module, "message_from_bytes", broken)
        assert found(body) == "EICAR"
        assert found(octets(mixed(attachment(b"harmless")))) == ""


def test_multiparts_nested_without_end() -> None:
    depth = 3000
    head = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level)
        for level in range(depth)
    )
    tail = b"Content-Transfer-Encoding: base64\r\n\r\n" + b64encode(EICAR)
    assert found(head + tail) == "EICAR"


@pytest.mark.parametrize("at", [0, 1_048_500, 1_048_576, 2_000_000, 3_100_000])
def test_long_bodies_are_searched_across_portions(at: int) -> None:
    filler = b"0123456789abcdef" * 200_000
    assert found(PLAIN_HEADER + filler[:at] + EICAR + filler[at:]) == "EICAR"
    content = filler[: at * 3 // 4] + EICAR + filler[at * 3 // 4 : 2_300_000]
    assert found(octets(mixed(attachment(content)))) == "EICAR"


def test_portions_are_read_as_asked() -> None:
    body = PLAIN_HEADER + b"x" * 2_500_000 + GTUBE
    asked = []

    def read(offset: int, size: int) -> bytes:
        asked.append((offset, size))
        return body[offset : offset + size]

    rule = scanner.scan_portions(read, len(body))
    assert rule is not None
    assert rule.name == "GTUBE"
    assert all(offset + size <= len(body) for offset, size in asked)


@given(st.binary(max_size=400), st.integers(0, 2))
def test_the_spelling_is_in_every_base64_text(tail: bytes, offset: int) -> None:
    for rule in BUILT_IN:
        spelling = base64_spelling(rule.needle, offset)
        assert len(spelling) >= 88
        assert spelling in b64encode(bytes(offset) + rule.needle + tail)
        assert spelling in b64encode(b"abc" * 3 + b"q" * offset + rule.needle)


pieces = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=b\r\n",
        b"Content-Type: message/rfc822\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Transfer-Encoding: quoted-printable\r\n",
        b"\r\n",
        b"--b\r\n",
        b"--b--\r\n",
        b64encode(EICAR),
        b"==\r\n",
        b"=\r\n",
        b"\xff\x00=?utf-8?b?//8=?=",
    ]
)


@settings(max_examples=60)
@given(st.lists(pieces | st.binary(max_size=40), max_size=12).map(b"".join))
def test_no_octets_make_it_fail(body: bytes) -> None:
    rule = scanner.scan(body)
    assert rule is None or isinstance(rule, Rule)
    in_portions = scanner.scan_portions(lambda at, size: body[at : at + size], len(body))
    assert in_portions == rule
