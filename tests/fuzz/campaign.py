"""All targets, one process per core: a number of inputs divided into jobs, stopped by a finding.

Everything that is written lies in the folder given. The processes end with this one: by ``run``
whatever ends it, and if this process is killed, by the next line they cannot write.
"""

import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.fuzz import run as runner
from tests.fuzz.targets import shares
from tests.support.running import REPOSITORY

_PROGRESS = re.compile(r"fuzz: \w+ (\d+)\n")
_DONE = re.compile(r"^Done (\d+) runs in", re.MULTILINE)
_TAIL = 3000  # characters of a log


class Job(NamedTuple):
    """What one process does."""

    number: int
    target: str
    runs: int
    seed: int


class Done(NamedTuple):
    """A finished job: its inputs by libFuzzer's own count, and how long they took."""

    job: Job
    runs: int
    seconds: float


class FindingError(AssertionError):
    """A target found something; the text says all that is known."""


def divide(total: int, parts: int, seed: int) -> list[Job]:
    """Jobs for ``total`` inputs, ``parts`` a target, the longest first."""
    pieces = [
        (target, -(-runs // parts))
        for target, runs in sorted(shares(total).items(), key=lambda item: -item[1])
        for _ in range(parts)
    ]
    return [
        Job(number, target, runs, seed * 1000 + number)
        for number, (target, runs) in enumerate(pieces)
    ]


class Campaign:
    """Runs jobs, ``cores`` at a time; ``plant`` as in ``run``."""

    def __init__(self, folder: Path, cores: int, plant: str | None = None) -> None:
        self._folder = folder
        self._cores = cores
        self._plant = plant
        self._waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._news: queue.SimpleQueue[int | Done | Exception | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._is_over = False

    def run(self, jobs: Sequence[Job], advanced: Callable[[int], None]) -> list[Done]:
        """All jobs; ``advanced`` is told of inputs as they pass. Raises FindingError, after which
        no process is left.
        """
        for job in jobs:
            self._waiting.put(job)
        threads = [threading.Thread(target=self._work) for _ in range(self._cores)]
        for thread in threads:
            thread.start()
        done: list[Done] = []
        working = len(threads)
        try:
            while working:
                match self._news.get():
                    case int(count):
                        advanced(count)
                    case Done() as finished:
                        done.append(finished)
                    case None:
                        working -= 1
                    case error:
                        raise error
        finally:
            self._stop()
            for thread in threads:
                thread.join()
        return done

    def _stop(self) -> None:
        with self._lock:
            self._is_over = True
            for process in self._running:
                process.kill()

    def _work(self) -> None:
        try:
            while not self._is_over:
                self._news.put(self._do(self._waiting.get_nowait()))
        except queue.Empty:
            pass
        except Exception as error:
            self._news.put(error)
        self._news.put(None)

    def _do(self, job: Job) -> Done:
        folder = self._folder / f"{job.number:02}-{job.target}"
        folder.mkdir()
        log = folder / "log"
        started = time.monotonic()
        said, counted = "", 0
        with log.open("w") as stderr, self._started(job, folder, stderr.fileno()) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if found := _PROGRESS.fullmatch(line):
                    self._news.put(int(found[1]) - counted)
                    counted = int(found[1])
                else:
                    said += line
        with self._lock:
            self._running.discard(process)
        text = log.read_text(errors="replace")
        total = _DONE.search(text)
        if process.returncode or total is None:
            raise FindingError(said + self._what_stopped(job, folder, text, process.returncode))
        self._news.put(int(total[1]) - counted)
        return Done(job, int(total[1]), time.monotonic() - started)

    def _started(self, job: Job, folder: Path, stderr: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.fuzz.run", job.target, f"--runs={job.runs}"]
        command += [f"--seed={job.seed}", f"--folder={folder}"]
        command += ["--plant", self._plant] if self._plant else []
        with self._lock:
            assert not self._is_over, "stopped before it began"
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=REPOSITORY,
                env={**os.environ, "TMPDIR": str(folder)},
            )
            self._running.add(process)
        return process

    def _what_stopped(self, job: Job, folder: Path, log: str, code: int) -> str:
        """What libFuzzer itself stopped at (an input too slow or too large) is told by a file."""
        text = f"fuzz: {job.target}, seed {job.seed}, ended with {code}; its log ends:\n"
        text += log[-_TAIL:]
        for path in sorted((folder / runner.FINDINGS).glob("*")):
            data = path.read_bytes()
            text += f"\nfuzz: {path.name}: input {data.hex()}\n"
            text += f"fuzz: repeat it: {runner.repetition(job.target, data, self._plant)}"
        return text
