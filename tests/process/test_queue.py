"""The queue process: what is spooled arrives, whatever happens to it on the way."""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gwsmtp.limits.slots import Role
from gwsmtp.spool.hold import HoldReason
from gwsmtp.spool.item import RecipientState
from tests.process.conftest import StartGateway, StartNextHop
from tests.support.gateway import Gateway, merged
from tests.support.nexthop import NextHop
from tests.support.processes import children, wait_for_child, wait_for_generation
from tests.support.running import REPOSITORY
from tests.support.spooled import CONTENT, TRACE, envelope, hold_of, put, senders, spool_of
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

QUICK = {
    "delivery": {"schedule": [1]},
    "protocol": {
        "server_connection_timeout": 1,
        "server_protocol_timeout": 1,
        "server_data_timeout": 1,
    },
    "workers": {"count": 1},
}
PATIENCE_S = 30


def now(number: int, *recipients: str) -> Any:
    return envelope(number, *recipients, received_at=time.time())


def is_empty(gateway: Gateway) -> bool:
    """Whether nothing is queued."""
    return not spool_of(gateway).list()


def wait_until_empty(gateway: Gateway, deadline_s: float = PATIENCE_S) -> None:
    wait_for(
        lambda: is_empty(gateway),
        lambda: f"an empty queue, there are {spool_of(gateway).list()}\n{gateway.log_tail()}",
        deadline_s,
    )


def filed(hop: NextHop) -> Counter[str]:
    """How often the next hop has taken responsibility for each sender's message."""
    last: dict[int, str] = {}
    found: Counter[str] = Counter()
    for entry in hop.entries():
        if entry["event"] == "message":
            last[entry["session"]] = entry["sender"]
        elif entry["event"] == "filed":
            found[last[entry["session"]]] += 1
    return found


