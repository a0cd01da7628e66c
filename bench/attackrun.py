"""One run of bench/attack: a gateway, its next hop, good mail, and one attack after the other.

Before each attack the same stretch without it is measured, so that both stand side by side on the
machine as it is then. Everything is bounded in time; leaving ``running`` ends every program.
Blocks.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import spy
from bench.attackers import ATTACKS, source_of
from bench.cpu import busiest_worker, process_cpu_seconds, tree_of
from bench.programs import ROOT, Address, Program, ProgramFailed, start_ready
from bench.tlscli import make_certificate
from gwsmtp.base.clock import SystemClock, pause
from gwsmtp.base.decision import Reason
from gwsmtp.limits import layout
from gwsmtp.limits.admission import live_connections
from gwsmtp.limits.arena import Table, open_table
from gwsmtp.limits.identity import Placement, identify
from gwsmtp.limits.layout import SLOT_COUNT, Client
from gwsmtp.limits.peers import Peers
from gwsmtp.limits.rangelock import OUTSIDER, RangeLock
from gwsmtp.limits.ring import read_decisions
from gwsmtp.limits.slots import DECISION_TOTALS

CALM_S = 20.0
BAN_MS = 3_600_000
STRIKES = 2

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is run; times in seconds, ``rate`` in messages a second."""

    attacks: tuple[str, ...]
    seconds: int
    rest: int
    rate: float
    clients: int
    strength: float
    profile: bool

    @property
    def total_s(self) -> float:
        """How long it takes at most, setting up left out."""
        return len(self.attacks) * (self.seconds + self.rest + CALM_S + 30)


@dataclass
class Message:
    """What became of one good message; see ``bench.goodmail``."""

    number: str
    kind: str
    at: float
    ms: float
    code: int
    text: str
    arrived: int = 0

    @property
    def outcome(self) -> str:
        if 200 <= self.code < 300:
            return "accepted"
        return "refused" if self.code >= 500 else "deferred"


@dataclass
class Round:
    """One attack with the rest before it: times by CLOCK_MONOTONIC, CPU in seconds."""

    name: str
    shedding: bool
    rest_from: float = 0.0
    attack_from: float = 0.0
    attack_to: float = 0.0
    rest_cpu_s: float = 0.0
    attack_cpu_s: float = 0.0
    attacker_cpu_s: float = 0.0
    heard: dict[str, int] = field(default_factory=dict)
    decided: dict[str, int] = field(default_factory=dict)
    actions: dict[str, list[str]] = field(default_factory=dict)
    rest: list[Message] = field(default_factory=list)
    attack: list[Message] = field(default_factory=list)


