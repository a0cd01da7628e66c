"""What arrives is what the client put on the wire: real clients, real processes, every octet.

    client -> Recorder -> gateway (master, workers, engine) -> RawSink

Recorder and sink share no code with gwsmtp or with each other. Each message has a sender of its
own in its envelope, by which the two ends are compared: nothing lost, nothing doubled, and behind
the one Received field that the gateway puts first, the content unchanged, or normalised by
SETTINGS 2.20 where it held bare CR, LF or NUL.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.process.conftest import StartGateway
from tests.support.corpus import (
    corpus,
    digest,
    first_difference,
    normalised,
    stuffed,
    without_trace,
)
from tests.support.gateway import Gateway
from tests.support.rawclient import RawClient
from tests.support.rawsink import RawSink
from tests.support.recorder import Recorder, WireMessage
from tests.support.senders import send_by_smtp_source, send_by_smtplib, send_by_swaks

pytestmark = pytest.mark.full

RECIPIENTS = ["user@example.test"]
SENDERS_AT_ONCE = 4
SETTINGS = {
    # 127.0.0.1 sends hundreds of messages here; limits and lists are not what is asked about.
    "dos_protection": {"enabled": False},
    "connection_drop": {"rbl": {"enabled": False}, "ip_reputation": {"enabled": False}},
}

Send = Callable[[str, str, Sequence[str], Path], None]


class Passage:
    """The way a message takes, and the comparison of its two ends."""

    def __init__(self, recorder: Recorder, gateway: Gateway, sink: RawSink) -> None:
        self.recorder = recorder
        self.gateway = gateway
        self.sink = sink

    def client(self) -> RawClient:
        """A raw client at the recorder's side, greeted."""
        client = RawClient(self.recorder.address, timeout_s=60)
        client.greet()
        return client

    def send_all(self, contents: Iterable[tuple[str, bytes]]) -> None:
        """Sends each content from its own sender over one connection and compares."""
        count = 0
        with self.client() as client:
            for sender, content in contents:
                reply = client.send_message(sender, RECIPIENTS, content)
                assert reply.code == 250, (sender, reply)
                count += 1
            client.quit()
        self.compare(count)

    def compare(self, count: int) -> list[WireMessage]:
        """Fails unless exactly ``count`` messages were sent, accepted, and have arrived as they
        were; returns them as the client put them on the wire.
        """
        # A 250 says that the sink has answered: whatever is still missing now is lost.
        sent = self.recorder.messages()
        arrived = self.sink.by_sender()
        problems = []
        if len(sent) != count or len({message.sender for message in sent}) != count:
            problems.append(f"{count} messages should have been sent, the wire has {len(sent)}")
        for message in sent:
            if not message.reply.startswith("250"):
                problems.append(f"{message.sender}: answered {message.reply!r}")
            copies = arrived.pop(message.sender, [])
            if len(copies) != 1:
                problems.append(f"{message.sender}: arrived {len(copies)} times")
                continue
            (copy,) = copies
            if copy.recipients != message.recipients:
                problems.append(f"{message.sender}: to {copy.recipients}")
            problems += _content_problems(message, copy.payload)
        problems += [f"{sender}: arrived but was never sent" for sender in arrived]
        if self.sink.unfinished:
            problems.append(f"{self.sink.unfinished} messages reached the next hop without a dot")
        if problems:
            self.gateway.fail("\n".join([f"{len(problems)} problems:", *problems[:20]]))
        return sent


def _content_problems(message: WireMessage, arrived: bytes) -> list[str]:
    trace, content = without_trace(arrived)
    problems = []
    if b" by gw.example.test " not in trace.replace(b"\r\n", b" ").replace(b"\t", b" "):
        problems.append(f"{message.sender}: no trace field of ours first: {arrived[:200]!r}")
    expected = normalised(message.payload)
    if digest(content) != digest(expected):
        problems.append(
            f"{message.sender}: {digest(expected)} arrived as {digest(content)}, "
            + first_difference(expected, content)
        )
    return problems


