"""Runs of load through systems: interleaved, bounded, and verified.

smtp-source says nothing on success, so its word is not enough: a run counts only when
smtp-source ended with 0 and the next hop counted exactly the messages that were sent; anything
else raises RunFailed, and no figure comes out of it. Every run is bounded in messages and in
time. In each round the systems are run one after another, in an order that changes, so that a
machine that gets slower or faster meanwhile touches all of them alike.

Contract: blocks. Systems live as long as their Fleet; leaving it ends every program, also on an
exception or Ctrl-C.
"""

import os
import resource
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.cpu import machine_busy_seconds, process_cpu_seconds, read_tree
from bench.programs import Program, Sink, Starter, System, find_tool

MODES = {"new": "new session per message", "persistent": "persistent sessions"}
SESSIONS = 20
BODY_OCTETS = 4096
SLOWEST_RATE = 50  # messages per second below which a run is given up
ARRIVAL_SECONDS = 5.0
SENDER = "bench@client.example"
RECIPIENT = "user@example.test"

Tick = Callable[[int], None]


class RunFailed(Exception):
    """A run that must not be reported as a figure."""


@dataclass(frozen=True)
class Load:
    """What smtp-source sends in one run."""

    mode: str
    messages: int
    sessions: int = SESSIONS
    body_octets: int = BODY_OCTETS

    @property
    def deadline_seconds(self) -> float:
        return 20 + self.messages / SLOWEST_RATE


@dataclass(frozen=True)
class Run:
    """One measured run. CPU is in seconds; None where a system's own CPU is not measured."""

    mode: str
    system: str
    round: int
    messages: int
    seconds: float
    gateway_cpu: float | None
    engine_cpu: float | None
    others_cpu: float

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.messages / self.seconds

    @property
    def gateway_us(self) -> float | None:
        """CPU of all gateway processes but the engine, in µs per message."""
        return None if self.gateway_cpu is None else 1e6 * self.gateway_cpu / self.messages

    @property
    def engine_us(self) -> float | None:
        return None if self.engine_cpu is None else 1e6 * self.engine_cpu / self.messages

    @property
    def total_us(self) -> float | None:
        """CPU of gateway and engine together, in µs per message: what the yardstick compares."""
        if self.gateway_us is None or self.engine_us is None:
            return None
        return self.gateway_us + self.engine_us


class Fleet:
    """The next hop and the systems under test, started together and ended together."""

    def __init__(self, starters: dict[str, Starter]) -> None:
        self._starters = starters
        self.folder = Path(tempfile.mkdtemp(prefix="gwsmtp-bench-"))
        self.folder.chmod(0o755)  # programs that drop privileges reach their files in it
        self.systems: dict[str, System] = {}
        self._programs: list[Program] = []
        self.sink: Sink | None = None

    def start(self) -> None:
        self.sink = Sink(self.folder)
        self._programs.append(self.sink.program)
        for name, starter in self._starters.items():
            system = starter(self.sink, self.folder)
            self.systems[name] = system
            if system.program is not self.sink.program:
                self._programs.append(system.program)

    def end(self) -> None:
        """Ends everything, the next hop last, and removes the working folder."""
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not stop this
        try:
            for program in reversed(self._programs):
                program.end()
            shutil.rmtree(self.folder, ignore_errors=True)
        finally:
            signal.signal(signal.SIGINT, before)


@contextmanager
def running(starters: dict[str, Starter]) -> Iterator[Fleet]:
    """A started fleet that is ended however the block is left."""
    fleet = Fleet(starters)
    try:
        fleet.start()
        yield fleet
    finally:
        fleet.end()