class Fleet:
    """The gateway, its next hop and good mail, running."""

    def __init__(self, folder: Path, plan: Plan, *, shedding: bool) -> None:
        self.folder = folder
        self.plan = plan
        self.shedding = shedding
        self.programs: list[Program] = []
        self.kept_path = folder / "kept"
        self.fates_path = folder / "fates"

    def start(self) -> None:
        """Starts everything; returns once every clean client has its pass."""
        argv = [sys.executable, "-m", "bench.keeper", "--file", str(self.kept_path)]
        keeper = start_ready("keeper", argv, self.folder, {"PYTHONPATH": str(ROOT)})
        self.programs.append(keeper.program)
        self.gateway, self.plain, self.ssl = self._start_gateway(keeper.address)
        self.table = open_table(self.folder / "gateway/var/run/bench.table")
        self._start_good_mail()

    def _start_gateway(self, hop: Address) -> tuple[Program, Address, Address]:
        home = self.folder / "gateway"
        home.mkdir()
        certificate, key = make_certificate(self.folder, "ecdsa")
        file = home / "gwsmtp.yaml"
        file.write_text(f"""\
interface: {{name: bench}}
server: {{listen: ["127.0.0.1:0"]}}
ssl:
  {{enable_tls: true, enabled: true, listen: ["127.0.0.1:0"],
   certificate_file: "{certificate}", key_file: "{key}"}}
protocol: {{host_domain: gw.example.test}}
relay_protection: {{allowed_sources: []}}
dos_protection: {{kernel_shedding: {str(self.shedding).lower()}}}
organizations:
  - name: root
    domains: [{{name: example.test, smtp_host: "{hop[0]}:{hop[1]}", recipients: callout}}]
workers: {{count: 2}}
paths: {{base: "{home / "var"}"}}
""")
        code = "import sys; from gwsmtp.cli.main import main; sys.exit(main())"
        environment = {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
        argv = [sys.executable, "-c", code, "run", "-c", str(file)]
        started = start_ready("gateway", argv, self.folder, environment)
        self.programs.append(started.program)
        log = started.program.errors_path.read_text().splitlines()
        ready = [line for line in log if "ssl=" in line][-1]
        host, _, port = ready.rpartition("ssl=")[2].split()[0].rpartition(":")
        return started.program, started.address, (host, int(port))

    def _start_good_mail(self) -> None:
        plan = self.plan
        argv = [sys.executable, "-m", "bench.goodmail", "--address", "{}:{}".format(*self.plain)]
        argv += ["--out", str(self.fates_path), "--clients", str(plan.clients)]
        argv += ["--rate", str(plan.rate), "--seconds", str(plan.total_s)]
        environment = {"PYTHONPATH": str(ROOT)}
        self.good = Program("goodmail", argv, self.folder, environment=environment)
        self.programs.append(self.good)
        deadline = time.monotonic() + 60
        while "ready" not in self.good.output_path.read_text():
            if not self.good.is_running() or time.monotonic() > deadline:
                raise self.good.failure("did not become ready")
            pause(0.05)

    def cpu_s(self) -> float:
        """CPU of the gateway's processes so far."""
        total = 0.0
        for process in tree_of(self.gateway.pid):
            try:
                total += process_cpu_seconds(process.pid)
            except ProcessLookupError:
                continue
        return total

    def end(self) -> None:
        """Ends everything, the next hop last."""
        for program in reversed(self.programs):
            program.end()


@contextmanager
def running(plan: Plan, *, shedding: bool) -> Iterator[Fleet]:
    """A fleet that is ended however the block is left."""
    with tempfile.TemporaryDirectory(prefix="gwsmtp-attack-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        fleet = Fleet(folder, plan, shedding=shedding)
        try:
            fleet.start()
            yield fleet
        finally:
            fleet.end()


def decisions(table: Table) -> Counter[str]:
    """Decisions so far, by reason, over all workers; exact."""
    found: Counter[str] = Counter()
    for index in range(SLOT_COUNT):
        first = layout.slot_totals(index) + DECISION_TOTALS
        for reason in Reason:
            if count := table.words[first + reason]:
                found[reason.word] += count
    return found


def ban(table: Table, name: str) -> None:
    """Writes the penalties that the attackers of ``banned`` come with: two strikes each."""
    attack = ATTACKS[name]
    peers, now_ms = Peers(table, Placement(table)), SystemClock().boot_ms()
    with RangeLock(table, OUTSIDER, pause):
        for number in range(attack.sources):
            row = peers.take(identify(source_of(attack, number)).client, now_ms)
            place = layout.client_row(row)
            table.words[place + Client.STRIKES] = STRIKES
            table.words[place + Client.STRIKE_MS] = now_ms
            table.words[place + Client.PENALTY_UNTIL] = now_ms + BAN_MS


def run_attack(fleet: Fleet, name: str, say: Say) -> Round:
    """A rest, then the attack; then waits until the gateway has got rid of it."""
    plan, found = fleet.plan, Round(name, fleet.shedding)
    say(f"{name}: at rest for {plan.rest} s")
    found.rest_from, cpu = time.monotonic(), fleet.cpu_s()
    pause(plan.rest)
    found.rest_cpu_s = fleet.cpu_s() - cpu
    if name == "banned":
        ban(fleet.table, name)
    argv = [sys.executable, "-m", "bench.attackers", name, "--seconds", str(plan.seconds)]
    argv += ["--plain", "{}:{}".format(*fleet.plain), "--ssl", "{}:{}".format(*fleet.ssl)]
    argv += ["--strength", str(plan.strength)]
    program = Program(name, argv, fleet.folder, environment={"PYTHONPATH": str(ROOT)})
    fleet.programs.append(program)
    say(f"{name}: under attack for {plan.seconds} s")
    began_ms, before = SystemClock().boot_ms(), decisions(fleet.table)
    found.attack_from, cpu = time.monotonic(), fleet.cpu_s()
    profiling = start_profile(fleet, name) if plan.profile else None
    deadline = found.attack_from + plan.seconds + 20
    while program.is_running() and time.monotonic() < deadline:
        if not fleet.good.is_running() or not fleet.gateway.is_running():
            raise fleet.gateway.failure("or the stream of good mail has ended")
        pause(0.05)
    found.attack_to = time.monotonic()
    found.attack_cpu_s = fleet.cpu_s() - cpu
    text = program.output_path.read_text()
    if not text:
        raise program.failure("said nothing")
    said: dict[str, Any] = json.loads(text)
    found.attacker_cpu_s, found.heard = said["cpu_s"], said["heard"]
    found.decided = dict(decisions(fleet.table) - before)
    for view in read_decisions(fleet.table):
        if view.at_ms >= began_ms:
            words = found.actions.setdefault(view.reason.word, [])
            if view.action.word not in words:
                words.append(view.action.word)
    if profiling is not None and (complaint := spy.finish_spy(profiling)):
        raise ProgramFailed(f"py-spy: {complaint}")
    calm_down(fleet)
    return found


def start_profile(fleet: Fleet, name: str) -> "subprocess.Popen[bytes]":
    """Samples the busiest worker for the time of the attack."""
    output = profile_path(name)
    output.parent.mkdir(exist_ok=True)
    return spy.start_spy(busiest_worker(fleet.gateway.pid), fleet.plan.seconds, output)


def profile_path(name: str) -> Path:
    """Where an attack's samples go."""
    return ROOT / "bench" / "out" / f"attack-{name}.stacks"


def calm_down(fleet: Fleet) -> None:
    """Until nobody but good clients is connected, for a while at most."""
    deadline = time.monotonic() + CALM_S
    while sum(live_connections(fleet.table)) > 25 and time.monotonic() < deadline:
        pause(0.1)
    pause(0.5)


def settle(fleet: Fleet, rounds: list[Round]) -> list[Message]:
    """Ends the stream, and gives each round its messages, as the next hop has them."""
    os.kill(fleet.good.pid, signal.SIGTERM)
    deadline = time.monotonic() + 40
    while fleet.good.is_running() and time.monotonic() < deadline:
        pause(0.05)
    fleet.table.close()
    kept = Counter(fleet.kept_path.read_text().split())
    messages = []
    for line in fleet.fates_path.read_text().splitlines():
        row = json.loads(line)
        message = Message(row["id"], row["kind"], row["at"], row["ms"], row["code"], row["text"])
        message.arrived = kept[message.number]
        messages.append(message)
    for found in rounds:
        for message in messages:
            if found.rest_from <= message.at < found.attack_from:
                found.rest.append(message)
            elif found.attack_from <= message.at < found.attack_to:
                found.attack.append(message)
    return messages
