"""The client and the pool against engines that behave, and that do not, on real sockets."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gevent
import pytest

from gwsmtp.base.errors import ScanUnavailable
from gwsmtp.scan.client import EngineState
from gwsmtp.scan.outcome import Action
from gwsmtp.scan.pool import ScanPool
from tests.scan.support import (
    HELLO,
    QUICK,
    Conversation,
    FakeEngine,
    accept,
    accept_all,
    refuse,
    request,
    wait_for,
)

StartEngine = Callable[..., str]
StartPool = Callable[..., ScanPool]


@pytest.mark.parametrize("tcp", [False, True])
def test_a_verdict_with_everything(engine: StartEngine, pool: StartPool, tcp: bool) -> None:
    asked: list[dict[str, Any]] = []

    def script(talk: Conversation) -> None:
        hello = talk.greet()
        assert hello["type"] == "hello"
        assert hello["version"] == 1
        assert hello["role"] == "gateway"
        assert ("fd" in hello["capabilities"]) is not tcp
        assert {"accept", "reject", "defer", "discard", "headers"} <= set(hello["capabilities"])
        message = talk.request()
        asked.append(message)
        talk.send(
            {
                "type": "verdict",
                "id": message["id"],
                "action": "reject",
                "text": "no\r\nsuch\x07 thing é",
                "rule": "R1",
                "headers": [["X-Score", "7"]],
                "license": "grace",
            }
        )
        talk.wait_for_close()

    address = engine(script, tcp=tcp)
    made = pool(address)
    outcome = made.scan(request(b"body\r\n"))
    assert (outcome.action, outcome.rule, outcome.engine) == (Action.REJECT, "R1", address)
    assert outcome.text == "no such  thing"
    assert outcome.headers == (("X-Score", "7"),)
    (message,) = asked
    assert 0 < message.pop("deadline_ms") <= 10_000
    assert message == {
        "type": "scan",
        "id": 1,
        "interface": "demo",
        "session": "bcdfghjklm",
        "number": 1,
        "client": {"ip": "192.0.2.7", "port": 40000, "helo": "client.example"},
        "envelope": {"from": "a@example.org", "to": ["b@example.test", "c@example.test"]},
        "received": b"Received: from client.example\r\n",
        "body": b"body\r\n",
    }
    (status,) = made.engines
    assert (status.state, status.license, status.in_flight) == (EngineState.UP, "grace", 0)


def test_500_in_flight_answered_in_reverse(engine: StartEngine, pool: StartPool) -> None:
    def script(talk: Conversation) -> None:
        talk.greet()
        messages = [talk.request() for _ in range(500)]
        talk.send(*(accept(one) | {"rule": one["envelope"]["from"]} for one in reversed(messages)))
        talk.wait_for_close()

    made = pool(engine(script))
    scans = [gevent.spawn(made.scan, request(sender=f"s{number}")) for number in range(500)]
    wait_for(lambda: made.in_flight == 500, "500 scans in flight")
    gevent.joinall(scans, raise_error=True)
    assert [scan.get().rule for scan in scans] == [f"s{number}" for number in range(500)]
    assert (made.in_flight, made.verdicts, made.engines[0].in_flight) == (0, 500, 0)


def test_nobody_listens(pool: StartPool, tmp_path: Path) -> None:
    made = pool(f"unix:{tmp_path}/nobody")
    assert "connect failed: No such file" in refuse(made)
    assert made.engines[0].state is EngineState.DOWN
    assert not made.is_up


def test_down_and_up_are_logged_once(
    stack: ExitStack, pool: StartPool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gwsmtp.scan")
    path = tmp_path / "late"
    made = pool(f"unix:{path}")
    for _ in range(3):
        refuse(made)
    stack.callback(FakeEngine(path, accept_all).close)
    wait_for(lambda: made.is_up, "an engine that is up")
    made.scan(request())
    made.scan(request())
    assert [record.getMessage().split()[0] for record in caplog.records] == [
        "event=engine_down",
        "event=engine_up",
    ]


def test_an_engine_that_never_answers_misses_the_deadline(
    engine: StartEngine, pool: StartPool
) -> None:
    def script(talk: Conversation) -> None:
        talk.greet()
        while True:
            talk.request()

    made = pool(engine(script), deadline_s=0.1)
    assert "no answer in time" in refuse(made)
    assert made.is_up, "one late answer does not make an engine down"
    assert "no answer in time" in refuse(made)
    wait_for(lambda: made.engines[0].state is EngineState.DOWN, "the end of a hanging engine")


def test_a_late_answer_and_an_unknown_id_harm_nobody(engine: StartEngine, pool: StartPool) -> None:
    def script(talk: Conversation) -> None:
        talk.greet()
        late = talk.request()
        second = talk.request()
        talk.send(accept(late), accept({"id": 4711}), accept(second))
        accept_rest(talk)

    def accept_rest(talk: Conversation) -> None:
        while True:
            talk.send(accept(talk.request()))

    made = pool(engine(script), deadline_s=0.2)
    refuse(made)
    assert made.scan(request()).action is Action.ACCEPT
    assert made.scan(request()).action is Action.ACCEPT


@pytest.mark.parametrize(
    ("garbage", "cause"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "a map was expected"),
        (b"\x81\xa4type\xa5dance", "unknown message type"),
        (b"\x83\xa4type\xa7verdict\xa2id\x01\xa6action\xa4hold", "unknown action"),
        (b"\xc1", "not msgpack"),
    ],
)
def test_garbage_for_an_answer(
    engine: StartEngine, pool: StartPool, garbage: bytes, cause: str
) -> None:
    def script(talk: Conversation) -> None:
        talk.greet()
        talk.request()
        talk.sock.sendall(garbage)
        talk.wait_for_close()

    said = refuse(pool(engine(script)))
    assert said.count(cause) == 2, f"offered twice, then given up: {said}"


@pytest.mark.parametrize(
    ("hello", "cause"),
    [
        (HELLO | {"version": 2}, "speaks version 2"),
        (HELLO | {"role": "gateway"}, "hello is not one"),
        ({"type": "verdict", "id": 1, "action": "accept"}, "answer before hello"),
    ],
)
def test_a_wrong_hello(
    engine: StartEngine, pool: StartPool, hello: dict[str, Any], cause: str
) -> None:
    def script(talk: Conversation) -> None:
        talk.send(hello)
        talk.wait_for_close()

    assert cause in refuse(pool(engine(script)))


def test_no_hello_at_all(engine: StartEngine, pool: StartPool) -> None:
    assert "no hello in time" in refuse(pool(engine(Conversation.wait_for_close)))


def test_a_second_hello_is_nonsense(engine: StartEngine, pool: StartPool) -> None:
    def script(talk: Conversation) -> None:
        talk.greet()
        talk.request()
        talk.send(HELLO)
        talk.wait_for_close()

    assert "a second hello" in refuse(pool(engine(script)))


def test_a_connection_that_dies_costs_one_more_try(engine: StartEngine, pool: StartPool) -> None:
    connections = iter(range(10))

    def script(talk: Conversation) -> None:
        talk.greet()
        message = talk.request()
        if next(connections):
            talk.send(accept(message))
            talk.wait_for_close()

    made = pool(engine(script))
    assert made.scan(request()).action is Action.ACCEPT
    assert made.failures == 0


def test_a_request_that_kills_twice_is_not_offered_again(
    engine: StartEngine, pool: StartPool
) -> None:
    offered = []

    def script(talk: Conversation) -> None:
        talk.greet()
        offered.append(talk.request())

    said = refuse(pool(engine(script)))
    assert said.count("closed by the peer") == 2
    assert len(offered) == 2


def test_the_other_engine_takes_over(engine: StartEngine, pool: StartPool) -> None:
    def dies(talk: Conversation) -> None:
        talk.greet()
        talk.request()

    good = engine(accept_all)
    made = pool(engine(dies), good)
    wait_for(lambda: all(one.state is EngineState.UP for one in made.engines), "both engines up")
    assert {made.scan(request()).engine for _ in range(4)} == {good}


def test_equal_engines_take_turns(engine: StartEngine, pool: StartPool) -> None:
    addresses = {engine(accept_all), engine(accept_all)}
    made = pool(*addresses)
    wait_for(lambda: all(one.state is EngineState.UP for one in made.engines), "both engines up")
    answered = [made.scan(request()).engine for _ in range(6)]
    assert {address: answered.count(address) for address in addresses} == dict.fromkeys(
        addresses, 3
    )


def test_busy_means_the_next_engine_and_not_down(engine: StartEngine, pool: StartPool) -> None:
    def busy(talk: Conversation) -> None:
        talk.greet()
        while True:
            talk.send({"type": "busy", "id": talk.request()["id"]})

    good = engine(accept_all)
    made = pool(engine(busy), good)
    wait_for(lambda: all(one.state is EngineState.UP for one in made.engines), "both engines up")
    assert {made.scan(request()).engine for _ in range(4)} == {good}
    assert all(one.state is EngineState.UP for one in made.engines)
    alone = pool(engine(busy))
    assert refuse(alone).endswith(": busy")


def test_an_error_on_one_message_is_its_end(engine: StartEngine, pool: StartPool) -> None:
    def script(talk: Conversation) -> None:
        talk.greet()
        talk.send({"type": "error", "id": talk.request()["id"], "reason": "boom"})
        while True:
            talk.send(accept(talk.request()))

    made = pool(engine(script))
    assert refuse(made).endswith("error: boom")
    assert made.scan(request()).action is Action.ACCEPT


def test_a_draining_engine_answers_what_it_has(engine: StartEngine, pool: StartPool) -> None:
    talks: list[Conversation] = []

    def script(talk: Conversation) -> None:
        talk.greet()
        talks.append(talk)
        first = talk.request()
        if len(talks) == 1:
            talk.send({"type": "draining"})
            wait_for(lambda: len(talks) == 2, "a connection to the successor")
        talk.send(accept(first) | {"rule": str(len(talks))})
        talk.wait_for_close()

    made = pool(engine(script))
    first = gevent.spawn(made.scan, request())
    wait_for(lambda: len(talks) == 2, "a connection to the successor")
    assert first.get().rule == "2"
    assert made.scan(request()).action is Action.ACCEPT
    assert made.failures == 0


def test_a_flood_of_answers_is_stopped(engine: StartEngine, pool: StartPool) -> None:
    def script(talk: Conversation) -> None:
        talk.greet()
        talk.request()
        talk.sock.sendall(b"\xdb\x7f\xff\xff\xff")  # a string of 2 GB
        while True:
            talk.sock.sendall(b"x" * 65536)

    assert "message too large" in refuse(pool(engine(script)))


def test_an_engine_that_is_silent_is_pinged_and_left(engine: StartEngine, pool: StartPool) -> None:
    pings = []

    def script(talk: Conversation) -> None:
        talk.greet()
        while True:
            message = talk.receive()
            if message["type"] == "ping":
                pings.append(message)
                if len(pings) < 3:
                    talk.send({"type": "pong", "id": message["id"]})

    made = pool(engine(script))
    wait_for(lambda: made.is_up, "an engine that is up")
    wait_for(lambda: len(pings) >= 3, "three pings")
    wait_for(lambda: not made.is_up, "the end of a connection without pong")
    assert "keep-alive" in refuse(pool(engine(script), timings=QUICK._replace(ping=0.02)))


def test_a_greenlet_that_is_killed_leaves_nothing(engine: StartEngine, pool: StartPool) -> None:
    held: list[dict[str, Any]] = []

    def script(talk: Conversation) -> None:
        talk.greet()
        held.append(talk.request())
        second = talk.request()
        talk.send(accept(held[0]), accept(second))
        talk.wait_for_close()

    made = pool(engine(script))
    scan = gevent.spawn(made.scan, request())
    wait_for(lambda: held, "the request")
    scan.kill()
    assert (made.in_flight, made.engines[0].in_flight) == (0, 0)
    assert made.scan(request()).action is Action.ACCEPT


def test_closing_the_pool_ends_what_is_in_flight(engine: StartEngine, pool: StartPool) -> None:
    def script(talk: Conversation) -> None:
        talk.greet()
        talk.wait_for_close()

    made = pool(engine(script))
    scans = [gevent.spawn(made.scan, request()) for _ in range(3)]
    wait_for(lambda: made.engines[0].in_flight == 3, "three requests in flight")
    made.close()
    for scan in scans:
        with pytest.raises(ScanUnavailable):
            scan.get(timeout=5)


def test_how_long_scans_wait_is_told_by_the_second_longest(
    engine: StartEngine, pool: StartPool
) -> None:
    def silent(talk: Conversation) -> None:
        talk.greet()
        talk.wait_for_close()

    made = pool(engine(silent), deadline_s=0.4)
    wait_for(lambda: made.is_up, "the engine")
    one = gevent.spawn(made.scan, request(b"slow by itself"))
    gevent.sleep(0.05)
    assert made.wait_share() == 0.0
    two = gevent.spawn(made.scan, request(b"has to queue"))
    wait_for(lambda: made.wait_share() >= 0.5, "a wait of half the deadline")
    assert made.in_flight == 2
    gevent.joinall([one, two])
    assert made.wait_share() == 0.0