def send(sink: Sink, system: System, load: Load, tick: Tick) -> float:
    """Sends one load and verifies that all of it arrived; the seconds it took."""
    before = sink.count()
    argv = [find_tool("smtp-source"), "-s", str(load.sessions), "-l", str(load.body_octets)]
    argv += ["-m", str(load.messages), "-f", SENDER, "-t", RECIPIENT, "-M", "client.example"]
    argv += ["-d"] if load.mode == "persistent" else []
    argv.append("inet:{}:{}".format(*system.address))
    errors_path = sink.program.errors_path.with_name("smtp-source.err")
    with errors_path.open("wb") as errors:
        start = time.monotonic()
        source = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stderr=errors, start_new_session=True
        )
        try:
            wait_for(source, start + load.deadline_seconds, lambda: tick(sink.count() - before))
            seconds = time.monotonic() - start
        finally:
            if source.poll() is None:
                source.kill()
                source.wait()
    words = errors_path.read_text("utf-8", "replace").strip()[-500:]
    where = f"{system.name}, {load.mode}, {load.messages} messages"
    if source.returncode == -signal.SIGKILL:
        raise RunFailed(f"{where}: not done after {load.deadline_seconds:.0f} s")
    if source.returncode != 0:
        raise RunFailed(f"{where}: smtp-source exit {source.returncode}: {words}")
    arrived = wait_for_arrival(sink, before + load.messages) - before
    if arrived != load.messages:
        raise RunFailed(f"{where}: the next hop counted {arrived}")
    tick(load.messages)
    return seconds


def wait_for(process: subprocess.Popen[bytes], deadline: float, tick: Callable[[], None]) -> None:
    """Waits for the end of a process to the microsecond (wait(timeout) would poll)."""
    pidfd = os.pidfd_open(process.pid)
    try:
        while time.monotonic() < deadline:
            if select.select([pidfd], [], [], 0.2)[0]:
                process.wait()
                return
            tick()
    finally:
        os.close(pidfd)


def wait_for_arrival(sink: Sink, expected: int) -> int:
    """The next hop's counter, once it has reached what is expected (or has had time to)."""
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while (count := sink.count()) < expected and time.monotonic() < deadline:
        time.sleep(0.01)
    return count


def measure(fleet: Fleet, name: str, number: int, load: Load, tick: Tick) -> Run:
    """One run with its CPU."""
    sink, system = fleet.sink, fleet.systems[name]
    if sink is None:
        raise RunFailed("the fleet is not running")
    busy, ours = machine_busy_seconds(), bench_cpu_seconds(sink)
    before = read_tree(system.program.pid)
    seconds = send(sink, system, load, tick)
    used = before.spent(read_tree(system.program.pid), grows=system.grows)
    own = used if system.measures_cpu else None
    ours = bench_cpu_seconds(sink) - ours + (used.gateway + used.engine if own else 0.0)
    return Run(
        mode=load.mode,
        system=name,
        round=number,
        messages=load.messages,
        seconds=seconds,
        gateway_cpu=own.gateway if own else None,
        engine_cpu=own.engine if own else None,
        others_cpu=max(0.0, machine_busy_seconds() - busy - ours),
    )


def bench_cpu_seconds(sink: Sink) -> float:
    """CPU of the bench itself: the load (ended children), the next hop, this process."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    sink_seconds = process_cpu_seconds(sink.program.pid)
    return children.ru_utime + children.ru_stime + sink_seconds + time.process_time()


def rounds(
    fleet: Fleet, names: Sequence[str], load: Load, numbers: range, tick: Tick
) -> Iterator[Run]:
    """Measured rounds of all systems, interleaved; a discarded warm-up of each comes first."""
    warm_up = replace(load, messages=max(200, load.messages // 10))
    for name in names:
        measure(fleet, name, -1, warm_up, lambda _done: None)
    for number in numbers:
        for name in order_of(number, names):
            yield measure(fleet, name, number, load, tick)


def order_of(number: int, names: Sequence[str]) -> list[str]:
    """A round's order: rotated from pair to pair, every second one backwards.

    So no system always comes first, and none always follows the same other one.
    """
    turn = number // 2 % len(names)
    turned = [*names[turn:], *names[:turn]]
    return turned[::-1] if number % 2 else turned
