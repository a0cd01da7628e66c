"""The loads of bench/limits: processes that let connections in and out of one shared table.

Each process opens the table by itself after its fork, as workers do. CPU is the process's own
clock, user and system time. What is measured is exactly what a worker calls: ``try_enter`` and
``try_leave``, and where the lock is taken ``enter`` and ``leave``, which sleep a millisecond.
"""

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gwsmtp.base import procid
from gwsmtp.limits.admission import Admission
from gwsmtp.limits.arena import Table, create_table, open_table
from gwsmtp.limits.identity import Identity, Placement, identify
from gwsmtp.limits.layout import CLIENT_COUNT, CLIENT_TAGS, Client, client_row
from gwsmtp.limits.peers import Peers
from gwsmtp.limits.policy import Mode, Policy
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.limits.slots import Role, claim_slot

_FIRST_MS = 1_000_000
_STEP_MS = 250  # of table time between connections: within all default rates
_WARM = 200
_CLIENTS = 10_000  # more than a process remembers the places of
_FULL = 0.99
_POLICY = Policy(most=(100_000, 100_000), concurrency_mode=Mode.OFF)


@dataclass(frozen=True)
class Pair:
    """Admission and release as one process did them: CPU µs each, how often in all, waits."""

    cpu_us: float
    rate: float
    waits: int


@dataclass(frozen=True)
class Flood:
    """Memory of a process, in KiB, when the table is full and at the end; see ``flood``."""

    full_kib: int
    end_kib: int
    rows: int
    is_pass_admitted: bool


@dataclass(frozen=True)
class LookUp:
    """µs each in a full table."""

    found_us: float
    missed_us: float
    newcomer_us: float


class Worker:
    """A door of its own over the table at ``path``."""

    def __init__(self, path: Path, slot: int) -> None:
        self.table = open_table(path)
        self.lock = RangeLock(self.table, slot, time.sleep)
        self.peers = Peers(self.table, Placement(self.table))
        self.door = Admission(self.table, slot, self.lock, self.peers, _POLICY)

    def once(self, identity: Identity, now_ms: int) -> bool:
        """One connection in and out; whether it was let in."""
        verdict = self.door.try_enter(0, identity, now_ms)
        if verdict is None:
            verdict = self.door.enter(0, identity, now_ms)
        if not self.door.try_leave(verdict, now_ms):
            self.door.leave(verdict, now_ms)
        return not verdict.refused

    def run(self, clients: list[Identity], count: int, now_ms: int) -> None:
        """``count`` connections of the clients in turn."""
        for number in range(count):
            now_ms += _STEP_MS
            self.once(clients[number % len(clients)], now_ms)


def new_table(folder: Path) -> Path:
    """An empty table with a slot for each of 63 workers."""
    path = folder / f"bench-{time.monotonic_ns()}.table"
    table = create_table(path, now_ms=1, secret=random.Random(1).randbytes(16))
    for number in range(63):
        claim_slot(table, Role.WORKER, number, 1, procid.own_id(), 1)
    table.close()
    return path


def clients_of(worker: int, kind: str) -> list[Identity]:
    """One address for all workers, or many of each worker's own."""
    if kind == "same":
        return [identify("192.0.2.1")]
    return [identify(f"10.{worker}.{n % 250}.{n // 250}") for n in range(_CLIENTS)]


def pairs(folder: Path, processes: int, kind: str, count: int) -> list[Pair]:
    """Each of the processes lets ``count`` connections in and out, all at once."""
    path = new_table(folder)
    start_read, start_write = os.pipe()

    def work(number: int) -> str:
        worker, clients = Worker(path, number), clients_of(number, kind)
        worker.run(clients, max(_WARM, len(clients)), _FIRST_MS)
        worker.lock.waits = 0
        os.read(start_read, 1)
        cpu, wall = time.process_time_ns(), time.monotonic_ns()
        worker.run(clients, count, 10 * _FIRST_MS)
        cpu, wall = time.process_time_ns() - cpu, time.monotonic_ns() - wall
        return f"{cpu / count / 1000} {count * 1e9 / wall} {worker.lock.waits}"

    results = [_forked(work, number) for number in range(processes)]
    os.write(start_write, bytes(processes))
    texts = [result() for result in results]
    os.close(start_read)
    os.close(start_write)
    path.unlink()
    split = [text.split() for text in texts]
    return [Pair(float(cpu), float(rate), int(waits)) for cpu, rate, waits in split]


