"""The queue without a process: what it does with results, and with a disk that fails."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from gwsmtp.base import replies
from gwsmtp.base.clock import SystemClock
from gwsmtp.base.errors import SpoolError
from gwsmtp.base.reply import Reply
from gwsmtp.delivery.attempt import InlineDelivery, Letter, Outcome, Result
from gwsmtp.delivery.queue import DeliveryQueue
from gwsmtp.delivery.route import Route
from gwsmtp.delivery.spooled import SpooledDelivery
from gwsmtp.directory.domains import SmtpHost
from gwsmtp.net.offload import Offload
from gwsmtp.protocol.client import HopReply
from gwsmtp.spool.files import Spool
from gwsmtp.spool.hold import MESSAGES_A_DAY, Hold, HoldReason
from gwsmtp.spool.item import RecipientState
from tests.support.spooled import CONTENT, TRACE, Octets, envelope

PER_HOST = 3
OK = Reply(250, "2.0.0", "taken")
NO = Reply(554, "5.6.0", "no")
Answer = Callable[[Route, Letter], Result]


def result(outcome: Outcome, reply: Reply, **answers: int) -> Result:
    """``answers`` are the codes some recipients got, by local part."""
    found = Result(outcome, reply, "hop:25", "cause")
    for name, code in answers.items():
        where = found.refused if code >= 500 else found.deferred
        where[f"{name}@a.test"] = HopReply(code, [b"said"])
    return found


class Deliveries(InlineDelivery):
    """Answers of a test in place of hosts; ``letters`` is what they got."""

    def __init__(self) -> None:
        self.answer: Answer = lambda route, letter: result(Outcome.DELIVERED, OK)
        self.letters: list[tuple[str, str, tuple[str, ...]]] = []
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def deliver(self, route: Route, letter: Letter, *_: Any) -> Result:
        names = tuple(one.partition("@")[0] for one in letter.recipients)
        self.letters.append((route.key, letter.sender, names))
        self.running[route.key] += 1
        self.most[route.key] = max(self.most[route.key], self.running[route.key])
        try:
            gevent.sleep(0)
            return self.answer(route, letter)
        finally:
            self.running[route.key] -= 1


class Place:
    """A queue over a spool of its own; domains a.test, b.test ... have each their host."""

    def __init__(self, folder: Path) -> None:
        for name in ("queue", "hold"):
            (folder / name).mkdir()
        self.spool = Spool(folder / "queue")
        self.hold = Hold(folder / "hold", self.spool)
        self.hosts = Deliveries()
        self.notes: list[bool] = []
        self.queues: list[DeliveryQueue] = []

    def start(self, *ids: str, give_up_after: float = 3600, pause_s: float = 0.05) -> DeliveryQueue:
        clock, rng = SystemClock(), random.Random(1)
        schedule: Any = (pause_s,)
        delivery = SpooledDelivery(
            self.hosts, clock, rng, schedule, lambda _: "", lambda done, _: self.notes.append(done)
        )
        queue = DeliveryQueue(
            self.spool,
            self.hold,
            delivery,
            Offload("disk", 2, 100),
            clock,
            rng,
            _route_to,
            per_host=PER_HOST,
            give_up_after=give_up_after,
        )
        self.queues.append(queue)
        queue.start()
        for item_id in ids:
            queue.add(item_id)
        return queue

    def put(self, number: int, *recipients: str, received_at: float = 0) -> str:
        one = envelope(number, *recipients, received_at=received_at or time.time())
        return self.spool.put(one, Octets(CONTENT), TRACE)

    def states(self, item_id: str) -> list[RecipientState]:
        with self.spool.open(item_id) as item:
            return [one.state for one in item.envelope.recipients]


def _route_to(address: str) -> Route | None:
    domain = address.partition("@")[2]
    return Route((SmtpHost(domain, 25),)) if domain != "foreign.test" else None


def until(condition: Callable[[], Any], deadline_s: float = 10) -> None:
    """As ``wait_for``, with the loop running."""
    ends_at = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < ends_at, "it does not come true"
        gevent.sleep(0.002)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    one = Place(tmp_path)
    yield one
    for queue in one.queues:
        queue.drain()


def test_an_item_goes_to_each_of_its_hosts(place: Place) -> None:
    queue = place.start(place.put(1, "x@a.test", "y@b.test", "z@a.test"))
    until(lambda: not len(queue))
    assert sorted(place.hosts.letters) == [
        ("a.test:25", "s1@client.example", ("x", "z")),
        ("b.test:25", "s1@client.example", ("y",)),
    ]
    assert place.spool.list() == []
    assert place.notes == [True, True]


def test_only_what_nobody_known_waits_for_loses_its_body(place: Place) -> None:
    """Beyond a client's share of the day headers are enough of mail for unknown mailboxes alone;
    what was for a known one was answered with 250.
    """

    def hidden(number: int, *known: str) -> str:
        one = envelope(number, "unknown@a.test", *known, received_at=time.time())
        one.recipients[0].state = RecipientState.REFUSED
        one.reason = HoldReason.DICTIONARY_ATTACK
        return place.spool.put(one, Octets(CONTENT), TRACE)

    def answer(route: Route, letter: Letter) -> Result:
        is_refused = letter.recipients != ["taken@a.test"]
        return result(Outcome.REFUSED, NO) if is_refused else result(Outcome.DELIVERED, OK)

    place.hosts.answer = answer
    queue = place.start(*(hidden(n, "taken@a.test") for n in range(MESSAGES_A_DAY + 1)))
    until(lambda: not len(queue))
    held = place.hold.list()
    assert {one.reason for one in held} == {HoldReason.DICTIONARY_ATTACK}
    bare = [one.id for one in held if one.envelope.is_headers_only]
    assert (len(held), len(bare)) == (MESSAGES_A_DAY + 1, 1)

    queue.add(hidden(99, "refused@a.test"))
    whole = next(one.id for one in held if one.id not in bare)
    queue.add(place.hold.release(whole, time.time()))
    until(lambda: not len(queue))
    refused = place.hold.list(HoldReason.REFUSED_BY_HOST)
    assert [one.envelope.is_headers_only for one in refused] == [False, False]


def test_who_is_put_off_keeps_nobody_waiting(place: Place) -> None:
    answers = iter(
        [
            result(Outcome.DEFERRED, replies.DELIVERY_MIXED, x=450, y=550),
            result(Outcome.DEFERRED, replies.DELIVERY_MIXED, z=451),
            result(Outcome.DELIVERED, OK),
        ]
    )
    place.hosts.answer = lambda route, letter: next(answers, result(Outcome.DELIVERED, OK))
    queue = place.start(place.put(1, *(f"{name}@a.test" for name in "xyzw")))
    until(lambda: not len(queue))
    asked = [names for _, _, names in place.hosts.letters]
    assert asked[:3] == [("x", "y", "z", "w"), ("z", "w"), ("w",)]
    assert sorted(name for names in asked[3:] for name in names) == ["x", "z"]
    (held,) = place.hold.list(HoldReason.REFUSED_BY_HOST)
    assert [one.state for one in held.envelope.recipients] == [
        RecipientState.DELIVERED,
        RecipientState.REFUSED,
        RecipientState.DELIVERED,
        RecipientState.DELIVERED,
    ]


def test_a_refusal_of_the_message_is_everybodys(place: Place) -> None:
    place.hosts.answer = lambda route, letter: result(Outcome.REFUSED, NO)
    queue = place.start(place.put(1, "x@a.test", "y@a.test"))
    until(lambda: not len(queue))
    (held,) = place.hold.list(HoldReason.REFUSED_BY_HOST)
    assert [one.reply for one in held.envelope.recipients] == ["554 5.6.0 no"] * 2
    assert len(place.hosts.letters) == 1


def test_a_dead_host_costs_others_nothing_and_is_asked_seldom(place: Place) -> None:
    def answer(route: Route, letter: Letter) -> Result:
        if route.key == "a.test:25":
            gevent.sleep(0.2)  # it takes its time to be dead
            return result(Outcome.DEFERRED, replies.DELIVERY_UNAVAILABLE)
        return result(Outcome.DELIVERED, OK)

    place.hosts.answer = answer
    dead = [place.put(n, "x@a.test") for n in range(40)]
    alive = [place.put(n, "x@b.test") for n in range(40, 60)]
    queue = place.start(*dead, *alive, pause_s=60)
    until(lambda: not set(alive) & set(place.spool.list()), 3)
    until(lambda: not place.hosts.running.total())
    asked = [sender for key, sender, _ in place.hosts.letters if key == "a.test:25"]
    assert len(asked) == PER_HOST, "those that were under way when it was found dead"
    assert len(queue) == 40
    assert place.hosts.most["a.test:25"] == PER_HOST
    assert max(place.hosts.most.values()) == PER_HOST  # how many a quick host gets is the disk's


def test_no_host_gets_more_at_a_time_than_its_share(place: Place) -> None:
    def answer(route: Route, letter: Letter) -> Result:
        gevent.sleep(0.02)
        return result(Outcome.DELIVERED, OK)

    place.hosts.answer = answer
    queue = place.start(*(place.put(n, "x@a.test") for n in range(50)))
    until(lambda: not len(queue))
    assert place.hosts.most == {"a.test:25": PER_HOST}
    assert len(place.hosts.letters) == 50


def test_a_result_that_the_disk_does_not_take_is_not_forgotten(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody gets it twice because of a full disk; nothing is tried while it is full."""
    monkeypatch.setattr("gwsmtp.delivery.queue._TROUBLE_S", 0.02)
    real, is_full = Spool.append_state, True

    def append(spool: Spool, item_id: str, lines: Any) -> None:
        if is_full:
            raise SpoolError("no space")
        real(spool, item_id, lines)

    monkeypatch.setattr(Spool, "append_state", append)
    place.hosts.answer = lambda route, letter: (
        result(Outcome.DELIVERED, OK)
        if route.key == "a.test:25"
        else result(Outcome.DEFERRED, replies.DELIVERY_BUSY)
    )
    item_id = place.put(1, "x@a.test", "y@b.test")
    queue = place.start(item_id)
    until(lambda: place.hosts.letters)
    gevent.sleep(0.2)
    assert len(place.hosts.letters) == 1
    is_full = False
    until(lambda: len(place.hosts.letters) >= 3)
    assert [key for key, _, _ in place.hosts.letters].count("a.test:25") == 1
    place.hosts.answer = lambda route, letter: result(Outcome.DELIVERED, OK)
    until(lambda: not len(queue))