@pytest.fixture
def passage(
    start_gateway: StartGateway, start_recorder: Callable[[str], Recorder], sink: RawSink
) -> Passage:
    gateway = start_gateway(sink.address, SETTINGS)
    return Passage(start_recorder(gateway.address), gateway, sink)


@pytest.mark.parametrize("send", [send_by_swaks, send_by_smtp_source, send_by_smtplib])
def test_the_corpus_by_other_peoples_clients(passage: Passage, send: Send) -> None:
    messages = {f"{message.name}@client.example": message for message in corpus()}

    def send_one(sender: str) -> None:
        send(passage.recorder.address, sender, RECIPIENTS, messages[sender].path)

    with ThreadPoolExecutor(SENDERS_AT_ONCE) as pool:
        list(pool.map(send_one, messages))
    sent = passage.compare(250)
    # The clients have put the files on the wire and not something else. Two of them end each
    # message with one empty line more.
    for one in sent:
        wire = messages[one.sender].wire
        assert one.payload in (wire, wire + b"\r\n"), first_difference(wire, one.payload)
    changed = [one.sender for one in sent if normalised(one.payload) != one.payload]
    assert changed == ["spam-2-00164@client.example"]


def test_the_corpus_over_one_connection(passage: Passage) -> None:
    passage.send_all((f"{one.name}@client.example", one.wire) for one in corpus())


def test_contents_at_the_edges(passage: Passage) -> None:
    header = b"Subject: edge\r\n\r\n"
    contents = {
        "empty": b"",
        "one-octet": b"x",
        "one-line-end": b"\r\n",
        "header-only": b"Subject: edge\r\n",
        "no-header": b"\r\nbody\r\n",
        "dots": b".\r\n..\r\n...\r\n.x\r\n\r\n.\r\n..\r\n",
        "eight-bit": header
        + bytes(range(1, 256)).replace(b"\n", b"").replace(b"\r", b"")
        + b"\r\n",
        "lines-998-to-1001": header + b"".join(b"x" * n + b"\r\n" for n in range(996, 1000)),
        "one-line-of-1-MB": header + b"x" * 1_000_000 + b"\r\n",
        "one-line-of-1-MB-without-header": b"x" * 1_000_000 + b"\r\n",
        "one-line-of-1-MiB": header + b"y" * (1 << 20) + b"\r\n",
        "only-one-line-of-1-MiB": b"z" * (1 << 20) + b"\r\n",
        "lines-of-1-MiB": header + (b"." * (1 << 20) + b"\r\n") * 3,
        "20000-lines": header + b"".join(b"line %d\r\n" % n for n in range(20_000)),
        "20000-lines-of-a-dot": header + b".\r\n" * 20_000,
        "trace-of-others": b"Received: from a by b\r\n\tfor c; today\r\nReceived: older\r\n\r\n",
    }
    passage.send_all((f"{name}@client.example", content) for name, content in contents.items())


@pytest.mark.parametrize("before", [b"", b"Subject: long\r\n\r\n", b"x" * 70_000 + b"\r\n"])
def test_a_line_beyond_a_mebibyte_is_refused_and_nothing_of_it_arrives(
    passage: Passage, before: bytes
) -> None:
    content = before + b"x" * ((1 << 20) + 1) + b"\r\nafter\r\n"
    with passage.client() as client:
        reply = client.send_message("long@client.example", RECIPIENTS, content)
        assert reply.raw.startswith(b"554 5.6.0 ")
        assert client.send_message("next@client.example", RECIPIENTS, b"x\r\n").code == 250
        client.quit()
    assert list(passage.sink.by_sender()) == ["next@client.example"]


