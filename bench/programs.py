"""The programs a benchmark starts: the next hop, the yardstick, the gateway, the load.

Contract: everything is started in a session of its own (a Ctrl-C on the terminal reaches only the
bench, which then ends the rest in order), listens on a port the kernel chose, and is ended by
pid: TERM, then KILL, with every descendant seen. A kernel alarm is the backstop that ends a
program even when the bench itself was killed. Blocks while it waits for a program to be ready
or gone, always with a deadline.
"""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.cpu import tree_of

ROOT = Path(__file__).resolve().parent.parent
READY_SECONDS = 30.0
STOP_SECONDS = 15.0
LIFETIME_SECONDS = 3600
# The backstop: an alarm survives exec, so even a program whose bench was killed ends some day.
ARMED = """\
import os, signal, sys
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGALRM, signal.SIG_DFL)
signal.alarm(int(sys.argv[1]))
os.execvp(sys.argv[2], sys.argv[2:])
"""

Address = tuple[str, int]


class ProgramFailed(Exception):
    """A program did not start, or ended when it should not have."""


def find_tool(name: str) -> str:
    """smtp-source or smtp-sink: from .tools/bin (scripts/tools), else from the system."""
    own = ROOT / ".tools" / "bin" / name
    found = str(own) if own.exists() else shutil.which(name, path=f"{os.defpath}:/usr/sbin")
    if not found:
        raise ProgramFailed(f"{name} not found: run scripts/tools first")
    return found


