"""bench/tls: handshakes and messages a second over TLS, beside Postfix with the same certificate.

Both systems run at once and are loaded in turn, round by round; ratios are taken inside a round.
CPU is the operating system's accounting of the whole tree, the scan engine included. The load runs
on the same processors: where it needs more than the server, the rate is the load's own, and the
ratio of CPU says what each server could do.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench.cpu import process_cpu_seconds, tree_of
from bench.postfix import Postfix
from bench.programs import (
    ROOT,
    Address,
    Program,
    ProgramFailed,
    Sink,
    compiled,
    gateway_configuration,
    start_ready,
)
from bench.report import plain_table, spread_of
from bench.tlsload import Done, handshakes, messages

GOAL = 1.2
WORK = ("full handshakes", "resumed handshakes", "messages")
KEYS = ("rsa", "ecdsa")
_NEW_KEY = {"rsa": "rsa:2048", "ecdsa": "ec -pkeyopt ec_paramgen_curve:P-256"}


@dataclass
class System:
    """One of the two, ready."""

    name: str
    plain: Address
    ssl: Address
    program: Program


@dataclass(frozen=True)
class Run:
    """One load on one system. ``cpu_us`` is the server's for one of what was counted."""

    key: str
    work: str
    system: str
    round: int
    rate: float
    cpu_us: float


def make_certificate(folder: Path, key: str) -> tuple[Path, Path]:
    """A self-signed one, the same for both systems."""
    certificate, private = folder / f"{key}.crt", folder / f"{key}.key"
    argv = ["openssl", "req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=gw.example.test"]
    argv += ["-newkey", *_NEW_KEY[key].split(), "-keyout", str(private), "-out", str(certificate)]
    subprocess.run(argv, check=True, capture_output=True)
    private.chmod(0o600)
    return certificate, private


def start_gateway(
    folder: Path,
    next_hop: Address,
    certificate: Path,
    key: Path,
    *,
    connections: int = 1024,
    timeouts: str = "manual",
) -> System:
    """All defaults on, as in bench/throughput; its configuration is ``gateway/gwsmtp.yaml``."""
    home = folder / "gateway"
    home.mkdir()
    text = gateway_configuration(next_hop, home / "var", connections, timeouts) + (
        f'ssl: {{enable_tls: true, enabled: true, listen: ["127.0.0.1:0"], '
        f"max_inbound_connections: {connections}, "
        f'certificate_file: "{certificate}", key_file: "{key}"}}\n'
    )
    file = home / "gwsmtp.yaml"
    file.write_text(text)
    code = "import sys; from gwsmtp.cli.main import main; sys.exit(main())"
    environment = {"PYTHONPATH": str(compiled(ROOT)), "PYTHONSAFEPATH": "1"}
    argv = [sys.executable, "-c", code, "run", "-c", str(file)]
    started = start_ready("gateway", argv, folder, environment)
    ready = [
        line for line in started.program.errors_path.read_text().splitlines() if "ssl=" in line
    ]
    host, _, port = ready[-1].rpartition("ssl=")[2].split()[0].rpartition(":")
    return System("gateway", started.address, (host, int(port)), started.program)


def cpu_of(program: Program) -> dict[int, float]:
    """CPU seconds by process; one that has ended meanwhile is left out."""
    clocks: dict[int, float] = {}
    for process in tree_of(program.pid):
        try:
            clocks[process.pid] = process_cpu_seconds(process.pid)
        except ProcessLookupError:
            continue
    return clocks


def load_of(work: str, system: System, seconds: int) -> Callable[[], Done]:
    """The load as a call."""
    if work == "messages":
        return lambda: messages(system.plain, seconds)
    return lambda: handshakes(system.ssl, seconds, resumed=work.startswith("resumed"))


