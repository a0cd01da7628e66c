"""Real programs started by tests: the log in a file, its tail in every failure, none left behind.

Each program leads a session of its own (setsid), so whoever descends from it is found by the
kernel's word, however it was forked; a process that outlives its program is a failure.
"""

import atexit
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from tests.support.wait import wait_for

REPOSITORY = Path(__file__).parent.parent.parent
TAIL_LINES = 40


def tool(name: str) -> Path:
    """An outside program fetched by scripts/tools (swaks, smtp-source, smtp-sink ...)."""
    path = REPOSITORY / ".tools" / "bin" / name
    assert os.access(path, os.X_OK), f"{path} is missing: run scripts/tools"
    return path


def python(code: str) -> list[str]:
    """The command that runs ``code`` with this interpreter; arguments may follow."""
    return [sys.executable, "-c", code]


class Running:
    """A program and everything it forks; ``log_path`` holds its stderr (and its stdout, where
    nobody asked for that).
    """

    def __init__(self, name: str, command: Sequence[str | Path], log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self._command = [str(part) for part in command]
        self._process: subprocess.Popen[bytes] | None = None

    # Life ------------------------------------------------------------------------------------

    def spawn(
        self, *, pass_fds: Sequence[int] = (), stdin: int | None = None, stdout: int | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts the program; it imports gwsmtp from this repository."""
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=stdin if stdin is not None else subprocess.DEVNULL,
                stdout=stdout if stdout is not None else log,
                stderr=log,
                pass_fds=pass_fds,
                env=environment,
                start_new_session=True,
            )
        atexit.register(self.kill)
        return self._process

    @property
    def pid(self) -> int:
        """The program's process id; fails before ``spawn``."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number when a signal ended it."""
        return self._process.poll() if self._process is not None else None

    def descendants(self) -> list[int]:
        """Process ids of its session but for itself; zombies do not count."""
        return [pid for pid in _session_members(self.pid) if pid != self.pid]

    def signal(self, number: signal.Signals) -> None:
        """Sends one signal to the program itself."""
        assert self._process is not None, f"{self.name} was not started"
        self._process.send_signal(number)

    def wait_for_exit(
        self, exit_code: int = 0, deadline_s: float = 30, children_deadline_s: float = 5
    ) -> None:
        """Fails unless it ends with ``exit_code`` in time and leaves nobody behind."""
        assert self._process is not None, f"{self.name} was not started"
        try:
            self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.fail(f"did not end within {deadline_s:g} s")
        if self._process.returncode != exit_code:
            self.fail(f"ended with {self._process.returncode} instead of {exit_code}")
        wait_for(
            lambda: not self.descendants(),
            lambda: f"the end of {self.name}'s children {self.descendants()}\n{self.log_tail()}",
            children_deadline_s,
        )
        atexit.unregister(self.kill)

    def stop(self, deadline_s: float = 30) -> None:
        """TERM; fails unless it ends with 0 and leaves nobody behind. Does nothing if it ended
        before and was found so by ``wait_for_exit``.
        """
        if self.exit_code is None:
            self.signal(signal.SIGTERM)
        self.wait_for_exit(0, deadline_s)

    def kill(self) -> None:
        """SIGKILL for the program and everything it forked; never fails."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.kill()
        for pid in _session_members(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        atexit.unregister(self.kill)

    # Log -------------------------------------------------------------------------------------

    def log_lines(self) -> list[str]:
        """What it has logged so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()

    def log_tail(self) -> str:
        """The end of its log, for a message of failure."""
        lines = self.log_lines()[-TAIL_LINES:]
        return "\n".join([f"--- end of {self.name}'s log, {self.log_path}:", *lines, "---"])

    def wait_for_log(self, text: str, deadline_s: float = 10) -> str:
        """The first log line with ``text`` in it."""
        return wait_for(
            lambda: next((line for line in self.log_lines() if text in line), ""),
            lambda: f"{text!r} in the log of {self.name}\n{self.log_tail()}",
            deadline_s,
        )

    def fail(self, problem: str) -> NoReturn:
        """Fails with the log's end in the message."""
        raise AssertionError(f"{self.name} {problem}\n{self.log_tail()}")

    # Context ---------------------------------------------------------------------------------

    def start(self) -> Self:
        """Starts it and waits until it is ready."""
        self.spawn()
        return self

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is not None:
                error.add_note(self.log_tail())
            elif self.exit_code is None:
                self.stop()
        finally:
            self.kill()


def _session_members(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            stat = (entry / "stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            continue  # it has ended
        state, _parent, _group, sid = stat.rpartition(")")[2].split()[:4]
        if int(sid) == session and state not in "ZX":
            found.append(int(entry.name))
    return found
