"""Who may accept, over simulated workers that share a real table."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from gwsmtp.limits.arena import Table, create_table
from gwsmtp.limits.balance import Balance
from gwsmtp.limits.slots import Gauge, Role, SlotState, SlotWriter, claim_slot, free_slot

OWNER = (7, 7)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    yield create_table(tmp_path / "t.table", now_ms=1)


class Worker:
    """A worker reduced to its gauge."""

    def __init__(self, table: Table, number: int, generation: int = 1) -> None:
        self.index = claim_slot(table, Role.WORKER, number, generation, OWNER, 1)
        self.slot = SlotWriter(table, self.index)
        self.slot.set_state(SlotState.READY, 1)
        self.balance = Balance(table, self.index)

    @property
    def sessions(self) -> int:
        return int(self.slot.gauges[Gauge.SESSIONS])

    def take(self, now_s: float = 0.0) -> bool:
        if not self.balance.may_accept(now_s):
            return False
        self.slot.add_gauge(Gauge.SESSIONS, 1)
        return True


def take_all_it_may(worker: Worker, most: int) -> int:
    return sum(worker.take() for _ in range(most))


def test_a_lone_worker_takes_everybody(table: Table) -> None:
    assert take_all_it_may(Worker(table, 0), 500) == 500


@pytest.mark.parametrize("seed", range(50))
def test_twenty_sessions_over_two_are_never_worse_than_13_and_7(table: Table, seed: int) -> None:
    """Whoever wakes first, however often."""
    rng = random.Random(seed)
    pair = [Worker(table, 0), Worker(table, 1)]
    eager = rng.random()
    taken = 0
    while taken < 20:
        taken += pair[rng.random() < eager].take()
    assert max(worker.sessions for worker in pair) <= 13


def test_the_one_with_the_fewest_may_always(table: Table) -> None:
    rng = random.Random(1)
    workers = [Worker(table, number) for number in range(28)]
    for _ in range(2000):
        fewest = min(workers, key=lambda worker: worker.sessions)
        assert fewest.balance.may_accept(0)
        rng.choice(workers).take()
        if rng.random() < 0.3:
            busy = rng.choice(workers)
            busy.slot.add_gauge(Gauge.SESSIONS, -1)
    mean = sum(worker.sessions for worker in workers) / len(workers)
    assert mean > 5


def test_many_sessions_stay_within_a_quarter_of_the_mean(table: Table) -> None:
    workers = [Worker(table, number) for number in range(4)]
    for worker in workers * 400:
        take_all_it_may(worker, 7)
    total = sum(worker.sessions for worker in workers)
    assert max(worker.sessions for worker in workers) <= 1.25 * (total + 1) / 4 + 1


def test_only_ready_workers_of_the_same_generation_count(table: Table) -> None:
    own, other = Worker(table, 0, 2), Worker(table, 0, 1)
    assert take_all_it_may(own, 50) == 50
    sibling = Worker(table, 1, 2)
    sibling.slot.set_state(SlotState.BOOTING, 1)
    assert own.take(1.0)
    sibling.slot.set_state(SlotState.READY, 1)
    assert own.take(1.05), "who the others are is looked up every 100 ms only"
    assert not own.take(1.2)
    sibling.slot.set_state(SlotState.DRAINING, 1)
    assert own.take(1.4)
    assert other.sessions == 0


def test_a_dead_sibling_does_not_hold_us_back(table: Table) -> None:
    own, sibling = Worker(table, 0), Worker(table, 1)
    take_all_it_may(own, 50)
    assert not own.take(0.01)
    free_slot(table, sibling.index)
    assert own.take(0.2)