def test_39_megabytes(passage: Passage) -> None:
    line = bytes(range(32, 256)) * 4 + b"\r\n"
    content = b"Subject: big\r\n\r\n" + line * (39_000_000 // len(line))
    passage.send_all([("big@client.example", content), ("small@client.example", b"after\r\n")])


def test_bare_newlines_arrive_normalised(passage: Passage) -> None:
    contents = {
        "stray-cr": b"a\rb\r\r\nc\r\n",
        "bare-lf": b"a\nb\n\nc\r\n",
        "nul": b"a\x00b\x00\r\n",
        "last-octet-is-cr": b"a\r",
        "last-octet-is-lf": b"a\n",
        "dots-after-bare-lf": b"a\n.b\n..c\n.\r\n",
        "dots-after-stray-cr": b"a\r.b\r..c\r.\r\n",
        "only-newlines": b"\n\r\n\r\r\n\n",
    }
    passage.send_all((f"{name}@client.example", content) for name, content in contents.items())


@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n"]
)
def test_what_is_no_end_smuggles_nothing(passage: Passage, end: bytes) -> None:
    hidden = b"MAIL FROM:<hidden@client.example>\r\nRCPT TO:<user@example.test>\r\nDATA\r\nx"
    with passage.client() as client:
        client.begin_data("outer@client.example", RECIPIENTS)
        # Not by stuffed(): a dot after CRLF stands here as an attacker sends it.
        client.send(b"Subject: outer\r\n\r\nbody" + end + hidden + b"\r\n.\r\n")
        assert client.read_reply().code == 250
        assert client.quit().code == 221
    (sent,) = passage.compare(1)
    assert b"hidden" in sent.payload


def test_any_chunking_gives_the_same_message(passage: Passage) -> None:
    content = b"Subject: chunks\r\n\r\n.dot\r\n..\r\n\r\nlf\n.\r\ncr\r.\r\n.\r\nend\r\n"
    wire = stuffed(content)
    ways = {f"every-{size}": range(size, len(wire), size) for size in (1, 2, 3, 4, 5, 7)}
    ways |= {f"{n}-before-the-end": range(len(wire) - n, len(wire) - n + 1) for n in range(1, 8)}
    with passage.client() as client:
        for name, boundaries in ways.items():
            client.begin_data(f"{name}@client.example", RECIPIENTS)
            client.send_chunks(wire, boundaries)
            assert client.read_reply().code == 250, name
        client.quit()
    sent = passage.compare(len(ways))
    assert {one.payload for one in sent} == {content}


def test_pipelined_groups(passage: Passage) -> None:
    """RFC 2920 3.1: DATA ends a group, a message's content may begin the next one."""
    contents = {f"piped-{n}@client.example": b"message %d\r\n.\r\n" % n for n in range(20)}
    with passage.client() as client:
        previous = b""
        for sender, content in contents.items():
            group = f"MAIL FROM:<{sender}>\r\nRCPT TO:<{RECIPIENTS[0]}>\r\nDATA\r\n".encode()
            client.send(previous + group)
            codes = [client.read_reply().code for _ in range(4 if previous else 3)]
            assert codes[-3:] == [250, 250, 354], codes
            previous = stuffed(content)
        client.send(previous + b"QUIT\r\n")
        assert [client.read_reply().code for _ in range(2)] == [250, 221]
    sent = passage.compare(len(contents))
    assert {one.sender: one.payload for one in sent} == contents


def test_many_clients_at_once(passage: Passage) -> None:
    """Sessions of both workers interleave; each message must stay with its own envelope."""

    def send_ten(number: int) -> None:
        with passage.client() as client:
            for n in range(10):
                content = b"Subject: %d of %d\r\n\r\n" % (n, number) + b"%d\r\n" % number * 2000 * n
                reply = client.send_message(f"m{number}-{n}@client.example", RECIPIENTS, content)
                assert reply.code == 250, reply
            client.quit()

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(send_ten, range(20)))
    passage.compare(200)