def gwsmtp(gateway: Gateway, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*arguments[:2], "-c", str(gateway.config_path), *arguments[2:]]
    return subprocess.run(
        [gateway.folder / "gwsmtp", *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


def test_a_spooled_message_arrives_and_is_forgotten(
    start_gateway: StartGateway, start_next_hop: StartNextHop
) -> None:
    hop = start_next_hop()
    gateway = start_gateway(hop.address, QUICK)
    put(gateway, now(1, "user@example.test", "other@example.test"))
    (entry,) = hop.wait_for_entries("message")
    assert entry["sender"] == "s1@client.example"
    assert entry["recipients"] == ["user@example.test", "other@example.test"]
    hop.wait_for_entries("filed")
    assert hop.filed() == [TRACE + CONTENT]
    wait_until_empty(gateway)
    gateway.wait_for_log("event=queue_delivered")

    large = CONTENT + b"x" * 998 + b"\r\n" * 500_000
    put(gateway, now(2), large, ring=False)  # nobody rings: it is found all the same
    hop.wait_for_entries("filed", 2, PATIENCE_S)
    assert hop.filed()[1] == TRACE + large
    wait_until_empty(gateway)


def test_each_recipient_gets_what_its_host_says(
    start_gateway: StartGateway, start_next_hop: StartNextHop
) -> None:
    """Taken at once, though others are put off or refused; what is refused is held, and can be
    released when the host has changed its mind.
    """
    hop = start_next_hop("rcpt:full*#1-2=452 4.2.2 full", "rcpt:no*=550 5.1.1 unknown")
    gateway = start_gateway(hop.address, QUICK)
    put(gateway, now(1, *(f"{name}@example.test" for name in ("full", "yes", "no", "too"))))
    first, second = hop.wait_for_entries("message", 2, PATIENCE_S)
    assert first["recipients"] == ["yes@example.test", "too@example.test"]
    assert second["recipients"] == ["full@example.test"]
    wait_until_empty(gateway)
    (held,) = hold_of(gateway).list(HoldReason.REFUSED_BY_HOST)
    states = [one.state for one in held.envelope.recipients]
    assert states.count(RecipientState.DELIVERED) == 3
    assert held.envelope.recipients[2].reply == "550 5.1.1 unknown"

    hop.misbehave()
    shown = gwsmtp(gateway, "hold", "release", held.id)
    assert shown.returncode == 0, shown.stderr
    assert hop.wait_for_entries("message", 3)[2]["recipients"] == ["no@example.test"]
    wait_until_empty(gateway)
    assert hold_of(gateway).list() == []


def test_a_host_that_is_down_is_left_alone_and_found_again(
    start_gateway: StartGateway, start_next_hop: StartNextHop
) -> None:
    hop = start_next_hop()
    gateway = start_gateway(hop.address, QUICK)
    hop.stop()
    for number in range(30):
        put(gateway, now(number))
    gateway.wait_for_log("event=queue_deferred")
    (gateway.base / "private/queue/bcd-99").write_bytes(b"no item")
    hop.start()
    hop.wait_for_entries("filed", 30, PATIENCE_S)
    wait_until_empty(gateway)
    assert set(filed(hop).values()) == {1}
    gateway.wait_for_log("event=queue_damaged")
    assert (gateway.base / "private/queue/bcd-99.bad").exists()
    tries = [line for line in gateway.log_lines() if "event=queue_deferred" in line]
    assert len(tries) < 30, "each of them was tried on a host known to be down"


def test_what_nobody_takes_is_held_in_the_end(
    start_gateway: StartGateway, start_next_hop: StartNextHop
) -> None:
    hop = start_next_hop("mail=451 4.3.0 later")
    gateway = start_gateway(hop.address, QUICK)
    put(gateway, envelope(1, "user@example.test", received_at=time.time() - 10 * 86_400))
    put(gateway, now(2, "user@foreign.test"))
    (held,) = wait_for(lambda: hold_of(gateway).list(HoldReason.EXPIRED), "a held message")
    assert held.envelope.recipients[0].reply.startswith("451 4.3.0")
    (waiting,) = spool_of(gateway).list()
    wait_for(lambda: first_recipient(gateway, waiting).attempts, "a try for the other")
    assert first_recipient(gateway, waiting).reply == "the domain is not hosted here"


def first_recipient(gateway: Gateway, item_id: str) -> Any:
    with spool_of(gateway).open(item_id) as item:
        return item.envelope.recipients[0]


def test_when_to_try_again_survives_a_restart_and_a_wrong_clock(
    start_gateway: StartGateway, start_next_hop: StartNextHop
) -> None:
    hop = start_next_hop("rcpt:*#1=451 4.3.0 later")
    settings = merged(QUICK, {"delivery": {"schedule": [4]}})
    gateway = start_gateway(hop.address, settings)
    item_id = put(gateway, now(1))
    gateway.wait_for_log("event=queue_deferred")
    due = first_recipient(gateway, item_id).next_at
    os.kill(wait_for_child(gateway, Role.QUEUE), signal.SIGKILL)
    hop.wait_for_entries("filed", 1, PATIENCE_S)
    assert time.time() > due - 0.1, "it was not forgotten how long to wait"

    hop.misbehave()
    from gwsmtp.spool.item import Mark, StateLine

    far = time.time() + 10 * 365 * 86_400
    item_id = put(gateway, now(2), ring=False)
    line = StateLine(far, Mark.DEFERRED, (0,), far + 4, "hop", "written by a clock in the future")
    spool_of(gateway).append_state(item_id, [line])
    hop.wait_for_entries("filed", 2, PATIENCE_S)


def test_killed_at_any_moment_it_loses_nothing(
    start_gateway: StartGateway, start_next_hop: StartNextHop
) -> None:
    rng, kills = random.Random(7), 6
    stages = ("rset", "mail", "rcpt", "data", "body", "end")
    actions = ("450 4.2.1 not now", "421 4.3.2 closing", "close", "reset")
    places = iter(range(3, 1000, 2))
    rules = [f"{stage}#{next(places)}={action}" for action in actions for stage in stages]
    lost_replies = ["filed#20=close", "filed#60=reset"]
    hop = start_next_hop(*rules, *lost_replies)
    gateway = start_gateway(hop.address, merged(QUICK, {"delivery": {"max_connections": 32}}))
    pid = 0
    for kill in range(kills + 1):
        for number in range(200 * kill // (kills + 1), 200 * (kill + 1) // (kills + 1)):
            put(gateway, now(number), ring=rng.random() < 0.5)
        pid = wait_for_child(gateway, Role.QUEUE, pid)
        if kill < kills:
            wanted = len(hop.entries("message")) + rng.randint(1, 20)
            wait_for(  # a quick queue may have nothing more to do
                lambda wanted=wanted: (  # type: ignore[misc]
                    len(hop.entries("message")) >= wanted or is_empty(gateway)
                ),
                lambda: f"more messages\n{gateway.log_tail()}",
                PATIENCE_S,
            )
            os.kill(pid, signal.SIGKILL)
    wait_until_empty(gateway, 60)
    found = filed(hop)
    assert set(found) == {f"s{number}@client.example" for number in range(200)}
    doubled = sum(count - 1 for count in found.values())
    print(f"\n{kills} kills, {doubled} of 200 filed twice, {len(hop.entries('message'))} dots")
    share = 32 // 8
    assert doubled <= kills * share + len(lost_replies), found.most_common(40)
    assert hold_of(gateway).list() == []


def test_two_generations_never_deliver_the_same(
    start_gateway: StartGateway, start_next_hop: StartNextHop
) -> None:
    """Reloads while the old queue waits for final replies, which take their time."""
    hop = start_next_hop("end=delay 0.3")
    gateway = start_gateway(hop.address, merged(QUICK, {"delivery": {"max_connections": 32}}))
    number = 0
    for generation in (2, 3, 4):
        for _ in range(10):
            put(gateway, now(number))
            number += 1
        gateway.signal(signal.SIGHUP)
        for _ in range(10):
            put(gateway, now(number))
            number += 1
        wait_for_generation(gateway, generation)
    wait_until_empty(gateway)
    assert filed(hop) == {f"s{n}@client.example": 1 for n in range(number)}
    assert len(hop.entries("message")) == number
    wait_for(
        lambda: [one.generation for one in children(gateway, Role.QUEUE, are_ready=False)] == [4],
        "the last queue alone",
    )


def test_a_stop_lets_it_finish_what_it_has_begun(
    start_gateway: StartGateway, start_next_hop: StartNextHop
) -> None:
    hop = start_next_hop("end=delay 1")
    gateway = start_gateway(hop.address, QUICK)
    for number in range(4):
        put(gateway, now(number))
    hop.wait_for_entries("message", 2)
    gateway.stop()
    delivered = filed(hop)
    assert delivered and set(delivered.values()) == {1}
    left = {spool_of(gateway).open(item_id).envelope.sender for item_id in spool_of(gateway).list()}
    assert left == {f"s{n}@client.example" for n in range(4)} - set(delivered)
    assert not (gateway.base / "run/test.queue.sock").exists()

    hop.misbehave()
    gateway.start()
    wait_until_empty(gateway)
    assert sorted(senders(hop.entries("message"))) == [f"s{n}@client.example" for n in range(4)]


def test_the_master_killed_leaves_the_queue_to_the_next_one(
    folder: Path, start_gateway: StartGateway, start_next_hop: StartNextHop
) -> None:
    hop = start_next_hop("end#1=delay 2")
    gateway = start_gateway(hop.address, QUICK)
    put(gateway, now(1))
    hop.wait_for_entries("message", 1)
    gateway.signal(signal.SIGKILL)
    gateway.wait_for_exit(-signal.SIGKILL, children_deadline_s=20)
    gateway.start()
    put(gateway, now(2))
    wait_until_empty(gateway)
    assert set(filed(hop).values()) == {1}
