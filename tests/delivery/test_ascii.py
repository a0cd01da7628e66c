"""Which letters can do without SMTPUTF8."""

import pytest

from gwsmtp.delivery.ascii import has_ascii_envelope, has_ascii_header

PLAIN = b"Received: by test\r\n"
UMLAUT = "Subject: \u00fc\r\n".encode()


@pytest.mark.parametrize(
    ("sender", "recipients", "is_ascii"),
    [("", ["a@b"], True), ("\u00fc@b", ["a@b"], False), ("a@b", ["a@b", "\u00fc@b"], False)],
)
def test_envelope(sender: str, recipients: list[str], is_ascii: bool) -> None:
    assert has_ascii_envelope(sender, recipients) is is_ascii


@pytest.mark.parametrize(
    ("prefix", "start", "is_ascii"),
    [
        (PLAIN, b"", True),
        (PLAIN, b"A: b\r\n\r\nbody\r\n", True),
        (PLAIN, b"A: b\r\n\r\n" + UMLAUT, True),
        (PLAIN, b"\r\n" + UMLAUT + b"\r\n\r\n", True),
        (PLAIN, UMLAUT + b"\r\nbody\r\n", False),
        (PLAIN, b"A: b\r\n" + UMLAUT, False),  # no empty line: all of it is header
        (UMLAUT, b"A: b\r\n\r\nbody\r\n", False),
        (b"", UMLAUT + b"\r\n", False),
    ],
)
def test_header(prefix: bytes, start: bytes, is_ascii: bool) -> None:
    assert has_ascii_header(prefix, start) is is_ascii
