"""A spool disk that is full: 452 to whoever needs it, and nobody else notices.

A message up to 128 KiB is kept in memory; a larger one goes to a file, in pieces while it comes in
and with its rest at its end. Both writes are made to fail here.
"""

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.corpus import without_trace
from tests.support.eventlog import Line, events
from tests.support.gateway import Gateway, open_folder
from tests.support.rawclient import RawClient, RawReply
from tests.support.rawsink import RawSink
from tests.support.smalldisk import SmallDisk
from tests.support.unread import wait_until_read
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

TO = ["user@example.test"]
LINE = b"x" * 1022 + b"\r\n"
SMALL = LINE * 10
MIB = LINE * 1024
FULL = b"452 4.3.1 "
CAUSE = "No space left on device"
MEMORY, READ, PIECE = 128 << 10, 64 << 10, 256 << 10
"""What stays in memory, what is read at most at once, and what is written at once."""


class Place:
    """A gateway with one worker, whose spool is a small disk."""

    def __init__(self, gateway: Gateway, disk: SmallDisk, sink: RawSink) -> None:
        self.gateway = gateway
        self.disk = disk
        self.sink = sink

    def problems(self) -> list[Line]:
        return events(self.gateway, "spool-error")

    def wait_for_problem(self, count: int) -> Line:
        """The last of ``count``."""
        wait_for(
            lambda: len(self.problems()) >= count,
            lambda: f"{count} lines event=spool-error\n{self.gateway.log_tail()}",
        )
        assert len(self.problems()) == count
        return self.problems()[-1]

    def message(self, sender: str) -> Line:
        """Its one line in the log."""
        found = wait_for(
            lambda: [m for m in events(self.gateway, "message") if m["from"] == f"<{sender}>"],
            f"the line of {sender}'s message in the log",
        )
        (line,) = found
        return line

    def arrived(self, sender: str) -> list[bytes]:
        found = self.sink.by_sender().get(sender, [])
        return [without_trace(message.payload)[1] for message in found]

    def expect_refused(self, reply: RawReply, sender: str) -> None:
        """The sender is told so, the log says why, nobody got anything, nothing is kept."""
        assert reply.raw.startswith(FULL), reply
        line = self.message(sender)
        assert (line["outcome"], line["verdict"]) == ("deferred", "-")
        assert line["reply"].startswith(FULL.decode())
        assert CAUSE in line["cause"]
        assert self.arrived(sender) == []

    def expect_passes(self, client: RawClient, sender: str, content: bytes) -> None:
        reply = client.send_message(sender, TO, content)
        assert reply.code == 250, reply
        assert self.arrived(sender) == [content]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    folder = open_folder()
    try:
        with SmallDisk(folder / "spool", "nobody", mib=4) as disk, RawSink() as sink:
            settings = {"workers": {"count": 1}, "paths": {"spool": str(disk.path)}}
            with Gateway(folder, sink.address, settings) as gateway:
                yield Place(gateway, disk, sink)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def empty(place: Place) -> Iterator[Place]:
    """Nothing is on it before and nothing is left after."""
    place.disk.leave(None)
    before = place.disk.used
    yield place
    place.disk.leave(None)
    assert place.disk.used == before


@pytest.fixture
def client(empty: Place) -> Iterator[RawClient]:
    """Its session outlives whatever the disk does."""
    with RawClient(empty.gateway.address) as one:
        one.greet()
        yield one
        assert one.quit().code == 221


def test_full_while_the_data_comes_in(empty: Place, client: RawClient) -> None:
    """It is read on to its end, which alone may be answered."""
    empty.disk.leave(1 << 20)
    before = len(empty.problems())
    sender = "append@client.example"
    client.begin_data(sender, TO)
    client.send(MIB * 3)
    problem = empty.wait_for_problem(before + 1)
    assert CAUSE in problem["cause"]
    client.send(MIB + b".\r\n")
    empty.expect_refused(client.read_reply(), sender)
    assert empty.message(sender)["sid"] == problem["sid"]
    assert len(empty.problems()) == before + 1
    empty.expect_passes(client, "append-small@client.example", SMALL)
    empty.disk.leave(None)
    empty.expect_passes(client, "append-next@client.example", MIB * 3)


def test_full_at_the_end_of_the_data(empty: Place, client: RawClient) -> None:
    """What is written as soon as memory is not enough has room, the rest does not."""
    empty.disk.leave(MEMORY + READ + 4096)
    content = LINE * ((MEMORY + PIECE - 4096) // len(LINE))
    before = len(empty.problems())
    sender = "finish@client.example"
    client.begin_data(sender, TO)
    client.send(content)
    wait_until_read(client)
    assert len(empty.problems()) == before
    client.send(b".\r\n")
    empty.expect_refused(client.read_reply(), sender)
    problem = empty.wait_for_problem(before + 1)
    assert CAUSE in problem["cause"]
    assert empty.message(sender)["sid"] == problem["sid"]
    empty.expect_passes(client, "finish-small@client.example", SMALL)
    empty.disk.leave(None)
    empty.expect_passes(client, "finish-next@client.example", content)


@pytest.mark.parametrize("free", [0, 1 << 20], ids=["in-the-first-chunk", "in-the-last-chunk"])
def test_full_while_chunks_come_in(empty: Place, client: RawClient, free: int) -> None:
    empty.disk.leave(free)
    sender = f"chunks-{free}@client.example"
    client.pipeline([f"MAIL FROM:<{sender}>", f"RCPT TO:<{TO[0]}>"])
    client.send(b"BDAT %d\r\n%b" % (len(MIB) // 2, MIB[: len(MIB) // 2]))
    client.send(b"BDAT %d LAST\r\n%b" % (len(MIB), MIB))
    replies = [client.read_reply(), client.read_reply()]
    if free:
        assert replies[0].raw.startswith(b"250 2.0.0 Chunk "), replies
        empty.expect_refused(replies[1], sender)
    else:
        empty.expect_refused(replies[0], sender)
        assert replies[1].code == 503, replies
    empty.disk.leave(None)
    empty.expect_passes(client, f"chunks-next-{free}@client.example", MIB)


def test_full_for_some_of_many(empty: Place) -> None:
    """Sixteen mebibytes for four: whoever hears 250 has all of it there, the others nothing, and
    that may be all of them.
    """
    is_sent = threading.Barrier(16)

    def send(number: int) -> tuple[str, RawReply]:
        sender = f"many{number}@client.example"
        with RawClient(empty.gateway.address) as one:
            one.greet()
            one.begin_data(sender, TO)
            one.send(MIB)
            wait_until_read(one)
            is_sent.wait(20)
            one.send(b".\r\n")
            reply = one.read_reply()
            again = one.send_message(f"small-{sender}", TO, SMALL)
            assert again.code == 250, again
            return sender, reply

    with ThreadPoolExecutor(16) as clients:
        heard = dict(clients.map(send, range(16)))
    assert {452} <= {reply.code for reply in heard.values()} <= {250, 452}
    for sender, reply in heard.items():
        if reply.code == 250:
            assert empty.arrived(sender) == [MIB]
        else:
            empty.expect_refused(reply, sender)
        assert empty.arrived(f"small-{sender}") == [SMALL]


def test_none_of_it_is_a_bug_of_ours(place: Place) -> None:
    """Runs last: the only errors in the log are those of the disk."""
    errors = [line for line in place.gateway.log_lines() if "level=ERROR" in line]
    assert errors
    assert not [line for line in errors if "event=spool-error" not in line or "trace=" in line]
