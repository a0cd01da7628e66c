"""A host is asked once about a recipient, whoever asks: over workers, their deaths, reloads and a
restart that finds nothing but the snapshot.
"""

import os
import signal

import pytest

from gwsmtp.limits.slots import Role
from tests.process.conftest import StartGateway, StartNextHop
from tests.support.gateway import Gateway
from tests.support.nexthop import NextHop
from tests.support.processes import children, wait_for_generation
from tests.support.rawclient import RawClient
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

KNOWN, UNKNOWN = "user@example.test", "nobody@example.test"


def ask(gateway: Gateway, sessions: int = 8) -> None:
    """Both recipients in so many sessions at one time, which all workers share."""
    clients = [RawClient(gateway.address) for _ in range(sessions)]
    try:
        for client in clients:
            client.greet()
        for client in clients:
            assert client.command("MAIL FROM:<a@client.example>").code == 250
            assert client.command(f"RCPT TO:<{KNOWN}>").code == 250
            assert client.command(f"RCPT TO:<{UNKNOWN}>").code == 550
    finally:
        for client in clients:
            client.close()


def asked(hop: NextHop) -> list[str]:
    lines = [entry["line"] for entry in hop.entries("command")]
    return [line for line in lines if line.startswith("RCPT")]


def test_a_host_is_asked_once(start_gateway: StartGateway, start_next_hop: StartNextHop) -> None:
    hop = start_next_hop("rcpt:nobody@*=550 5.1.1 nobody here")
    other = start_next_hop(name="other")
    gateway = start_gateway(hop.address, recipients="callout")
    once = [f"RCPT TO:<{KNOWN}>", f"RCPT TO:<{UNKNOWN}>"]
    ask(gateway)
    assert asked(hop) == once
    old = {child.pid for child in children(gateway, Role.WORKER)}
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len({c.pid for c in children(gateway, Role.WORKER)} - old) == 2, "new workers")
    ask(gateway)
    gateway.signal(signal.SIGHUP)
    wait_for_generation(gateway, 2)
    ask(gateway)
    gateway.stop()
    for table in gateway.base.rglob("*.table"):
        table.unlink()
    gateway.start()
    assert "event=snapshot_loaded" in gateway.log_tail()
    ask(gateway)
    assert asked(hop) == once
    # Another host is another's word.
    domain = {"name": "example.test", "smtp_host": other.address, "recipients": "callout"}
    gateway.configure({"organizations": [{"name": "root", "domains": [domain]}]})
    gateway.signal(signal.SIGHUP)
    wait_for_generation(gateway, 2)
    with RawClient(gateway.address) as client:
        client.greet()
        assert client.command("MAIL FROM:<a@client.example>").code == 250
        assert client.command(f"RCPT TO:<{UNKNOWN}>").code == 250
    assert asked(other) == [f"RCPT TO:<{UNKNOWN}>"]
