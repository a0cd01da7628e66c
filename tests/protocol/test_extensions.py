"""What EHLO says, and the room its extensions give to command lines."""

import pytest

from gwsmtp.protocol.extensions import Offer, StartTls

ALWAYS = ["8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "SMTPUTF8"]


@pytest.mark.parametrize(
    ("offer", "keywords"),
    [
        (Offer(10), ["PIPELINING", "SIZE 10", *ALWAYS, "HELP"]),
        (Offer(0), ["PIPELINING", "SIZE", *ALWAYS, "HELP"]),
        (Offer(-1), ["PIPELINING", *ALWAYS, "HELP"]),
        (Offer(-1, dsn=True), ["PIPELINING", *ALWAYS, "DSN", "HELP"]),
        (Offer(-1, starttls=StartTls.OFFERED), ["PIPELINING", *ALWAYS, "STARTTLS", "HELP"]),
        (Offer(-1, starttls=StartTls.UNAVAILABLE), ["PIPELINING", *ALWAYS, "HELP"]),
        (Offer(-1, starttls=StartTls.ACTIVE), ["PIPELINING", *ALWAYS, "HELP"]),
        (Offer(-1, ("XYZ 1", "X2")), ["PIPELINING", *ALWAYS, "HELP", "XYZ 1", "X2"]),
    ],
)
def test_keywords(offer: Offer, keywords: list[str]) -> None:
    assert offer.keywords() == keywords


def test_lines_may_be_longer_by_what_extensions_allow() -> None:
    plain, dsn = Offer(10), Offer(10, dsn=True)
    assert plain.allowances == {b"MAIL": 53, b"RCPT": 0, b"VRFY": 10, b"EXPN": 10}
    assert dsn.allowances == {b"MAIL": 161, b"RCPT": 528, b"VRFY": 10, b"EXPN": 10}
    assert (plain.longest_line, dsn.longest_line) == (565, 1040)