def test_what_is_old_is_held_but_never_untried(place: Place) -> None:
    place.hosts.answer = lambda route, letter: result(Outcome.DEFERRED, replies.DELIVERY_BUSY)
    old = place.put(1, "x@a.test", received_at=1.0)
    delivered = place.put(2, "x@b.test", received_at=1.0)
    queue = place.start(old)
    until(lambda: place.hold.list(HoldReason.EXPIRED))
    place.hosts.answer = lambda route, letter: result(Outcome.DELIVERED, OK)
    queue.add(delivered)
    until(lambda: not place.spool.list())
    assert len(place.hold.list()) == 1


def test_a_host_that_changes_its_mind_for_ever_is_left_after_some_tries(place: Place) -> None:
    def answer(route: Route, letter: Letter) -> Result:
        first = letter.recipients[0].partition("@")[0]
        return result(Outcome.DEFERRED, replies.DELIVERY_MIXED, **{first: 450})

    place.hosts.answer = answer
    item_id = place.put(1, *(f"r{n}@a.test" for n in range(9)))
    place.start(item_id, pause_s=60)
    until(lambda: len(place.hosts.letters) >= 4)
    gevent.sleep(0.1)
    assert len(place.hosts.letters) == 4
    with place.spool.open(item_id) as item:
        assert [one.attempts for one in item.envelope.recipients] == [1] * 9


