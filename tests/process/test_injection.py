"""Nothing a client writes into addresses, parameters, names or sizes becomes a command.

    client -> gateway (recipients by call-out) -> Recorder -> RawSink

The whole command stream to the next hop is compared: call-outs and transactions, each address
octet for octet. ``tests.support.readers`` read it too, since a hop may be less strict than we are.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.gateway import open_folder
from tests.support.passage import Passage, Sent, open_passage
from tests.support.rawclient import RawClient

pytestmark = pytest.mark.full

GOOD = "someone@example.test"
CONTENT = b"Subject: after\r\n\r\nwhat was tried\r\n"
SETTINGS = {
    "workers": {"count": 1},
    "exploit_detection": {"drop_on_invalid_commands": False},
}

TAKEN = [
    b'"a>b"@example.test',
    b'"a<b"@example.test',
    b'"<>"@example.test',
    b'"a> RCPT TO:<evil@example.test"@example.test',
    b'"a>\\\\r\\\\nRCPT TO:<b"@example.test',
    b'"a\\"b"@example.test',
    b'"a\\\\"@example.test',
    b'"\\>\\ \\<"@example.test',
    b'"a  b"@example.test',
    b'""@example.test',
    b"a=b@example.test",
    b"a#b&c'd*e/f?g^h`i{j|k}l~m@example.test",
    b"." * 20 + b"@example.test",
    b"x" * 241 + b"@example.test",  # 254 octets, 256 with the brackets
]
"""Local parts odd enough to try; each is one word of ours to the next hop."""

REFUSED = [
    *(
        b"<a\rb@example.test>",
        b"<a\nb@example.test>",
        b"<a\n@example.test>\nRCPT TO:<b@example.test>",
    ),
    *(
        b"<a@example.test>\nDATA",
        b"<a@example.test>\rDATA",
        b"<a@example.test\r>",
        b"<a@example.test>\r",
    ),
    *(b"<a\0b@example.test>", b"<a@example.test>\0", b"<a@example.test\0>", b"\0<a@example.test>"),
    *(
        b"<a\tb@example.test>",
        b"<a\x01b@example.test>",
        b"<a\x7fb@example.test>",
        b"<a\x1bb@example.test>",
    ),
    *(b"<a\x85b@example.test>", b"<a\xc2\x85b@example.test>", b"<a\xc2\x8db@example.test>"),
    *(
        b"<a\xe2\x80\xa8b@example.test>",
        b"<a\xe2\x80\xa9b@example.test>",
        b"<a\xff\xfeb@example.test>",
    ),
    *(b"<a\xc0\x8ab@example.test>", b"<a\xc0\x8db@example.test>", b"<a\xe0\x80\x8ab@example.test>"),
    *(
        b"<a\xf0\x80\x80\x8ab@example.test>",
        b"<a\xed\xa0\x8ab@example.test>",
        b"<a\x8a@example.test>",
    ),
    *(b'<"a\rb"@example.test>', b'<"a\nb"@example.test>', b'<"a\0b"@example.test>'),
    *(b'<"a\\\rb"@example.test>', b'<"a\\\nb"@example.test>', b'<"a\\\0b"@example.test>'),
    *(b'<"a\tb"@example.test>', b'<"a\\\tb"@example.test>', b'<"a\xc2\x85"@example.test>'),
    *(b'<"a@example.test>', b'<a"@example.test>', b'<"a"b@example.test>', b'<"a\\"@example.test>'),
    *(b'<"a"b"@example.test>', b"<a b@example.test>", b"<a>b@example.test>", b"<<a@example.test>>"),
    *(b"<a@example.test>>", b"<a@example.test", b"a@example.test>", b"<a@exam ple.test>"),
    *(b"<a@example.test>RCPT TO:<b@example.test>", b"<a@example.test> RCPT TO:<b@example.test>"),
    *(b"<a@example.test> <b@example.test>", b"<a@example.test>,<b@example.test>"),
    *(b"<a@example.test\xe2\x80\xa8>", b"<a@example.test\xc2\xad>", b"<a@[127.0.0.1\r]>"),
    *(
        b"<a@[IPv6:::1\n]>",
        b"<a@[127.0.0.1><b]>",
        b"<@x\r:a@example.test>",
        b"<@x,@y\n:a@example.test>",
    ),
    b"<" + b"x" * 242 + b"@example.test>",
    b"<" + b"x" * 243 + b"@example.test>",
]
"""What stands behind ``RCPT TO:`` or ``MAIL FROM:`` and is one command that is refused."""

PARAMETERS_REFUSED = [
    *(
        b"SIZE==1",
        b"SIZE=1=1",
        b"SIZE=",
        b"=1",
        b"=",
        b"SIZE=+1",
        b"SIZE=-1",
        b"SIZE=1e3",
        b"SIZE=0x1",
    ),
    *(b"SIZE=1 SIZE=2", b"SIZE=1\tBODY=7BIT", b"SIZE=1\x0bBODY=7BIT", b"SIZE=1\0", b"SIZE=1\rRSET"),
    *(
        b"SIZE=1\nRSET",
        b"BODY=8BITMIME\nRCPT TO:<a@example.test>",
        b"BODY=BINARYMIME",
        b"BODY=8BIT MIME",
    ),
    *(b"AUTH=<>", b"X=<a@b>", b"BODY=7BIT>", b"SIZE=1;RSET", b"SIZE=\xc2\xb2", b"SIZE=\xd9\xa1"),
    *(b"SMTPUTF8=", b"SMTPUTF8=1", b"SIZE=111111111111111111111", b"SIZE=1\xc2\xa0BODY=7BIT"),
    *(b"NOTIFY=NEVER", b"RET=FULL ENVID=a+0D+0ARSET", b"RCPT TO:<a@example.test>"),
]
PARAMETERS_TAKEN = [
    b"SIZE=1",
    b"   SIZE=1    BODY=7BIT  ",
    b"size=0 body=8bitmime",
    b"BODY=8BITMIME  ",
]

NAMES_TAKEN = [
    *(
        b"client.example",
        b"a<b>c",
        b"(comment",
        b"x)by",
        b"evil;id",
        b'"q"',
        b"[127.0.0.1]",
        b"[x]",
    ),
    *(b"a\\r\\nb", b"%0d%0a", b"=?utf-8?q?=0A?=", b"x" * 255, b"-", b"[IPv6:::1]"),
]
NAMES_REFUSED = [
    *(
        b"a\rb",
        b"a\nb",
        b"a\0b",
        b"a\tb",
        b"a b",
        b"a\x7f",
        b"a\x85",
        b"a\xc2\x85b",
        b"\xe2\x80\xa8",
    ),
    *(b"a\nMAIL FROM:<evil@client.example>", b"\xc0\x8a", b"", b"x" * 256),
]

UNREADABLE = [
    *(
        b"",
        b" ",
        b" LAST",
        b" -1",
        b" +6",
        b" 6.0",
        b" 0x6",
        b" 6 FIRST",
        b" 6 LAST LAST",
        b" 6,LAST",
    ),
    *(
        b" 9999999999999999999",
        b" 6\tLAST",
        b"\t6",
        b"6",
        b" 6\0",
        b" 6\xff",
        b" \xd9\xa6",
        b" 6\rLAST",
    ),
    *(b" 6 LAST\n", b" 6\nDATA", b" " + b"0" * 506 + b"6", b" " * 600 + b"6", b" 6=LAST", b" 6 L"),
]
"""What behind BDAT leaves nobody knowing how many octets follow."""


@pytest.fixture(scope="module")
def passage() -> Iterator[Passage]:
    folder = open_folder()
    with ExitStack() as running:
        running.callback(shutil.rmtree, folder, ignore_errors=True)
        passage = open_passage(running, folder, "normalize", SETTINGS, recipients="callout")
        yield passage
        # A control character in the log could write lines of its own there.
        log = passage.gateway.log_path.read_bytes()
        assert (
            re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]", log) is None
        )


@pytest.fixture
def client(passage: Passage) -> Iterator[RawClient]:
    """A greeted client; at its end everything that went to the next hop is compared."""
    passage.sent.clear()
    with RawClient(passage.gateway.address) as client:
        client.greet()
        yield client
        if client.sock.fileno() >= 0:
            assert client.quit().code == 221
    passage.expect_session()
    passage.check()


def deliver(
    passage: Passage, client: RawClient, sender: bytes, recipients: list[str], between: bytes = b""
) -> list[bytes]:
    """One message with ``between`` sent before its DATA, all in one write; the replies between."""
    lines = [b"MAIL FROM:<" + sender + b">", *(f"RCPT TO:<{one}>".encode() for one in recipients)]
    begin = b"".join(line + b"\r\n" for line in lines)
    client.send(begin + between + b"DATA\r\n")
    for line in lines:
        assert client.read_reply().code == 250, line
    replies = [client.read_reply().raw for _ in range(between.count(b"\r\n"))]
    assert client.read_reply().code == 354
    client.send(CONTENT + b".\r\n")
    assert client.read_reply().code == 250
    passage.sent.append(Sent(sender.decode(), recipients, CONTENT, passage.mode))
    return replies


def test_recipients_that_look_like_more_arrive_as_one_each(
    passage: Passage, client: RawClient
) -> None:
    for address in TAKEN:
        deliver(passage, client, b"sender@client.example", [address.decode(), GOOD])
    deliver(passage, client, b"all@client.example", [address.decode() for address in TAKEN])


def test_senders_that_look_like_more_arrive_as_one_each(
    passage: Passage, client: RawClient
) -> None:
    for address in TAKEN:
        deliver(passage, client, address, [GOOD])


def test_recipients_that_are_none_are_refused_and_leave_nothing(
    passage: Passage, client: RawClient
) -> None:
    for argument in REFUSED:
        line = b"RCPT TO:" + argument + b"\r\n"
        (reply,) = deliver(passage, client, b"sender@client.example", [GOOD], line)
        assert reply[:4] in (b"500 ", b"501 ", b"550 ", b"553 "), (argument, reply)


def test_senders_that_are_none_are_refused_and_leave_nothing(
    passage: Passage, client: RawClient
) -> None:
    for argument in REFUSED:
        reply = client.command(b"MAIL FROM:" + argument).raw
        assert reply[:4] in (b"500 ", b"501 ", b"553 "), (argument, reply)
        assert client.command(b"RCPT TO:<someone@example.test>").code == 503, argument
        deliver(passage, client, b"sender@client.example", [GOOD])


def test_parameters_that_are_none(passage: Passage, client: RawClient) -> None:
    for parameters in PARAMETERS_REFUSED:
        reply = client.command(b"MAIL FROM:<sender@client.example> " + parameters).raw
        assert reply[:4] in (b"500 ", b"501 ", b"555 "), (parameters, reply)
        assert client.command(b"DATA").code == 503, parameters
        line = b"RCPT TO:<other@example.test> " + parameters + b"\r\n"
        (reply,) = deliver(passage, client, b"sender@client.example", [GOOD], line)
        assert reply[:4] in (b"500 ", b"501 ", b"555 "), (parameters, reply)


def test_parameters_go_on_as_ours_and_not_as_written(passage: Passage, client: RawClient) -> None:
    for parameters in PARAMETERS_TAKEN:
        assert client.command(b"MAIL FROM:<sender@client.example> " + parameters).code == 250
        assert client.command(f"RCPT TO:<{GOOD}>").code == 250
        assert client.command("DATA").code == 354
        client.send(CONTENT + b".\r\n")
        assert client.read_reply().code == 250
        passage.sent.append(Sent("sender@client.example", [GOOD], CONTENT, passage.mode))


@pytest.mark.parametrize("verb", [b"EHLO ", b"HELO "])
def test_names_clients_give_themselves(passage: Passage, client: RawClient, verb: bytes) -> None:
    for name in NAMES_REFUSED:
        reply = client.command(verb + name).raw
        assert reply[:4] in (b"500 ", b"501 "), (name, reply)
    for name in NAMES_TAKEN:
        assert client.command(verb + name).code == 250, name
        deliver(passage, client, b"sender@client.example", [GOOD])
    passage.traces.clear()
    passage.check()
    assert len(passage.traces) == len(NAMES_TAKEN)
    known = {b"client.example", b"[127.0.0.1]", b"[IPv6:::1]", b"x" * 255}
    for trace in passage.traces:
        named = re.match(rb"Received: from (\S+) \(\[127\.0\.0\.1\]\)\r\n\tby ", trace)
        assert named is not None and named[1] in known, trace


def test_bare_newlines_in_commands_start_none(passage: Passage, client: RawClient) -> None:
    evil = b"MAIL FROM:<evil@client.example>"
    for end in (
        b"\n",
        b"\r",
        b"\n\r",
        b"\r\r",
        b"\0",
        b"\x85",
        b"\xe2\x80\xa8",
        b"\r\0\n",
        b"\n\n",
    ):
        for line in (b"NOOP", b"RSET", b"VRFY x", b"HELP", b"EHLO x"):
            reply = client.command(line + end + evil + end + b"DATA")
            assert reply.code in (250, 252, 214, 500, 501), (line, end)
        assert client.command(f"RCPT TO:<{GOOD}>").code == 503, end
    deliver(passage, client, b"sender@client.example", [GOOD])


def test_a_bdat_nobody_can_read_ends_the_session(passage: Passage) -> None:
    behind = (
        b"RSET\r\nMAIL FROM:<evil@client.example>\r\nRCPT TO:<someone@example.test>\r\nDATA\r\n"
    )
    envelope = f"MAIL FROM:<sender@client.example>\r\nRCPT TO:<{GOOD}>\r\n".encode()
    for argument in UNREADABLE:
        with RawClient(passage.gateway.address) as client:
            client.greet()
            client.send(envelope + b"BDAT" + argument + b"\r\n" + behind + b"evil\r\n.\r\n")
            said = client.read_to_end()
        codes = [line[:10] for line in said.splitlines()]
        assert codes == [b"250 2.1.0 ", b"250 2.1.5 ", b"421 4.5.4 "], (argument, said)
        passage.expect_session()
    passage.check()


def test_chunks_that_are_too_much_take_their_octets_with_them(
    passage: Passage, client: RawClient
) -> None:
    """Half of SIZE is sent, then a chunk is announced that is too much: 552, and in sync."""
    client.send(f"MAIL FROM:<sender@client.example>\r\nRCPT TO:<{GOOD}>\r\n".encode())
    evil = b"\r\n.\r\nRSET\r\nMAIL FROM:<evil@client.example>\r\nRCPT TO:<someone@example.test>\r\n"
    octets = evil * (40_000_100 // len(evil) + 1)
    client.send(b"BDAT 6\r\nQUIT\r\nBDAT %d\r\n%bBDAT 6 LAST\r\nQUIT\r\n" % (len(octets), octets))
    codes = [client.read_reply().raw[:10] for _ in range(5)]
    ok = [b"250 2.1.0 ", b"250 2.1.5 ", b"250 2.0.0 "]
    assert codes == [*ok, b"552 5.3.4 ", b"503 5.5.1 "]
    assert client.command("RCPT TO:<someone@example.test>").code == 503
    deliver(passage, client, b"sender@client.example", [GOOD])
