"""The table against a plain dictionary: real processes come, go, are killed, recovered and born
again in any order, and after each step every count is the dictionary's.
"""

import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from gwsmtp.base import procid
from gwsmtp.base.clock import SystemClock
from gwsmtp.base.decision import Reason
from gwsmtp.limits import layout
from gwsmtp.limits.admission import live_connections
from gwsmtp.limits.arena import Table, create_table
from gwsmtp.limits.identity import identify
from gwsmtp.limits.layout import (
    CLIENT_TAGS,
    ROLLUP_TAGS,
    Client,
    Rollup,
)
from gwsmtp.limits.ledger import entries
from gwsmtp.limits.policy import Mode, Policy, RatePolicy
from gwsmtp.limits.rate import Rate
from gwsmtp.master.burial import Burial
from tests.limits.crew import CrewMember
from tests.support.tables import SECRET

NOW = 3_600_000
CREW = 3
MOST = (14, 6)
CONCURRENCY = (4, 2)
POLICY = Policy(most=MOST, concurrency=CONCURRENCY, connections=RatePolicy(Rate(60, 50), Mode.OFF))
ADDRESSES = [f"10.{network}.0.{host}" for network in range(3) for host in range(8)]


class Session(NamedTuple):
    """A connection that is in, and where."""

    worker: int
    life: int
    number: int


class Entry(NamedTuple):
    """What the dictionary knows of it."""

    listener: int
    ip: str
    row: int
    network_row: int


def counted(table: Table) -> tuple[Counter[int], Counter[int]]:
    """Live counts by tag: of clients, of networks."""
    words = table.words
    clients, networks = Counter[int](), Counter[int]()
    for row in range(32):  # crew.FewPlaces uses no others
        clients[words[CLIENT_TAGS + row]] += words[layout.client_row(row) + Client.LIVE]
    for row in range(16):
        networks[words[ROLLUP_TAGS + row]] += words[layout.rollup_row(row) + Rollup.LIVE]
    return +clients, +networks


class TableLives(RuleBasedStateMachine):
    """See the module."""

    sessions: Bundle[Session] = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.table = create_table(Path(self.folder.name) / "t.table", now_ms=1, secret=SECRET)
        self.burial = Burial(self.table, procid.own_id(), SystemClock())
        self.crew = [CrewMember(self.table, number, POLICY) for number in range(CREW)]
        self.lives = [0] * CREW
        self.is_dead = [False] * CREW
        self.model: dict[Session, Entry] = {}
        self.now_ms = NOW

    def teardown(self) -> None:
        for member in self.crew:
            member.kill()
        self.table.close()
        self.folder.cleanup()

    @rule(
        target=sessions,
        worker=st.integers(0, CREW - 1),
        listener=st.sampled_from([0, 0, 0, 1]),
        ip=st.sampled_from(ADDRESSES),
        is_exempt=st.sampled_from([False, False, False, True]),
        is_proxied=st.booleans(),
    )
    def enter(self, worker: int, listener: int, ip: str, is_exempt: bool, is_proxied: bool) -> Any:
        if self.is_dead[worker]:
            return multiple()
        self.now_ms += 1
        expected = self.expected(listener, ip, is_exempt)
        answer = self.crew[worker].ask(
            "enter",
            listener=listener,
            ip=ip,
            now_ms=self.now_ms,
            is_exempt=is_exempt,
            is_proxied=is_proxied,
        )
        assert Reason(answer["refused"]) is expected
        if expected:
            return multiple()
        session = Session(worker, self.lives[worker], answer["id"])
        self.model[session] = Entry(listener, ip, answer["row"], answer["network_row"])
        return session

    def expected(self, listener: int, ip: str, is_exempt: bool) -> Reason:
        """What the dictionary says, the dead and unburied included: they still count."""
        entries = self.model.values()
        if sum(entry.listener == listener for entry in entries) >= MOST[listener]:
            return Reason.LISTENER_FULL
        if is_exempt:
            return Reason.NONE
        client, network = identify(ip).client, identify(ip).network
        live_client = sum(e.row >= 0 and identify(e.ip).client == client for e in entries)
        if live_client >= CONCURRENCY[listener]:
            return Reason.CONCURRENCY
        live_network = sum(
            e.network_row >= 0 and identify(e.ip).network == network for e in entries
        )
        if live_network >= 4 * CONCURRENCY[listener]:
            return Reason.NETWORK_CONCURRENCY
        return Reason.NONE

    @rule(session=consumes(sessions))
    def leave(self, session: Session) -> None:
        worker = session.worker
        if session.life != self.lives[worker] or self.is_dead[worker]:
            return
        self.now_ms += 1
        self.crew[worker].ask("leave", number=session.number, now_ms=self.now_ms)
        del self.model[session]

    @rule(worker=st.integers(0, CREW - 1))
    def is_killed(self, worker: int) -> None:
        self.crew[worker].kill()
        self.is_dead[worker] = True

    @rule(worker=st.integers(0, CREW - 1), seed=st.integers(0, 9))
    def is_killed_in_the_middle_of_it(self, worker: int, seed: int) -> None:
        """At a random moment of many admissions."""
        if not self.is_dead[worker]:
            self.crew[worker].tell("burst", seed=seed, now_ms=self.now_ms)
            threading.Event().wait(0.002 + seed * 0.0007)
            self.is_killed(worker)
            self.are_recovered()

    @rule()
    def are_recovered(self) -> None:
        """All that are dead are buried, and successors forked."""
        dead = [worker for worker in range(CREW) if self.is_dead[worker]]
        self.burial.bury([self.crew[worker].slot for worker in dead])
        for session in [session for session in self.model if session.worker in dead]:
            del self.model[session]
        for worker in dead:
            self.crew[worker] = CrewMember(self.table, worker, POLICY)
            self.lives[worker] += 1
            self.is_dead[worker] = False

    @invariant()
    def all_counts_are_the_dictionarys(self) -> None:
        live = Counter(entry.listener for entry in self.model.values())
        assert live_connections(self.table) == (live[0], live[1])
        clients = Counter(identify(e.ip).client for e in self.model.values() if e.row >= 0)
        networks = Counter(
            identify(e.ip).network for e in self.model.values() if e.network_row >= 0
        )
        assert counted(self.table) == (clients, networks)
        for number, member in enumerate(self.crew):
            own = [e for session, e in self.model.items() if session.worker == number]
            expected = sorted((e.listener, e.row, e.network_row) for e in own)
            assert sorted(entries(self.table, member.slot)) == expected


def run_lives(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        TableLives,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.full
def test_the_table_is_the_dictionary() -> None:
    run_lives(15, 40)


@pytest.mark.soak
def test_soak_the_table_is_the_dictionary(soak_seconds: float) -> None:
    ends_at = time.monotonic() + soak_seconds
    while time.monotonic() < ends_at:
        run_lives(10, 60)