def measure(key: str, work: str, system: System, number: int, seconds: int) -> Run:
    """One run."""
    before = cpu_of(system.program)
    done = load_of(work, system, seconds)()
    after = cpu_of(system.program)
    spent = sum(clock - before.get(pid, 0.0) for pid, clock in after.items())
    return Run(key, work, system.name, number, done.rate, spent / max(done.count, 1) * 1e6)


def run_key(key: str, rounds: int, seconds: int, console: Console) -> list[Run]:
    """All rounds with one kind of key."""
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="gwsmtp-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        programs: list[Program] = []
        try:
            certificate, private = make_certificate(folder, key)
            sink = Sink(folder)
            programs.append(sink.program)
            gateway = start_gateway(folder, sink.address, certificate, private)
            programs.append(gateway.program)
            postfix = Postfix(folder, sink.address, (certificate, private))
            programs.append(postfix.program)
            other = System("postfix", postfix.plain, postfix.ssl, postfix.program)
            for number in range(1, rounds + 1):
                order = (gateway, other) if number % 2 else (other, gateway)
                for work in WORK:
                    for system in order:
                        run = measure(key, work, system, number, seconds)
                        runs.append(run)
                        console.print(
                            f"{key} round {number} {work} {system.name}: {run.rate:,.0f}/s, "
                            f"{run.cpu_us:,.0f} µs of CPU each",
                            highlight=False,
                        )
        finally:
            for program in reversed(programs):
                program.end()
    return runs


def ratios(runs: list[Run], key: str, work: str, metric: str) -> list[float]:
    """Gateway ÷ Postfix inside each round."""
    found: dict[int, dict[str, float]] = {}
    for run in runs:
        if (run.key, run.work) == (key, work):
            found.setdefault(run.round, {})[run.system] = getattr(run, metric)
    return [pair["gateway"] / pair["postfix"] for pair in found.values() if len(pair) == 2]


def print_report(runs: list[Run], console: Console) -> None:
    """One line a kind of key and of work: median (lowest–highest)."""
    table = plain_table("TLS, a second")
    for name in ("key", "work", "gateway", "postfix", "ratio", "at equal CPU", f"goal {GOAL}"):
        table.add_column(name)
    for key, work in dict.fromkeys((run.key, run.work) for run in runs):
        rates = {
            name: spread_of(
                run.rate for run in runs if (run.key, run.work, run.system) == (key, work, name)
            )
            for name in ("gateway", "postfix")
        }
        ratio = spread_of(ratios(runs, key, work, "rate"))
        cpu = spread_of(1 / value for value in ratios(runs, key, work, "cpu_us"))
        table.add_row(
            *(key, work, rates["gateway"].text(), rates["postfix"].text()),
            *(ratio.text(2), cpu.text(2), "met" if ratio.median >= GOAL else "missed"),
        )
    console.print(table)


@click.command(name="bench/tls")
@click.option("--rounds", type=click.IntRange(1, 50), default=3, show_default=True)
@click.option("--seconds", type=click.IntRange(1, 60), default=3, show_default=True, help="A run.")
@click.option("--keys", default=",".join(KEYS), show_default=True, help="rsa, ecdsa or both.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def main(rounds: int, seconds: int, keys: str, json_file: Path | None) -> None:
    """Measures full and resumed handshakes and messages a second over TLS, beside Postfix.

    RSA-2048 and ECDSA P-256; needs scripts/tools and root (Postfix's master). The gateway's goal
    is 1.2 times Postfix's rate.
    """
    console = Console() if sys.stdout.isatty() else Console(width=110)
    runs: list[Run] = []
    wanted = keys.split(",")
    if not set(wanted) <= set(KEYS):
        raise click.BadParameter("only rsa and ecdsa", param_hint="--keys")
    try:
        for key in wanted:
            runs += run_key(key, rounds, seconds, console)
    except ProgramFailed as error:
        raise click.ClickException(str(error)) from error
    print_report(runs, console)
    if json_file is not None:
        document: list[dict[str, Any]] = [vars(run) for run in runs]
        json_file.write_text(json.dumps({"runs": document}, indent=1) + "\n")
