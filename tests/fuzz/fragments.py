"""Inputs made of fragments: one octet stands for one, so that a change of a single octet leads from
one meaningful dialogue to another. Octets below 128 stand for themselves.
"""

from collections.abc import Sequence
from typing import Final

_SELF: Final = 128
_LONGEST_WORD: Final = 64  # libFuzzer takes no longer ones into its dictionary

LINE_ENDS: Final = (
    *(b"\r\n", b"\r", b"\n", b"\0", b".", b"\r\n.\r\n", b"\n.\n", b"\n.\r\n", b"\r\n.\n"),
    *(b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r\n..", b"\r\n.", b".\r\n", b"\r\r\n", b"\n\r\n"),
    *(b"\r\n.\r\r\n", b"\r\n.\0\r\n", b"\r\n\0.\r\n", b"\r\n. \r\n", b"\x80", b"\xff"),
)
COMMANDS: Final = (
    *(b"EHLO x\r\n", b"HELO x\r\n", b"MAIL FROM:<a@b.test>\r\n", b"MAIL FROM:<>\r\n"),
    *(b"MAIL FROM:<a@b.test> SIZE=1\r\n", b"MAIL FROM:<a@b.test> BODY=8BITMIME SIZE=99999\r\n"),
    *(b"MAIL FROM:<\xc3\xa4@b.test> SMTPUTF8\r\n", b"MAIL FROM:<a@b.test> RET=HDRS ENVID=e\r\n"),
    *(b"RCPT TO:<c@example.test>\r\n", b"RCPT TO:<\xc3\xa4@example.test>\r\n"),
    *(b"RCPT TO:<d@elsewhere.test>\r\n", b"RCPT TO:<postmaster>\r\n"),
    b"RCPT TO:<c@example.test> NOTIFY=FAILURE ORCPT=rfc822;c+2Bx@example.test\r\n",
    *(b"DATA\r\n", b"data\r\n", b"DATA x\r\n", b"RSET\r\n", b"NOOP\r\n", b"NOOP x\r\n"),
    *(b"VRFY x\r\n", b"QUIT\r\n", b"HELP\r\n", b"EXPN x\r\n", b"STARTTLS\r\n", b"AUTH PLAIN x\r\n"),
    *(b"BDAT 0\r\n", b"BDAT 1\r\n", b"BDAT 2\r\n", b"BDAT 5\r\n", b"BDAT 70\r\n", b"BDAT 9999\r\n"),
    *(b"BDAT 0 LAST\r\n", b"BDAT 1 LAST\r\n", b"BDAT 5 LAST\r\n", b"BDAT 8 last\r\n"),
    *(b"BDAT\r\n", b"BDAT -1\r\n", b"BDAT 5 FIRST\r\n", b"BDAT 18446744073709551616\r\n"),
    *(b"BDAT 5 LAST\r\nab\r\n.", b"BDAT 3\r\n\r\n\r", b"BDAT 2 LAST\r\n\n."),
    *(b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"),
    *(b"MAIL FROM:<", b"RCPT TO:<", b"> SIZE=", b"@x>\r\n", b"BDAT ", b" LAST\r\n"),
    *(b"Received: by x\r\n", b"Subject: x\r\n\r\n", b"\xc3\xa4", b"A" * 64, b"A" * 508, b" " * 40),
    b"EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@example.test>\r\n",
    b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@example.test>\r\nDATA\r\n",
)
PAYLOAD: Final = (*LINE_ENDS, b"text", b"..", b"\r\n\r\n", b"x" * 100, b"\r\nQUIT\r\n", b"\n" * 9)
HOP: Final = (
    *(b"220 next.test\r\n", b"250 2.1.0 Ok\r\n", b"250-SIZE 100\r\n", b"250 \r\n", b"250\r\n"),
    *(b"250\n", b"250-\n", b"250 x\n", b"354 go\r\n", b"421 4.3.2 no\r\n", b"550 5.1.1 no\r\n"),
    *(b"200 x\r\n", b"599 x\r\n", b"199 x\r\n", b"600 x\r\n", b"25\r\n", b"250x\r\n", b"+50 x\r\n"),
    *(b"450-4.2.0 a\r\n", b"450 5.2.0 b\r\n", b"250-", b"250 ", b"250", b"\r\n", b"\n", b"\r"),
    *(b"\0", b"\x80", b"\xff", b"\xc3\xa4", b"\xe2\x80\xa8", b"\x1b[2J", b" ", b"-", b"2.0.0 "),
    *(b"y" * 64, b"y" * 400, b"y" * 4091, b"y" * 4092, b"250-z\r\n" * 66, b"250-z\n" * 150),
    *(b"250-" + b"w" * 4000 + b"\r\n", b"\xd9\xa3\xd9\xa3\xd9\xa3 x\r\n", b"\r\r\n", b"\x85"),
)
ADDRESS: Final = (
    *(b"FROM:<", b"TO:<", b"FROM: <", b"<", b">", b"@", b".", b"..", b":", b",", b"\\", b'"'),
    *(b'"a b"@c.test', b'"\\""@c', b"a@b.test", b"a@[192.0.2.1]", b"a@[IPv6:2001:db8::1]", b"[]"),
    *(b"@one.test,@two.test:", b"@[::1]:", b"postmaster", b"Postmaster@x", b"> SIZE=1", b"> BODY="),
    *(b"SIZE=1 BODY=7BIT", b"SIZE=", b"BODY=8BITMIME", b"SMTPUTF8", b"RET=FULL", b"ENVID=a+20b"),
    *(b"NOTIFY=NEVER", b"ORCPT=rfc822;a@b", b"A=B", b"=", b" ", b"  ", b"\t", b"\r", b"\n", b"\0"),
    *(
        b"\r\nRCPT TO:<",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"\xc3\xa4",
        b"\xc3\xa4.test",
        b"xn--4ca.test",
    ),
    *(b"\xef\xbc\xa0", b"\xe2\x84\xaa", b"\xc4\xb0", b"\xd9\xa3", b"\x7f", b"\x1f", b"\xff"),
    *(b"a" * 60, b"a." * 60, b"a-" * 60, b"_" * 60, b'\\"' * 40, b"@a," * 40, b"." * 60, b" " * 60),
)

PROXY: Final = (
    *(b"PROXY ", b"TCP4 ", b"TCP6 ", b"UNKNOWN", b"192.0.2.7 ", b"198.51.100.1 ", b"2001:db8::7 "),
    *(b"::1 ", b"::ffff:192.0.2.7 ", b"4711 ", b"25", b"65536", b"00", b"\r\n", b"\r", b"\n", b" "),
    b"\r\n\r\n\0\r\nQUIT\n",
    *(b"\x20\x00", b"\x21\x11", b"\x21\x21", b"\x21\x31", b"\x21\x00", b"\x22\x11"),
    *(b"\0\0", b"\0\x0c", b"\0\x24", b"\0\x31", b"\x10\0", b"\xff\xff", b"\0" * 12, b"\x7f\0\0\1"),
    *(
        b"\0" * 10 + b"\xff\xff",
        b"\x12\x34\0\x19",
        b"\x04\0\x03abc",
        b"EHLO x\r\n",
        b"\x16\x03\x01",
    ),
    *(b"PROXY UNKNOWN\r\n", b"x" * 40),
)


def expanded(data: bytes, table: Sequence[bytes]) -> bytes:
    """The octets that an input of fragments means."""
    return b"".join([table[octet] for octet in data])


def full_table(fragments: Sequence[bytes]) -> list[bytes]:
    """One entry for each octet; the fragments are repeated until there are enough."""
    own = [bytes([octet]) for octet in range(_SELF)]
    return own + [fragments[octet % len(fragments)] for octet in range(256 - _SELF)]


def encoded(octets: bytes, fragments: Sequence[bytes]) -> bytes:
    """An input that means ``octets``, by the longest fragments that fit; an octet that nothing
    stands for is left out.
    """
    assert len(fragments) <= 256 - _SELF, "more fragments than octets to name them"
    by_size = sorted(enumerate(fragments), key=lambda item: -len(item[1]))
    found = bytearray()
    position = 0
    while position < len(octets):
        for number, fragment in by_size:
            if len(fragment) > 1 and octets.startswith(fragment, position):
                found.append(_SELF + number)
                position += len(fragment)
                break
        else:
            if octets[position] < _SELF:
                found.append(octets[position])
            position += 1
    return bytes(found)


def dictionary(fragments: Sequence[bytes]) -> str:
    """The fragments as libFuzzer's ``-dict`` wants them."""
    words = [fragment for fragment in fragments if len(fragment) <= _LONGEST_WORD]
    return "".join(
        '"' + "".join(f"\\x{octet:02x}" for octet in word) + '"\n' for word in dict.fromkeys(words)
    )
