"""The embedded engine on real sockets, with our client and with strangers."""

import os
from array import array
from collections.abc import Callable
from pathlib import Path
from threading import Event as ThreadEvent
from typing import Any

import gevent
import msgpack
import pytest
from gevent import socket

from gwsmtp.base.errors import ScanUnavailable
from gwsmtp.engine.rules import EICAR, GTUBE, Rule
from gwsmtp.engine.scanner import Scanner
from gwsmtp.engine.server import INLINE, EngineServer
from gwsmtp.scan.outcome import Action
from gwsmtp.scan.pool import ScanPool
from tests.scan.support import Conversation, FileBody, request, wait_for

StartServer = Callable[..., tuple[EngineServer, str]]
StartPool = Callable[..., ScanPool]
HELLO = {"type": "hello", "version": 1, "role": "gateway", "capabilities": ["accept"]}


class HeldScanner(Scanner):
    """Scans large bodies, and those that say so, when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.go = ThreadEvent()
        self.waiting = 0

    def scan(self, body: bytes) -> Rule | None:
        if body == b"crash":
            raise ZeroDivisionError
        if len(body) > INLINE:
            self.waiting += 1
            assert self.go.wait(20)
        return super().scan(body)


def scan(made: ScanPool, body: bytes | FileBody) -> str:
    outcome = made.scan(request(body))
    return outcome.rule or outcome.action.value


def stranger(address: str) -> Conversation:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(address.removeprefix("unix:"))
    return Conversation(sock)


def raw_request(**change: Any) -> dict[str, Any]:
    return {
        "type": "scan",
        "id": 1,
        "deadline_ms": 5000,
        "interface": "demo",
        "session": "bcdfghjklm",
        "number": 1,
        "client": {"ip": "192.0.2.7", "port": 1, "helo": "x"},
        "envelope": {"from": "", "to": []},
        "received": b"",
        "body": b"",
    } | change


@pytest.mark.parametrize("tcp", [False, True])
def test_verdicts_on_bodies_of_every_kind(
    server: StartServer, pool: StartPool, tmp_path: Path, tcp: bool
) -> None:
    engine, address = server(tcp=tcp)
    made = pool(address)
    assert scan(made, b"") == "accept"
    assert scan(made, b"clean") == "accept"
    outcome = made.scan(request(b"Subject: x\r\n\r\n" + EICAR))
    assert (outcome.action, outcome.rule) == (Action.REJECT, "EICAR")
    assert outcome.text == "Message contains malware (EICAR test file)"
    filler = os.urandom(1000) * 1500
    assert scan(made, filler + GTUBE) == "GTUBE"
    assert scan(made, filler[:400_000] + EICAR) == "EICAR"
    assert scan(made, FileBody(tmp_path / "small", EICAR)) == "EICAR"
    assert scan(made, FileBody(tmp_path / "large", filler * 3 + EICAR + filler)) == "EICAR"
    assert scan(made, FileBody(tmp_path / "clean", filler)) == "accept"
    counts = engine.counts
    assert (counts.messages, counts.refused, counts.errors, counts.busy) == (8, 5, 0, 0)


def test_small_bodies_pass_large_ones(server: StartServer, pool: StartPool) -> None:
    held = HeldScanner()
    _, address = server(scanner=held)
    made = pool(address)
    large = [gevent.spawn(scan, made, bytes(300_000) + EICAR) for _ in range(6)]
    wait_for(lambda: held.waiting == 4, "four threads at work")
    assert scan(made, b"small") == "accept"
    assert not any(one.ready() for one in large)
    held.go.set()
    assert [one.get(timeout=10) for one in large] == ["EICAR"] * 6


@pytest.mark.parametrize("limit", [{"max_waiting": 2}, {"max_waiting_octets": 600_000}])
def test_beyond_the_bound_it_is_busy(
    server: StartServer, pool: StartPool, limit: dict[str, int]
) -> None:
    held = HeldScanner()
    engine, address = server(scanner=held, threads=1, **limit)
    made = pool(address)
    large = [gevent.spawn(scan, made, bytes(300_000)) for _ in range(3)]
    wait_for(lambda: engine.in_flight == 3, "one at work and two waiting")
    with pytest.raises(ScanUnavailable, match="busy"):
        scan(made, bytes(300_000))
    assert scan(made, b"small") == "accept"
    held.go.set()
    assert [one.get(timeout=10) for one in large] == ["accept"] * 3
    assert engine.counts.busy == 1


def test_a_crash_on_a_message_is_an_error_reply(
    server: StartServer, pool: StartPool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine, address = server(scanner=HeldScanner())
    made = pool(address)
    with pytest.raises(ScanUnavailable, match="ZeroDivisionError in the scanner"):
        scan(made, b"crash")
    short = FileBody(tmp_path / "short", b"x", claimed_size=9)
    with pytest.raises(ScanUnavailable, match="EOFError in the scanner"):
        scan(made, short)
    assert engine.counts.errors == 2
    assert engine.connections == 1, "the connection lives on"
    assert "event=engine_error sid=bcdfghjklm n=1" in caplog.text


def test_it_greets_first_and_answers_pings(server: StartServer) -> None:
    _, address = server(license_state="grace")
    talk = stranger(address)
    hello = talk.receive()
    assert hello["type"] == "hello"
    assert (hello["version"], hello["role"], hello["license"]) == (1, "engine", "grace")
    assert hello["capabilities"] == ["fd"]
    talk.send(HELLO, {"type": "ping", "id": 5})
    assert talk.receive() == {"type": "pong", "id": 5}
    talk.close()


@pytest.mark.parametrize(
    "said",
    [
        [raw_request()],
        [{"type": "ping", "id": 1}],
        [HELLO | {"version": 7}],
        [HELLO, HELLO],
        [HELLO, {"type": "dance"}],
        [HELLO, raw_request(id=0)],
        [HELLO, raw_request(body=None, fd=True, size=3)],
        ["GET / HTTP/1.1\r\n"],
    ],
)
def test_nonsense_closes_its_connection_only(
    server: StartServer, pool: StartPool, said: list[Any]
) -> None:
    engine, address = server()
    talk = stranger(address)
    talk.receive()
    talk.sock.sendall(b"".join(msgpack.packb(one) for one in said))
    talk.wait_for_close()
    talk.close()
    assert scan(pool(address), b"x") == "accept"
    wait_for(lambda: engine.connections == 1, "only the good connection")


def test_descriptors_belong_to_requests_in_their_order(server: StartServer, tmp_path: Path) -> None:
    _, address = server()
    talk = stranger(address)
    talk.receive()
    talk.send(HELLO)
    files = []
    for number, content in enumerate((b"clean", EICAR, b"clean", GTUBE)):
        (tmp_path / str(number)).write_bytes(content)
        files.append(os.open(tmp_path / str(number), os.O_RDONLY))
    wire = b"".join(
        msgpack.packb(raw_request(id=number + 1, body=None, fd=True, size=68 if number % 2 else 5))
        for number in range(4)
    )
    # All descriptors with the first octet: more than the order cannot tell whose they are.
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", files))]
    talk.sock.sendmsg([wire[:1]], rights)
    talk.sock.sendall(wire[1:])
    answers = [talk.receive() for _ in range(4)]
    assert [
        (answer["id"], answer.get("rule", "")) for answer in sorted(answers, key=lambda a: a["id"])
    ] == [(1, ""), (2, "EICAR"), (3, ""), (4, "GTUBE")]
    for file in files:
        os.close(file)
    talk.close()


def test_unclaimed_descriptors_end_the_connection(server: StartServer, tmp_path: Path) -> None:
    _, address = server()
    talk = stranger(address)
    talk.receive()
    talk.send(HELLO)
    with (tmp_path / "x").open("wb") as file:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [file.fileno()] * 40))]
        try:
            for _ in range(3):
                talk.sock.sendmsg([msgpack.packb({"type": "ping", "id": 1})], rights)
        except BrokenPipeError:
            pass
    talk.wait_for_close()
    talk.close()


def test_draining_finishes_what_is_in_flight(server: StartServer, pool: StartPool) -> None:
    held = HeldScanner()
    engine, address = server(scanner=held)
    made = pool(address)
    large = gevent.spawn(scan, made, bytes(300_000) + EICAR)
    wait_for(lambda: held.waiting, "a body in a thread")
    engine.drain()
    wait_for(lambda: not made.is_up, "the notice")
    assert not engine.drained.is_set()
    held.go.set()
    assert large.get(timeout=10) == "EICAR"
    assert engine.drained.wait(10), "drained"
    assert engine.connections == 0


def test_draining_does_not_wait_for_ever(server: StartServer) -> None:
    engine, address = server(drain_s=0.05)
    talk = stranger(address)
    talk.receive()
    talk.send(HELLO)
    wait_for(lambda: engine.connections == 1, "a connection")
    engine.drain()
    assert talk.receive() == {"type": "draining"}
    talk.wait_for_close()
    talk.close()
    assert engine.drained.is_set()


def test_an_engine_without_gateways_is_drained_at_once(server: StartServer) -> None:
    engine, _ = server()
    engine.drain()
    assert engine.drained.is_set()


def test_stopping_with_bodies_waiting_leaks_nothing(
    server: StartServer, pool: StartPool, tmp_path: Path
) -> None:
    held = HeldScanner()
    engine, address = server(scanner=held, threads=1)
    made = pool(address)
    body = FileBody(tmp_path / "body", b"x" * 10)
    scans = [gevent.spawn(scan, made, bytes(300_000)) for _ in range(2)]
    wait_for(lambda: held.waiting, "a body in a thread")
    scans += [gevent.spawn(scan, made, body) for _ in range(3)]
    wait_for(lambda: engine.in_flight == 5, "five bodies")
    made.close()
    engine.stop()
    held.go.set()
    for one in scans:
        with pytest.raises(ScanUnavailable):
            one.get(timeout=10)
    wait_for(lambda: not engine.in_flight, "nothing in flight")


def test_too_many_connections_are_closed(server: StartServer) -> None:
    engine, address = server(max_connections=1)
    first, second = stranger(address), stranger(address)
    first.receive()
    second.wait_for_close()
    assert engine.connections == 1
    first.close()
    second.close()
