"""Dictionary attacks on a running gateway: hidden over workers and reload, nothing good lost."""

import signal

import pytest

from tests.process.conftest import StartGateway, StartNextHop
from tests.support.gateway import Gateway
from tests.support.processes import generation, wait_for_generation
from tests.support.rawclient import RawClient
from tests.support.spooled import hold_of, spool_of
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

HARVESTER = "127.0.0.2"
HIDING = {"exploit_detection": {"hide_addresses": True}}
CONTENT = b"Subject: to whom it may concern\r\n\r\nhello\r\n"


def rcpt(client: RawClient, local: str) -> int:
    return client.command(f"RCPT TO:<{local}@example.test>").code


def harvest(gateway: Gateway, first: int, count: int) -> list[int]:
    """The answers about mailboxes that do not exist, each in a connection of its own."""
    answers = []
    for number in range(first, first + count):
        with RawClient(gateway.address, HARVESTER) as client:
            client.greet()
            client.command("MAIL FROM:<h@client.example>")
            answers.append(rcpt(client, f"nobody{number}"))
            client.quit()
    return answers


def test_hidden_on_every_worker_and_after_a_reload(
    start_gateway: StartGateway, start_next_hop: StartNextHop
) -> None:
    hop = start_next_hop("rcpt:nobody*=550 5.1.1 unknown")
    gateway = start_gateway(hop.address, HIDING, recipients="callout")
    assert harvest(gateway, 1, 3) == [550, 550, 550]
    assert harvest(gateway, 4, 6) == [250] * 6
    number = generation(gateway)
    gateway.signal(signal.SIGHUP)
    wait_for_generation(gateway, number + 1)
    assert harvest(gateway, 10, 2) == [250] * 2


def test_the_good_is_delivered_and_the_rest_is_held(
    start_gateway: StartGateway, start_next_hop: StartNextHop
) -> None:
    hop = start_next_hop("rcpt:nobody*=550 5.1.1 unknown")
    gateway = start_gateway(hop.address, HIDING, recipients="callout")
    harvest(gateway, 1, 3)
    replies = []
    for names in (["good"], ["nobody4"], ["good", "nobody5"]):
        with RawClient(gateway.address, HARVESTER) as client:
            client.greet()
            to = [f"{name}@example.test" for name in names]
            replies.append(client.send_message("h@client.example", to, CONTENT).text)
    assert replies == ["2.0.0 Message accepted"] * 3
    wait_for(lambda: not spool_of(gateway).list(), "the end of all items")
    delivered = [entry["recipients"] for entry in hop.wait_for_entries("message", 2)]
    assert delivered == [["good@example.test"]] * 2
    held = hold_of(gateway).list("dictionary-attack")
    assert len(held) == 2
    assert {r.address for one in held for r in one.envelope.recipients if r.state == "refused"} == {
        "nobody4@example.test",
        "nobody5@example.test",
    }
