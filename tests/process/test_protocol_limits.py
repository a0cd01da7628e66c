"""How long a command and a line may be, how many recipients, and what forgets a transaction.

    client -> gateway -> Recorder -> RawSink, as in tests.support.passage

RFC 5321 4.5.3.1, the allowances of SIZE, BODY and SMTPUTF8, SETTINGS 2.11 (lines of a payload).
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.gateway import open_folder
from tests.support.passage import Passage, Sent, open_passage
from tests.support.rawclient import RawClient
from tests.support.unread import PeerQueue

pytestmark = pytest.mark.full

GOOD = "someone@example.test"
MIB = 1 << 20
MAIL_OCTETS = 512 + 26 + 17 + 10
SIZE = 8_000_000
SETTINGS = {
    "workers": {"count": 1},
    "protocol": {"size_limit_bytes": SIZE},
    "exploit_detection": {"drop_on_invalid_commands": False},
}
CONTENT = b"Subject: second\r\n\r\nsecond\r\n"


@pytest.fixture(scope="module")
def passage() -> Iterator[Passage]:
    folder = open_folder()
    with ExitStack() as running:
        running.callback(shutil.rmtree, folder, ignore_errors=True)
        yield open_passage(running, folder, "normalize", SETTINGS)


@pytest.fixture
def client(passage: Passage) -> Iterator[RawClient]:
    """A greeted client; at its end everything that went to the next hop is compared."""
    passage.sent.clear()
    with RawClient(passage.gateway.address) as client:
        client.greet()
        yield client
        assert client.quit().code == 221
    passage.expect_session()
    passage.check()


def note(
    passage: Passage,
    content: bytes,
    recipients: list[str],
    sender: str = "sender@client.example",
    code: int = 250,
) -> None:
    """What the next hop must get, or must not with another code than 250."""
    sent = Sent(sender, recipients, content, passage.mode)
    sent.is_accepted = code == 250
    passage.sent.append(sent)


# Commands ------------------------------------------------------------------------------------


def padded(line: bytes, octets: int) -> bytes:
    """``line`` and its CRLF as so many octets, blanks put between its words."""
    head, _, tail = line.partition(b"|")
    return head + b" " * (octets - len(head) - len(tail) - 2) + tail + b"\r\n"


@pytest.mark.parametrize(
    ("line", "octets", "code"),
    [
        (b"NOOP |x", 512, 250),
        (b"VRFY |x", 512 + 10, 252),
        (b"EHLO |client.example", 512, 250),
        (b"RCPT TO:|<someone@example.test>", 512, 250),
        (b"MAIL FROM:<sender@client.example>|", 512, 250),
        (b"mail FROM:<sender@client.example> |SIZE=1 BODY=8BITMIME SMTPUTF8", MAIL_OCTETS, 250),
        (b"MAIL FROM:<" + b"x" * 239 + b"@client.example> |SIZE=1", MAIL_OCTETS, 250),
    ],
)
def test_a_command_as_long_as_it_may_be_and_one_octet_longer(
    passage: Passage, client: RawClient, line: bytes, octets: int, code: int
) -> None:
    queue = PeerQueue(client.sock)
    limit = MAIL_OCTETS if line[:4].upper() == b"MAIL" else octets
    for cuts in ([], [1], [octets - 2], [octets - 1], [4, 100, 511]):
        if line.startswith(b"RCPT"):
            assert client.command("RSET").code == 250
            assert client.command("MAIL FROM:<>").code == 250
        for length, expected in ((octets, code), (limit + 1, 500)):
            whole, start = padded(line, length), 0
            assert len(whole) == length
            for cut in (*cuts, length):
                client.send(whole[start:cut])
                start = cut
                queue.wait_until_read()
            reply = client.read_reply()
            assert reply.code == expected, (length, cuts, reply)
        assert client.command("RSET").code == 250
    queue.close()


def test_a_line_without_end_is_answered_once_and_none_of_it_is_a_command(
    passage: Passage, client: RawClient
) -> None:
    client.send(b"MAIL FROM:<evil@client.example> " + b"x" * 1000)
    reply = client.read_reply()
    assert (reply.code, reply.text[:6]) == (500, "5.5.2 ")
    client.send(b"\nRSET\nVRFY x\rNOOP" * 20_000 + b"\r\nVRFY x\r\n")
    assert client.read_reply().code == 252
    client.begin_data("sender@client.example", [GOOD])
    client.send(CONTENT + b".\r\n")
    assert client.read_reply().code == 250
    note(passage, CONTENT, [GOOD])


# Lines of a payload --------------------------------------------------------------------------


@pytest.mark.parametrize("head", [b"", b"Subject: long\r\n\r\n"], ids=["first-line", "third-line"])
@pytest.mark.parametrize("tail", [b"\r\n", b"\r\nx\r\n"], ids=["last", "not-last"])
def test_a_payload_line_of_1_mib_passes_and_one_octet_more_does_not(
    passage: Passage, client: RawClient, head: bytes, tail: bytes
) -> None:
    octets = bytes(range(32, 127)) * (MIB // 95 + 1)
    for length, code in ((MIB, 250), (MIB + 1, 554), (MIB - 1, 250)):
        content = head + octets[:length] + tail
        client.begin_data("sender@client.example", [GOOD])
        client.send(content + b".\r\nVRFY x\r\n")
        replies = [client.read_reply(), client.read_reply()]
        begin = f"MAIL FROM:<sender@client.example>\r\nRCPT TO:<{GOOD}>\r\n".encode()
        client.send(begin + b"BDAT %d LAST\r\n%bVRFY x\r\n" % (len(content), content))
        assert [client.read_reply().code for _ in range(2)] == [250, 250]
        replies += [client.read_reply(), client.read_reply()]
        assert [reply.code for reply in replies] == [code, 252, code, 252], length
        assert code == 250 or replies[0].text.startswith("5.6.0 ")
        note(passage, content, [GOOD], code=code)
        note(passage, content, [GOOD], code=code)


def test_a_line_is_measured_without_its_stuffing_and_across_chunks(
    passage: Passage, client: RawClient
) -> None:
    line = b"." + b"x" * (MIB - 1) + b"\r\n"
    client.begin_data("sender@client.example", [GOOD])
    client.send(b"." + line + b".\r\n")
    assert client.read_reply().code == 250
    note(passage, line, [GOOD])
    for extra, code in ((b"", 250), (b"x", 554)):
        client.send(f"MAIL FROM:<sender@client.example>\r\nRCPT TO:<{GOOD}>\r\n".encode())
        half, rest = line[:500_000], line[500_000:-2] + extra
        client.send(b"BDAT %d\r\n%bBDAT %d\r\n%b" % (len(half), half, len(rest), rest))
        client.send(b"BDAT 2 LAST\r\n\r\n")
        codes = [client.read_reply().code for _ in range(5)]
        assert codes == [250, 250, 250, 250, code]
        note(passage, line, [GOOD], code=code)


# Recipients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 100, 1000])
def test_recipients_of_one_message(passage: Passage, client: RawClient, count: int) -> None:
    recipients = [f"user{n}@example.test" for n in range(count)]
    client.begin_data("sender@client.example", recipients)
    client.send(CONTENT + b".\r\n")
    assert client.read_reply().code == 250
    note(passage, CONTENT, recipients)


def test_recipients_one_by_one(passage: Passage, client: RawClient) -> None:
    recipients = [f"user{n}@example.test" for n in range(100)]
    assert client.command("MAIL FROM:<sender@client.example>").code == 250
    for recipient in recipients:
        assert client.command(f"RCPT TO:<{recipient}>").code == 250
    assert client.command("DATA").code == 354
    client.send(CONTENT + b".\r\n")
    assert client.read_reply().code == 250
    note(passage, CONTENT, recipients)


def test_recipients_beyond_the_thousandth_are_put_off(passage: Passage, client: RawClient) -> None:
    recipients = [f"user{n}@example.test" for n in range(1003)]
    lines = ["MAIL FROM:<sender@client.example>", *(f"RCPT TO:<{one}>" for one in recipients)]
    replies = client.pipeline([*lines, "DATA"])
    assert [reply.code for reply in replies] == [250] * 1001 + [452] * 3 + [354]
    assert all(reply.text.startswith("4.5.3 ") for reply in replies[1001:1004])
    client.send(CONTENT + b".\r\n")
    assert client.read_reply().code == 250
    note(passage, CONTENT, recipients[:1000])


# RSET and a second EHLO ----------------------------------------------------------------------

FIRST = b"MAIL FROM:<first@client.example>\r\nRCPT TO:<first@example.test>\r\n"
STATES = {
    "nothing": (b"", []),
    "mail": (FIRST[:34], [250]),
    "rcpt": (FIRST, [250, 250]),
    "rcpt-refused": (FIRST + b"RCPT TO:<a@foreign.test>\r\n", [250, 250, 550]),
    "data-refused": (FIRST[:34] + b"DATA\r\n", [250, 503]),
    "chunk": (FIRST + b"BDAT 7\r\nfirst\r\n", [250, 250, 250]),
    "chunks-half-a-line-end": (FIRST + b"BDAT 6\r\nfirst\rBDAT 0\r\n", [250, 250, 250, 250]),
    "chunks-refused": (
        FIRST + b"BDAT 7\r\nfirst\r\nBDAT %d\r\n" % SIZE + b"x" * SIZE,
        [250, 250, 250, 552],
    ),
    "last-chunk-refused": (
        FIRST + b"BDAT %d LAST\r\n" % (SIZE + 1) + b"x" * (SIZE + 1),
        [250, 250, 552],
    ),
}


@pytest.mark.parametrize("command", ["RSET", "EHLO again.example", "HELO again.example"])
@pytest.mark.parametrize("state", STATES)
def test_what_forgets_a_transaction(
    passage: Passage, client: RawClient, state: str, command: str
) -> None:
    before, codes = STATES[state]
    client.send(before)
    assert [client.read_reply().code for _ in codes] == codes
    replies = client.pipeline([command, f"RCPT TO:<{GOOD}>", "DATA", "BDAT 0 LAST"])
    assert [reply.code for reply in replies] == [250, 503, 503, 503]
    client.begin_data("second@client.example", [GOOD])
    client.send(CONTENT + b".\r\n")
    assert client.read_reply().code == 250
    note(passage, CONTENT, [GOOD], "second@client.example")


@pytest.mark.parametrize("command", ["RSET", "EHLO again.example"])
def test_what_forgets_a_transaction_pipelined_before_the_next(
    passage: Passage, client: RawClient, command: str
) -> None:
    for state in ("mail", "rcpt", "chunk", "chunks-half-a-line-end"):
        before, codes = STATES[state]
        second = f"MAIL FROM:<second@client.example>\r\nRCPT TO:<{GOOD}>\r\n".encode()
        chunk = b"BDAT %d LAST\r\n%b" % (len(CONTENT), CONTENT)
        client.send(before + command.encode() + b"\r\n" + second + chunk)
        expected = [*codes, 250, 250, 250, 250]
        assert [client.read_reply().code for _ in expected] == expected
        note(passage, CONTENT, [GOOD], "second@client.example")
