"""Offences, the ladder and rates on a running gateway with two workers."""

import socket
import time
from collections.abc import Callable

import pytest

from gwsmtp.base.decision import Action, Reason
from gwsmtp.limits.ring import DecisionView, read_decisions
from tests.process.conftest import StartGateway, StartNextHop
from tests.support.gateway import Gateway
from tests.support.processes import live, table_of
from tests.support.rawclient import RawClient
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

ACTING = {"dos_protection": {"enabled": True}}
# A ban without the delays on the way to it
BANNING = {"dos_protection": {"enabled": True, "offences": {"delay_at": 40, "restrict_at": 40}}}
CLEAN = "127.0.0.9"


def decisions(gateway: Gateway, client: str) -> list[DecisionView]:
    with table_of(gateway) as table:
        return [view for view in read_decisions(table) if view.client == client]


def misbehave(gateway: Gateway, source: str, octets: bytes, times: int) -> None:
    for _ in range(times):
        with RawClient(gateway.address, source) as client:
            if client.read_reply().code != 220:
                return
            client.send(octets)
            client.read_to_end()
        wait_for(lambda: live(gateway)[0] == 0, "the end of the connection")


def limits(**modes: dict[str, object]) -> dict[str, object]:
    return {"dos_protection": {"enabled": True, "limits": modes}}


@pytest.mark.parametrize(
    "octets", [b"GET / HTTP/1.1\r\n", bytes.fromhex("160301020001fc0303") + bytes(200)]
)
def test_foreign_protocols_lead_to_a_ban_of_the_client_alone(
    start_gateway: StartGateway, octets: bytes
) -> None:
    gateway = start_gateway("127.0.0.1:1", BANNING)
    misbehave(gateway, "127.0.0.2", octets, 2)
    with RawClient(gateway.address, "127.0.0.2") as banned:
        reply = banned.read_reply()
        assert (reply.code, reply.text[:5]) == (421, "4.7.0")
        assert banned.read_to_end() == b""
    found = decisions(gateway, "127.0.0.2")
    assert (found[-1].reason, found[-1].action) == (Reason.PENALTY, Action.REFUSED)
    assert 590 <= found[-1].counter <= 600  # seconds of the first ban that are left
    assert f"[{found[-1].session_id}]" in reply.text
    assert Action.BANNED in {view.action for view in found if view.reason is Reason.SCORE}
    with RawClient(gateway.address, CLEAN) as other:
        assert other.read_reply().code == 220


def test_switched_off_everything_is_counted_and_nothing_comes_of_it(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway("127.0.0.1:1")
    misbehave(gateway, "127.0.0.2", b"GET / HTTP/1.1\r\n", 3)
    with RawClient(gateway.address, "127.0.0.2") as client:
        assert client.read_reply().code == 220
    wait_for(
        lambda: (
            (Reason.PENALTY, Action.WOULD_REFUSE)
            in [(view.reason, view.action) for view in decisions(gateway, "127.0.0.2")]
        ),
        "what would have been refused",
    )


def test_a_score_delays_replies_then_ends_the_session(start_gateway: StartGateway) -> None:
    gateway = start_gateway("127.0.0.1:1", ACTING)
    with RawClient(gateway.address, "127.0.0.2") as client:
        client.read_reply()
        for _ in range(4):
            assert client.command(b"NONSENSE").code == 500  # 2 points each
        began = time.monotonic()
        assert client.command(b"NONSENSE").code == 500
        assert 1.0 <= time.monotonic() - began < 5
    misbehave(gateway, "127.0.0.2", b"GET / HTTP/1.1\r\n", 1)  # 30
    with RawClient(gateway.address, "127.0.0.2") as client:
        assert client.read_reply().code == 220
        with RawClient(gateway.address, "127.0.0.2") as second:  # one at a time is left
            assert second.read_reply().code == 421
    wait_for(lambda: live(gateway)[0] == 0, "the end of the connection")
    misbehave(gateway, "127.0.0.2", b"GET / HTTP/1.1\r\n", 1)
    with RawClient(gateway.address, "127.0.0.2") as client:
        assert client.read_reply().code == 421
    assert Reason.RESTRICTED in {view.reason for view in decisions(gateway, "127.0.0.2")}


def test_who_talks_before_the_greeting_is_noticed(start_gateway: StartGateway) -> None:
    gateway = start_gateway("127.0.0.1:1", ACTING)
    host, _, port = gateway.address.rpartition(":")
    for _ in range(20):  # whether the octets are there before the worker looks is the kernel's word
        with socket.create_connection((host, int(port)), 10, ("127.0.0.2", 0)) as sock:
            sock.sendall(b"EHLO early.example\r\nQUIT\r\n")
            sock.settimeout(20)
            while sock.recv(4096):
                pass
        if decisions(gateway, "127.0.0.2"):
            break
    actions = {view.action for view in decisions(gateway, "127.0.0.2")}
    assert actions & {Action.DELAYED, Action.BANNED, Action.REFUSED}


Step = Callable[[RawClient], int]


def mail(client: RawClient) -> int:
    client.command(b"RSET")
    return client.command(b"MAIL FROM:<a@b.example>").code


def rcpt(client: RawClient) -> int:
    return client.command(b"RCPT TO:<a@example.test>").code


@pytest.mark.parametrize(
    ("name", "reason", "step"),
    [("messages", Reason.MESSAGE_RATE, mail), ("recipients", Reason.RECIPIENT_RATE, rcpt)],
)
def test_a_rate_refuses_beyond_its_burst(
    start_gateway: StartGateway, start_next_hop: StartNextHop, name: str, reason: Reason, step: Step
) -> None:
    limit = {"limit": 1, "burst": 5, "mode": "enforce"}
    gateway = start_gateway(start_next_hop().address, limits(**{name: limit}))
    with RawClient(gateway.address, "127.0.0.2") as client:
        client.greet()
        if step is rcpt:
            mail(client)
        assert [step(client) for _ in range(7)] == [250] * 5 + [450] * 2
    (decision, *_) = decisions(gateway, "127.0.0.2")
    assert (decision.reason, decision.action) == (reason, Action.REFUSED)
    with RawClient(gateway.address, "127.0.0.2") as client:  # wherever it comes again
        client.greet()
        if step is rcpt:
            assert mail(client) == 450
        else:
            assert step(client) == 450


def test_connections_of_a_client_are_limited_and_others_are_not(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway("127.0.0.1:1", limits(concurrency={"limit": 3, "mode": "enforce"}))
    held = [RawClient(gateway.address, "127.0.0.2") for _ in range(3)]
    try:
        assert [client.read_reply().code for client in held] == [220] * 3
        with RawClient(gateway.address, "127.0.0.2") as fourth:
            reply = fourth.read_reply()
            assert (reply.code, reply.text[:5]) == (421, "4.7.0")
        with RawClient(gateway.address, CLEAN) as other:
            assert other.read_reply().code == 220
    finally:
        for client in held:
            client.close()
