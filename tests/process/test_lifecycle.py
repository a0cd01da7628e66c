"""A real gateway's end, in all its ways, with mail under way; and what its log and its table say of
it afterwards.
"""

import json
import os
import signal
import subprocess
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gwsmtp.limits.slots import Gauge, Role
from tests.process.conftest import StartGateway, StartNextHop
from tests.support.eventlog import events, wait_for_events
from tests.support.gateway import Gateway
from tests.support.nexthop import NextHop
from tests.support.processes import children, wait_for_child, wait_for_closed_port
from tests.support.rawclient import RawClient
from tests.support.running import REPOSITORY
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

CONTENT = b"Subject: hello\r\n\r\nhello\r\n"
BEGINNING, REST = CONTENT[:20], CONTENT[20:] + b".\r\n"
TO = ["user@example.test"]
ONE_WORKER = {"workers": {"count": 1}}


class Clients:
    """Clients in various places of a session; all are closed when the test ends."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def connected(self, gateway: Gateway) -> RawClient:
        """A client that has its greeting to read."""
        return self._stack.enter_context(RawClient(gateway.address))

    def greeted(self, gateway: Gateway) -> RawClient:
        """A client that has said EHLO."""
        client = self.connected(gateway)
        client.greet()
        return client

    def in_transfer(self, gateway: Gateway, sender: str) -> RawClient:
        """A client in the middle of its message's content."""
        client = self.greeted(gateway)
        client.begin_data(sender, TO)
        client.send(BEGINNING)
        return client

    def in_delivery(self, gateway: Gateway, hop: NextHop, sender: str) -> RawClient:
        """A client whose message is with the next hop, dot and all, but not answered."""
        client = self.greeted(gateway)
        seen = len(hop.entries("message"))
        client.begin_data(sender, TO)
        client.send(BEGINNING + REST)
        hop.wait_for_entries("message", seen + 1)
        return client


@pytest.fixture
def clients(running: ExitStack) -> Clients:
    return Clients(running)


def senders(hop: NextHop, event: str = "message") -> list[str]:
    return [entry["sender"] for entry in hop.entries(event)]


