"""A real master in a process of its own, with children from ``tests.support.childentries``.

What it reads at a reload is ``BASE/next.json``: values for the stand-in, or ``{"does": ...}`` with
what the reading process is to do instead (hang, die, refuse).

``python -m tests.support.masterproc JSON ENTRIES READY_FD`` is the process; ``Gateway`` drives it
from a test.
"""

import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

from gwsmtp.base import procid
from gwsmtp.limits.arena import open_table
from gwsmtp.limits.slots import Role, SlotView, Total, read_slots, sum_totals
from tests.support.wait import wait_for

T = TypeVar("T")

DEADLINE_S = 30.0
ROOT = Path(__file__).resolve().parents[2]


def until(what: str, condition: Callable[[], T]) -> T:
    """``wait_for`` with the deadline of a process under test on a busy machine."""
    return wait_for(condition, what, DEADLINE_S)


class Gateway:
    """One master under test. Use as a context manager: it ends what it started."""

    def __init__(self, base: Path, *, entries: dict[str, str] | None = None, **values: Any) -> None:
        self.base = base
        self.values = values
        names = {"WORKER": "worker", "ENGINE": "idle", "TRIAL": "idle", "QUEUE": "idle"}
        names |= entries or {}
        self.entries = {role: f"tests.support.childentries:{name}" for role, name in names.items()}
        self.log_path = base / "test.log"
        self.listen: list[tuple[str, int]] = []
        self.children: dict[str, tuple[int, int]] = {}
        self._sockets: list[socket.socket] = []
        self._ready_fd = -1

    def __enter__(self) -> Self:
        self.launch()
        try:
            self.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def launch(self) -> None:
        """Starts the process and returns at once."""
        self.base.mkdir(exist_ok=True)
        self._ready_fd, write_fd = os.pipe()
        values = json.dumps({"base": str(self.base)} | self.values)
        module = "tests.support.masterproc"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, values, json.dumps(self.entries), str(write_fd)],
                stdin=subprocess.DEVNULL,
                stderr=log,
                pass_fds=[write_fd],
                cwd=ROOT,
                start_new_session=True,
            )
        os.close(write_fd)

    def wait_ready(self) -> None:
        """Waits for the line of ``ready_fd``."""
        readable, _, _ = select.select([self._ready_fd], [], [], DEADLINE_S)
        line = os.read(self._ready_fd, 65536) if readable else b""
        assert line, f"master did not become ready:\n{self.log()}"
        ready = json.loads(line)
        assert ready["pid"] == self.process.pid
        self.listen = [
            (host, int(port)) for host, _, port in (a.rpartition(":") for a in ready["listen"])
        ]
        self.children = self.ids()

    def log(self) -> str:
        return self.log_path.read_text()

    def configure(self, **values: Any) -> None:
        """What the next reload finds."""
        (self.base / "next.json").write_text(json.dumps({"base": str(self.base)} | values))

    @property
    def generation(self) -> int:
        """That which serves."""
        with contextlib.closing(open_table(self.base / "run/demo.table", readonly=True)) as table:
            return table.generation

    # The table

    def slots(self) -> list[SlotView]:
        with contextlib.closing(open_table(self.base / "run/demo.table", readonly=True)) as table:
            return read_slots(table)

    def total(self, total: Total) -> int:
        with contextlib.closing(open_table(self.base / "run/demo.table", readonly=True)) as table:
            return sum_totals(table)[total]

    def of(self, role: Role) -> list[SlotView]:
        return [view for view in self.slots() if view.role is role]

    def ids(self) -> dict[str, tuple[int, int]]:
        return {
            f"{view.role.name.lower()}-{view.number}": (view.pid, view.start_ticks)
            for view in self.slots()
            if view.owner[0] == self.process.pid
        }

    def living(self) -> list[str]:
        """The children known since the last look that still live."""
        return [name for name, who in self.children.items() if procid.is_alive(*who)]

    # Talking to a worker

    def connect(self) -> socket.socket:
        client = socket.create_connection(self.listen[0], timeout=DEADLINE_S)
        self._sockets.append(client)
        return client

    def accepts(self) -> bool:
        """True while a connection can be made."""
        try:
            socket.create_connection(self.listen[0], timeout=DEADLINE_S).close()
        except (ConnectionRefusedError, ConnectionResetError):
            return False
        return True

    def ask(self, client: socket.socket, command: str) -> str:
        client.sendall(f"{command}\n".encode())
        answer = b""
        while not answer.endswith(b"\n"):
            data = client.recv(65536)
            assert data, f"worker hung up instead of answering {command}:\n{self.log()}"
            answer += data
        return answer.decode().strip()

    # Its end

    def kill(self, signum: signal.Signals) -> None:
        self.process.send_signal(signum)

    def wait_exit(self) -> int:
        try:
            return self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"master did not end:\n{self.log()}") from None

    def close(self) -> None:
        for client in self._sockets:
            client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self._ready_fd >= 0:
            os.close(self._ready_fd)
            self._ready_fd = -1
        with contextlib.suppress(FileNotFoundError):
            self.children |= self.ids()
        for pid, ticks in self.children.values():
            if procid.is_alive(pid, ticks):
                os.kill(pid, signal.SIGKILL)


def load_next(base: Path, old: Any) -> Any:
    """See the module; called in a fork of the master."""
    from gwsmtp.master.loader import Loaded
    from tests.support.standin import from_json

    text = (base / "next.json").read_text()
    does = json.loads(text).get("does")
    if does == "hang":
        signal.pause()
    elif does == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif does == "refuse":
        return Loaded(problems=["next.json:7 a.b: is wrong"])
    return Loaded(from_json(text), changed=["x.y"])


def main() -> int:
    from gwsmtp.base.errors import HaltMaster
    from gwsmtp.master.master import Master, RunOptions
    from tests.support.standin import from_json

    values, entries, ready_fd = sys.argv[1:]
    roles = {Role[name]: entry for name, entry in json.loads(entries).items()}
    load = functools.partial(load_next, Path(json.loads(values)["base"]))
    options = RunOptions(ready_fd=int(ready_fd), entries=roles, load=load)
    try:
        return Master(from_json(values), options).run()
    except HaltMaster as halt:
        print(halt.reason, file=sys.stderr)
        return halt.exit_code


if __name__ == "__main__":
    sys.exit(main())