def _forked(work: Callable[[int], str], number: int) -> Callable[[], str]:
    """Runs ``work(number)`` in a process of its own; the answer waits for its text."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.write(write_end, work(number).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(write_end)

    def answer() -> str:
        with os.fdopen(read_end) as file:
            text = file.read()
        if os.waitpid(pid, 0)[1]:
            raise RuntimeError(f"process {number} of the bench failed")
        return text

    return answer


def flood(folder: Path, sources: int) -> Flood:
    """Random IPv6 clients come and go, each once, in a process of its own. ``full_kib`` is taken
    after a quarter of them; a client with a pass, who came before all, comes again at the end.
    """
    path = new_table(folder)

    def work(number: int) -> str:
        rng, worker = random.Random(1), Worker(path, number)
        friend, now_ms = identify("2001:db8::1"), _FIRST_MS
        worker.once(friend, now_ms)
        place = client_row(worker.peers.find(friend.client))
        worker.table.words[place + Client.PASS_UNTIL] = now_ms + 30 * 86_400_000
        full = 0
        for step in range(sources):
            now_ms += 1
            prefix = 0x2A00 << 48 | rng.getrandbits(48)
            worker.once(Identity(prefix, prefix & ~0xFFFF), now_ms)
            if step == sources // 4:
                full = resident_kib()
        end, has_row = resident_kib(), worker.peers.find(friend.client) >= 0
        is_let_in = worker.once(friend, now_ms)
        return f"{full} {end} {used_rows(worker.table)} {int(is_let_in and has_row)}"

    full, end, rows, is_admitted = map(int, _forked(work, 0)().split())
    path.unlink()
    return Flood(full, end, rows, bool(is_admitted))


def look_up(folder: Path, count: int) -> LookUp:
    """How long it takes to find, to miss and to put somebody out when no row is free."""
    path = new_table(folder)

    def work(number: int) -> str:
        rng, worker = random.Random(2), Worker(path, number)
        peers = worker.peers
        while used_rows(worker.table) < _FULL * CLIENT_COUNT:
            for _ in range(CLIENT_COUNT):
                peers.take(0x2A00 << 48 | rng.getrandbits(48), _FIRST_MS)
        tags = worker.table.words[CLIENT_TAGS : CLIENT_TAGS + CLIENT_COUNT].tolist()
        known = rng.choices([tag for tag in tags if tag], k=count)
        unknown = [0x2B00 << 48 | rng.getrandbits(48) for _ in range(count)]
        newcomers = [Identity(tag, tag & ~0xFFFF) for tag in unknown]
        found = _timed(lambda: [peers.find(tag) for tag in known])
        missed = _timed(lambda: [peers.find(tag) for tag in unknown])
        entered = _timed(lambda: [worker.once(who, 2 * _FIRST_MS) for who in newcomers])
        return " ".join(str(us / count) for us in (found, missed, entered))

    found, missed, newcomer = map(float, _forked(work, 0)().split())
    path.unlink()
    return LookUp(found, missed, newcomer)


def _timed(act: Callable[[], object]) -> float:
    """CPU µs of a call."""
    before = time.process_time_ns()
    act()
    return (time.process_time_ns() - before) / 1000


def used_rows(table: Table) -> int:
    """Client rows that belong to somebody."""
    return sum(map(bool, table.words[CLIENT_TAGS : CLIENT_TAGS + CLIENT_COUNT].tolist()))


def resident_kib() -> int:
    """Resident memory of this process, shared pages of the table included."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024