def status(gateway: Gateway) -> dict[str, Any]:
    """What ``gwsmtp status --json`` prints."""
    done = subprocess.run(
        [gateway.folder / "gwsmtp", "status", "-c", gateway.config_path, "--json"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        timeout=30,
        check=False,
    )
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_term_drains(
    start_gateway: StartGateway, start_next_hop: StartNextHop, clients: Clients
) -> None:
    """Messages under way are delivered and answered, idle sessions hear 421, nobody new gets in."""
    hop = start_next_hop("end:slow@*=delay 1")
    gateway = start_gateway(hop.address)
    slow = clients.in_delivery(gateway, hop, "slow@client.example")
    transfer = clients.in_transfer(gateway, "transfer@client.example")
    idle, silent = clients.greeted(gateway), clients.connected(gateway)
    silent.read_reply()
    envelope = clients.greeted(gateway)
    assert envelope.command("MAIL FROM:<envelope@client.example>").code == 250

    gateway.signal(signal.SIGTERM)
    for client in (idle, silent):
        assert client.read_reply().raw.startswith(b"421 4.3.2 ")
        assert client.read_to_end() == b""
    wait_for_closed_port(gateway)
    with pytest.raises(ConnectionRefusedError):
        RawClient(gateway.address)
    # A transaction that has begun is gone through with.
    assert envelope.command(f"RCPT TO:<{TO[0]}>").code == 250
    assert envelope.command("DATA").code == 354
    envelope.send(CONTENT + b".\r\n")
    transfer.send(REST)
    for client in (slow, transfer, envelope):
        assert client.read_reply().code == 250
        assert client.read_reply().raw.startswith(b"421 4.3.2 ")
        assert client.read_to_end() == b""
    gateway.wait_for_exit(0)

    expected = ["envelope@client.example", "slow@client.example", "transfer@client.example"]
    assert sorted(senders(hop)) == expected
    assert len(hop.filed()) == 3
    messages = events(gateway, "message")
    assert sorted(line["from"] for line in messages) == [f"<{one}>" for one in expected]
    assert {line["outcome"] for line in messages} == {"accepted"}
    sessions = events(gateway, "session")
    assert [line["reason"] for line in sessions] == ["shutting down"] * 5
    found = status(gateway)
    assert not found["running"]
    assert found["totals"]["sessions"] == 5
    assert found["totals"]["messages_accepted"] == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_stop_at_once(
    start_gateway: StartGateway,
    start_next_hop: StartNextHop,
    clients: Clients,
    number: signal.Signals,
) -> None:
    """Nobody waits for clients; what was not answered is the client's, and nobody saw its dot."""
    hop = start_next_hop()
    gateway = start_gateway(hop.address)
    transfer, idle = (
        clients.in_transfer(gateway, "transfer@client.example"),
        clients.greeted(gateway),
    )
    gateway.signal(number)
    gateway.wait_for_exit(0, deadline_s=6)
    for client in (transfer, idle):
        try:
            assert b"250" not in client.read_to_end()
        except ConnectionResetError:
            pass
    assert senders(hop) == []
    assert hop.filed() == []


def test_drain_ends_after_its_timeout(
    start_gateway: StartGateway, start_next_hop: StartNextHop, clients: Clients
) -> None:
    hop = start_next_hop()
    gateway = start_gateway(hop.address, {"workers": {"drain_timeout": 1}})
    transfer = clients.in_transfer(gateway, "transfer@client.example")
    gateway.signal(signal.SIGTERM)
    gateway.wait_for_exit(0, deadline_s=10)
    assert senders(hop) == []
    transfer.close()


def test_a_worker_killed_in_mid_message(
    start_gateway: StartGateway, start_next_hop: StartNextHop, clients: Clients
) -> None:
    """In transfer: nothing is delivered. With the next hop: at most what it has taken. Then the
    next worker serves.
    """
    hop = start_next_hop("end:slow@*=delay 1")
    gateway = start_gateway(hop.address, ONE_WORKER)
    transfer = clients.in_transfer(gateway, "transfer@client.example")
    slow = clients.in_delivery(gateway, hop, "slow@client.example")
    pid = wait_for_child(gateway, Role.WORKER)
    os.kill(pid, signal.SIGKILL)
    for client in (transfer, slow):
        with pytest.raises((AssertionError, ConnectionResetError)):
            client.read_line()
        client.close()
    wait_for_child(gateway, Role.WORKER, pid)
    with clients.greeted(gateway) as client:
        assert client.send_message("next@client.example", TO, CONTENT).code == 250
        client.quit()
    # RFC 1047: the host had the dot of the slow one, so it has the message; nobody sends it again.
    wait_for(lambda: len(hop.filed()) == 2, lambda: f"two messages, there are {hop.entries()}")
    assert senders(hop) == ["slow@client.example", "next@client.example"]
    (line,) = wait_for_events(gateway, "message", 1)
    assert line["from"] == "<next@client.example>"
    wait_for(lambda: status(gateway)["sessions"] == 0, "no session in the gauges")
    found = status(gateway)
    assert found["totals"]["messages_accepted"] == 1
    assert found["totals"]["sessions"] == 1


def test_workers_killed_one_after_the_other(
    start_gateway: StartGateway, start_next_hop: StartNextHop, clients: Clients
) -> None:
    """A client that tries again until 250 has its message there once, whatever was killed."""
    hop = start_next_hop()
    gateway = start_gateway(hop.address)
    rounds = 3
    for n in range(rounds):
        sender = f"s{n}@client.example"
        client = clients.in_transfer(gateway, sender)
        busy = wait_for(
            lambda: [c for c in children(gateway, Role.WORKER) if c.gauges[Gauge.SESSIONS]],
            "a worker with a session",
        )
        for worker in busy:
            os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises((AssertionError, ConnectionResetError)):
            client.read_line()
        client.close()
        with clients.greeted(gateway) as client:
            assert client.send_message(sender, TO, CONTENT).code == 250
            client.quit()
        wait_for_events(gateway, "message", n + 1)  # a kill loses the lines of its last 0.2 s
    assert senders(hop) == [f"s{n}@client.example" for n in range(rounds)]
    assert len(hop.filed()) == rounds


def test_a_killed_master(
    start_gateway: StartGateway, start_next_hop: StartNextHop, clients: Clients
) -> None:
    """Its children finish what is under way, as after TERM, and vanish."""
    hop = start_next_hop("end:slow@*=delay 1")
    gateway = start_gateway(hop.address)
    slow = clients.in_delivery(gateway, hop, "slow@client.example")
    transfer, idle = (
        clients.in_transfer(gateway, "transfer@client.example"),
        clients.greeted(gateway),
    )
    gateway.signal(signal.SIGKILL)
    assert idle.read_reply().raw.startswith(b"421 4.3.2 ")
    transfer.send(REST)
    for client in (transfer, slow):
        assert client.read_reply().code == 250
        assert client.read_reply().raw.startswith(b"421 4.3.2 ")
        assert client.read_to_end() == b""
    gateway.wait_for_exit(-signal.SIGKILL, children_deadline_s=15)
    assert sorted(senders(hop)) == ["slow@client.example", "transfer@client.example"]
    assert len(hop.filed()) == 2
    assert len(wait_for_events(gateway, "message", 2)) == 2


def test_log_and_table_tell_what_happened(
    start_gateway: StartGateway, start_next_hop: StartNextHop, clients: Clients
) -> None:
    """One line a session, one a message, each once; the totals are their sums."""
    hop = start_next_hop(
        "rcpt:unknown*=550 5.1.1 nobody",
        "end:full@*=452 4.2.2 full",
        "end:never@*=554 5.6.0 never",
        "mail:later@*=450 4.2.1 later",
    )
    gateway = start_gateway(hop.address, recipients="callout")
    virus = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR" + b"-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*\r\n"
    expected: Counter[tuple[str, str]] = Counter()
    octets = 0
    for n in range(4):
        with clients.greeted(gateway) as client:
            for sender, content, outcome in (
                ("good", CONTENT * (n + 1), "accepted"),
                ("full", CONTENT, "deferred"),
                ("never", CONTENT, "rejected"),
                ("later", CONTENT, "deferred"),
                ("virus", virus, "rejected"),
            ):
                client.send_message(f"{sender}@client.example", TO, content)
                expected[f"<{sender}@client.example>", outcome] += 1
                octets += len(content)
            assert client.command("MAIL FROM:<unknown@client.example>").code == 250
            assert client.command("RCPT TO:<unknown@example.test>").code == 550
            assert client.command("RSET").code == 250
            client.quit()
    lost = clients.in_transfer(gateway, "lost@client.example")
    lost.close()
    expected["<lost@client.example>", "lost"] += 1
    with RawClient(gateway.address) as client:
        client.read_reply()
        assert client.command("NONSENSE").code == 500
        client.quit()

    messages = wait_for_events(gateway, "message", 21)
    sessions = wait_for_events(gateway, "session", 6)
    assert Counter((line["from"], line["outcome"]) for line in messages) == expected
    assert len({(line["sid"], line["n"]) for line in messages}) == 21
    assert len({line["sid"] for line in sessions}) == 6
    assert {line["sid"] for line in messages} < {line["sid"] for line in sessions}
    outcomes = Counter(line["outcome"] for line in messages)
    found = status(gateway)
    totals = found["totals"]
    for outcome in ("accepted", "deferred", "rejected", "lost", "discarded"):
        assert totals[f"messages_{outcome}"] == outcomes[outcome], outcome
    assert totals["sessions"] == 6
    assert totals["commands"] == sum(int(line["commands"]) for line in sessions)
    assert totals["command_errors"] == sum(int(line["errors"]) for line in sessions) == 1
    assert totals["octets_in"] == sum(int(line["in"]) for line in sessions)
    assert totals["octets_out"] == sum(int(line["out"]) for line in sessions)
    assert totals["message_octets"] == octets + len(BEGINNING)
    assert totals["scans"] == 20
    assert totals["scans_failed"] == 0
    assert totals["deliveries"] == 16  # the virus was shown to nobody
    assert found["sessions"] == 0
    assert found["running"]


def test_totals_outlive_what_they_count(
    start_gateway: StartGateway, start_next_hop: StartNextHop, clients: Clients, folder: Path
) -> None:
    hop = start_next_hop()
    gateway = start_gateway(hop.address)
    with clients.greeted(gateway) as client:
        assert client.send_message("a@client.example", TO, CONTENT).code == 250
        client.quit()
    wait_for_events(gateway, "session", 1)
    totals = status(gateway)["totals"]
    assert totals["messages_accepted"] == totals["sessions"] == 1
    gateway.stop()
    assert status(gateway)["totals"] == totals
    with Gateway(folder, hop.address) as again:
        assert status(again)["totals"] == totals


def test_every_reply_is_in_the_log(
    start_gateway: StartGateway, start_next_hop: StartNextHop, clients: Clients
) -> None:
    """What the client heard is what the message's line says, word by word."""
    hop = start_next_hop("end:never@*=554 5.6.0 \"never\" = 'no' \\ x")
    gateway = start_gateway(hop.address)
    heard = []
    with clients.greeted(gateway) as client:
        for sender in ("good@client.example", "never@client.example", '"a b"@client.example', ""):
            reply = client.send_message(sender, TO, CONTENT)
            heard.append(reply.raw.decode().rstrip("\r\n"))
        client.quit()
    messages = wait_for_events(gateway, "message", 4)
    assert [line["reply"] for line in messages] == heard
    assert [line["from"] for line in messages] == [
        "<good@client.example>",
        "<never@client.example>",
        '<\\"a\\x20b\\"@client.example>',
        "<>",
    ]