def test_an_item_that_goes_away_or_is_none_stops_nothing(place: Place) -> None:
    (place.spool.root / "bcd-7").write_bytes(b"x")
    queue = place.start("bcd-9", "bcd-7", place.put(1, "x@a.test"))
    until(lambda: not len(queue))
    assert [path.name for path in place.spool.root.iterdir()] == ["bcd-7.bad"]
    assert len(place.hosts.letters) == 1


def test_a_bug_in_one_delivery_is_one_items_trouble(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gwsmtp.delivery.queue._TROUBLE_S", 0.02)

    def answer(route: Route, letter: Letter) -> Result:
        if letter.sender.startswith("s1@") and len(place.hosts.letters) < 6:
            raise RuntimeError("a bug")
        return result(Outcome.DELIVERED, OK)

    place.hosts.answer = answer
    queue = place.start(place.put(1, "x@a.test"), place.put(2, "x@a.test"))
    until(lambda: not len(queue))
    assert place.spool.list() == []


def test_a_drain_finishes_what_runs_and_begins_nothing(place: Place) -> None:
    def answer(route: Route, letter: Letter) -> Result:
        gevent.sleep(0.1)
        return result(Outcome.DELIVERED, OK)

    place.hosts.answer = answer
    ids = [place.put(n, "x@a.test", "y@b.test") for n in range(6)]
    queue = place.start(*ids)
    until(lambda: len(place.hosts.letters) == 2 * PER_HOST)  # half of them go to the other host
    queue.drain()
    assert len(place.hosts.letters) == 2 * PER_HOST
    half = {RecipientState.DELIVERED, RecipientState.PENDING}
    assert [set(place.states(item_id)) for item_id in ids] == [half] * 6
