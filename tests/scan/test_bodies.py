"""How bodies of every kind travel: octets, descriptors, the second connection."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest
from gevent import socket

from gwsmtp.base.errors import ScanUnavailable, SpoolError
from gwsmtp.scan.outcome import Action
from gwsmtp.scan.pool import ScanPool
from tests.scan.support import (
    HELLO,
    QUICK,
    Conversation,
    FileBody,
    accept,
    accept_all,
    refuse,
    request,
    wait_for,
)

StartEngine = Callable[..., str]
StartPool = Callable[..., ScanPool]


def test_a_file_goes_to_a_unix_engine_as_a_descriptor(
    engine: StartEngine, pool: StartPool, tmp_path: Path
) -> None:
    data = os.urandom(300_000)

    def script(talk: Conversation) -> None:
        talk.greet()
        for _ in range(50):
            message = talk.request()
            assert message["fd"] is True
            assert message["size"] == len(data)
            assert "body" not in message
            descriptor = talk.descriptors.pop(0)
            assert os.pread(descriptor, message["size"] + 1, 0) == data
            os.close(descriptor)
            talk.send(accept(message))
        assert not talk.descriptors
        talk.wait_for_close()

    made = pool(engine(script))
    body = FileBody(tmp_path / "body", data)
    scans = [gevent.spawn(made.scan, request(body)) for _ in range(50)]
    gevent.joinall(scans, raise_error=True)


@pytest.mark.parametrize("size", [1, 200_000, 5_000_000])
def test_a_file_goes_to_a_tcp_engine_as_octets(
    engine: StartEngine, pool: StartPool, tmp_path: Path, size: int
) -> None:
    data = os.urandom(size)
    talks: list[Conversation] = []

    def script(talk: Conversation) -> None:
        talk.greet()
        talks.append(talk)
        while True:
            message = talk.request()
            assert talk is not talks[0], "not on the connection of the small ones"
            assert message["body"] == data
            talk.send(accept(message))

    made = pool(engine(script, tcp=True))
    body = FileBody(tmp_path / "body", data)
    scans = [gevent.spawn(made.scan, request(body)) for _ in range(3)]
    gevent.joinall(scans, raise_error=True)
    assert len(talks) == 2


@pytest.mark.parametrize("tcp", [False, True])
def test_a_large_body_does_not_hold_up_a_small_one(
    engine: StartEngine, pool: StartPool, tcp: bool
) -> None:
    data = os.urandom(3_000_000)
    talks: list[Conversation] = []
    small_done = gevent.event.Event()

    def script(talk: Conversation) -> None:
        talk.greet()
        talks.append(talk)
        is_bulk = len(talks) == 2
        if is_bulk:
            assert small_done.wait(10), "the small one passed the large one"
        while True:
            message = talk.request()
            assert len(message["body"]) == (len(data) if is_bulk else 4)
            talk.send(accept(message))

    made = pool(engine(script, tcp=tcp))
    large = gevent.spawn(made.scan, request(data))
    wait_for(lambda: len(talks) == 2, "the second connection")
    made.scan(request(b"tiny"))
    small_done.set()
    large.get(timeout=10)


def test_a_file_shorter_than_its_body_ends_the_connection_not_the_engine(
    engine: StartEngine, pool: StartPool, tmp_path: Path
) -> None:
    made = pool(engine(accept_all, tcp=True))
    short = FileBody(tmp_path / "short", b"x" * 1000, claimed_size=2000)
    assert "not as long" in refuse(made, body=short)
    good = FileBody(tmp_path / "good", b"x" * 1000)
    assert made.scan(request(good)).action is Action.ACCEPT


def test_a_file_that_is_gone(engine: StartEngine, pool: StartPool, tmp_path: Path) -> None:
    made = pool(engine(accept_all))
    body = FileBody(tmp_path / "gone", b"x")
    (tmp_path / "gone").unlink()
    assert "cannot be opened" in refuse(made, body=body)


class BrokenDraft(FileBody):
    """A draft whose disk, or whose process's descriptors, give no more."""

    def open_readonly(self) -> int:
        raise SpoolError("no descriptors")

    def chunks(self) -> Iterator[bytes]:
        yield b"x"
        raise SpoolError("no more pieces")


@pytest.mark.parametrize("tcp", [False, True], ids=["by-descriptor", "in-pieces"])
def test_a_draft_that_cannot_be_read_has_no_verdict_and_the_next_one_has(
    engine: StartEngine, pool: StartPool, tmp_path: Path, tcp: bool
) -> None:
    made = pool(engine(accept_all, tcp=tcp))
    why = refuse(made, body=BrokenDraft(tmp_path / "broken", b"xyz"))
    assert ("no more pieces" if tcp else "no descriptors") in why
    good = FileBody(tmp_path / "good", b"x" * 1000)
    assert made.scan(request(good)).action is Action.ACCEPT


def test_a_body_larger_than_the_engine_takes(engine: StartEngine, pool: StartPool) -> None:
    def script(talk: Conversation) -> None:
        talk.send(HELLO | {"max_body": 3})
        talk.wait_for_close()

    assert "takes bodies up to 3" in refuse(pool(engine(script)), body=b"four")


def test_an_engine_that_does_not_read(engine: StartEngine, pool: StartPool) -> None:
    stop = gevent.event.Event()

    def script(talk: Conversation) -> None:
        talk.greet()
        stop.wait(10)

    made = pool(engine(script, tcp=True), deadline_s=0.5, timings=QUICK._replace(ping=10))
    scans = [gevent.spawn(made.scan, request(bytes(900_000))) for _ in range(20)]
    for scan in scans:
        with pytest.raises(ScanUnavailable):
            scan.get(timeout=10)
    stop.set()
    assert (made.in_flight, made.engines[0].in_flight) == (0, 0)


def test_descriptors_an_engine_sends_are_closed(engine: StartEngine, pool: StartPool) -> None:
    def script(talk: Conversation) -> None:
        talk.greet()
        while True:
            message = talk.request()
            answer = b"\x83\xa4type\xa7verdict\xa2id%c\xa6action\xa6accept" % message["id"]
            talk.sock.sendmsg([answer], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, b"\0\0\0\0" * 3)])

    made = pool(engine(script))
    for _ in range(30):  # more than a connection keeps: it is replaced, the message is answered
        assert made.scan(request()).action is Action.ACCEPT