class Program:
    """One started program with its log file."""

    def __init__(
        self,
        name: str,
        argv: list[str],
        folder: Path,
        *,
        environment: dict[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> None:
        self.name = name
        self.output_path = folder / f"{name}.out"
        self.errors_path = folder / f"{name}.err"
        with self.output_path.open("wb") as output, self.errors_path.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", ARMED, str(LIFETIME_SECONDS), *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                pass_fds=pass_fds,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def is_running(self) -> bool:
        return self._process.poll() is None

    def last_words(self) -> str:
        """The end of what it wrote to standard error, for a message."""
        text = self.errors_path.read_text("utf-8", "replace").strip()
        return "\n".join(text.splitlines()[-8:]) or "(it wrote nothing to standard error)"

    def failure(self, what: str) -> ProgramFailed:
        return ProgramFailed(f"{self.name} {what}\n{self.last_words()}")

    def end(self) -> None:
        """Ends the program and all its descendants; may be called again."""
        family = tree_of(self.pid) if self.is_running() else []
        if family:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS if family else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
        for process in family[1:]:
            try:
                process.kill()  # psutil checks that the pid is still the same process
            except psutil.NoSuchProcess:
                pass


class Sink:
    """smtp-sink, the next hop that accepts and discards, and counts what really arrived."""

    def __init__(self, folder: Path) -> None:
        argv = [find_tool("smtp-sink"), "-c", "-t", str(LIFETIME_SECONDS), "-m", "1024"]
        if os.geteuid() == 0:
            argv += ["-u", "nobody"]  # it refuses to run as root
        self.program = Program("smtp-sink", [*argv, "127.0.0.1:0", "1024"], folder)
        self.address = self._wait_for_listener()

    def count(self) -> int:
        """Messages received since it started; the counter line is rewritten for each."""
        with self.program.output_path.open("rb") as output:
            output.seek(max(0, os.fstat(output.fileno()).st_size - 200))
            lines = output.read().split(b"\r")
        for line in reversed(lines[:-1]):  # what follows the last CR may be incomplete
            _, found, number = line.partition(b"mesg=")
            if found:
                return int(number)
        return 0

    def _wait_for_listener(self) -> Address:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if not self.program.is_running():
                raise self.program.failure("ended at start")
            for connection in psutil.Process(self.program.pid).net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    return (connection.laddr.ip, connection.laddr.port)
            time.sleep(0.02)
        raise self.program.failure(f"did not listen within {READY_SECONDS:.0f} s")


@dataclass
class System:
    """Something that takes SMTP and passes it on (or is the next hop itself)."""

    name: str
    address: Address
    program: Program
    measures_cpu: bool = True
    grows: bool = False  # its processes are born on demand: one that appears spoils no figure


Starter = Callable[[Sink, Path], System]


def compiled(checkout: Path) -> Path:
    """The compiled form of a checkout, made if need be (a minute, once); the checkout itself where
    it has none, this machine cannot compile, or the environment has GWSMTP_BENCH_PURE (so have the
    tests of the benchmarks, which are not about speed).
    """
    if os.environ.get("GWSMTP_BENCH_PURE"):
        return checkout
    script = checkout / "packaging" / "compile.py"
    if not script.exists():
        return checkout
    argv = [sys.executable, str(script)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    return Path(done.stdout.strip()) if done.returncode == 0 else checkout


def start_sink_alone(sink: Sink, _folder: Path) -> System:
    """The next hop itself: the upper end of what the load can reach."""
    return System("smtp-sink", sink.address, sink.program, measures_cpu=False)


def start_bare_proxy(sink: Sink, folder: Path) -> System:
    """The yardstick."""
    argv = [sys.executable, str(ROOT / "bench" / "bare_proxy.py")]
    argv += ["--next-hop", "{}:{}".format(*sink.address)]
    return start_ready("bare_proxy", argv, folder)


def gateway_starter(name: str, checkout: Path) -> Starter:
    """Starts the gateway of a checkout, with every default but what a bench must change."""

    def start(sink: Sink, folder: Path) -> System:
        home = folder / name
        home.mkdir(exist_ok=True)
        file = home / "gwsmtp.yaml"
        file.write_text(gateway_configuration(sink.address, home / "var"))
        code = "import sys; from gwsmtp.cli.main import main; sys.exit(main())"
        # A safe path keeps the working directory out; PYTHONPATH precedes an installed gwsmtp.
        environment = {"PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"}
        argv = [sys.executable, "-c", code, "run", "-c", str(file)]
        return start_ready(name, argv, folder, environment)

    return start


UNREACHED = 1_000_000
"""A limit a minute no run comes near."""


def gateway_configuration(
    next_hop: Address, base: Path, connections: int = 1024, timeouts: str = "manual"
) -> str:
    """All defaults on; the client is not exempt from them, so its limits are raised instead: the
    whole path of the defence is paid for, and nothing is refused or reported.
    """
    rate = f"{{limit: {UNREACHED}, burst: {UNREACHED}}}"
    return f"""\
interface: {{name: bench}}
server: {{listen: ["127.0.0.1:0"], max_inbound_connections: {connections}}}
protocol: {{host_domain: gw.example.test, timeout_profile: {timeouts}}}
relay_protection: {{allowed_sources: []}}
dos_protection:
  limits:
    concurrency: {{limit: {connections}}}
    connections: {rate}
    messages: {rate}
    recipients: {rate}
    tls_handshakes: {rate}
organizations:
  - name: root
    domains:
      - {{name: example.test, smtp_host: "{next_hop[0]}:{next_hop[1]}", recipients: callout}}
workers: {{count: 2}}
paths: {{base: "{base}"}}
"""


def start_ready(
    name: str, argv: list[str], folder: Path, environment: dict[str, str] | None = None
) -> System:
    """Starts a program that says where it listens on --ready-fd, and waits for that line."""
    ready_read, ready_write = os.pipe()
    try:
        argv = [*argv, "--ready-fd", str(ready_write)]
        program = Program(name, argv, folder, environment=environment, pass_fds=(ready_write,))
        os.close(ready_write)
        ready_write = -1
        try:
            host, _, port = read_ready(program, ready_read).rpartition(":")
        except BaseException:
            program.end()
            raise
    finally:
        os.close(ready_read)
        if ready_write >= 0:
            os.close(ready_write)
    return System(name, (host, int(port)), program)


def read_ready(program: Program, fd: int) -> str:
    """The first address of the ready line."""
    deadline = time.monotonic() + READY_SECONDS
    line = b""
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            raise program.failure(f"was not ready within {READY_SECONDS:.0f} s")
        data = os.read(fd, 4096)
        if not data:
            raise program.failure("ended before it was ready")
        line += data
    return str(json.loads(line)["listen"][0])


def free_port() -> int:
    """A port of 127.0.0.1 that was free just now, for a program that cannot choose one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_greeting(program: Program, address: Address, log: Path) -> None:
    """Waits until a server that tells nobody it is ready greets; ``log`` is its own."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if not program.is_running():
            raise program.failure("ended at start")
        try:
            with socket.create_connection(address, 5) as probe:
                if probe.recv(3) == b"220":
                    return
        except OSError:
            pass
        time.sleep(0.05)
    said = log.read_text("utf-8", "replace")[-2000:] if log.exists() else ""
    raise program.failure(f"did not greet within {READY_SECONDS:.0f} s\n{said}")
