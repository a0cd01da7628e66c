"""The built-in next hop in a process of its own, with a script that can change while it runs.

    with NextHop(folder, "rcpt:unknown*=550 5.1.1 unknown") as hop:
        hop.misbehave("end#1=close")     # from now on; no argument = behave
        hop.entries("message")           # what it saw: see gwsmtp.trial.journal

The process ends when this one does, since it watches its standard input.
"""

import json
import os
import select
import subprocess
from pathlib import Path
from typing import Any, Self

from tests.support.running import Running, python
from tests.support.wait import wait_for

_RUN = "from gwsmtp.cli.trial import command; command(prog_name='gwsmtp trial')"
_READY_WITHIN_S = 20


class NextHop(Running):
    """``address`` is where it listens; restarting it (``stop``, ``start``) keeps the address."""

    def __init__(self, folder: Path, *rules: str, name: str = "nexthop") -> None:
        self.maildir = folder / name
        self.journal_path = folder / f"{name}.journal"
        self.address = "127.0.0.1:0"
        self._script = folder / f"{name}.script"
        super().__init__(name, [], folder / f"{name}.log")
        self.misbehave(*rules)

    def misbehave(self, *rules: str) -> None:
        """Replaces all rules, at once and for every connection; counts begin anew."""
        unfinished = self._script.with_suffix(".new")
        unfinished.write_text("".join(f"{rule}\n" for rule in rules), encoding="utf-8")
        unfinished.rename(self._script)

    def start(self) -> Self:
        """Starts it and waits for the line with its address."""
        self._command = [
            *python(_RUN),
            *("--listen", self.address, "--maildir", str(self.maildir), "--exit-on-eof"),
            *("--script", str(self._script), "--journal", str(self.journal_path)),
        ]
        process = self.spawn(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        fd = process.stdout.fileno()
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([fd], [], [], _READY_WITHIN_S)[0]:
                self.fail(f"was not ready within {_READY_WITHIN_S} s")
            data = os.read(fd, 4096)
            if not data:
                self.fail("ended before it was ready")
            line += data
        self.address = line.decode().strip()
        return self

    def close_input(self) -> None:
        """Ends its standard input, as our own death would."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.close()

    def wait_for_exit(
        self, exit_code: int = 0, deadline_s: float = 30, children_deadline_s: float = 5
    ) -> None:
        """As in Running; closes the pipes too."""
        super().wait_for_exit(exit_code, deadline_s, children_deadline_s)
        self._close_pipes()

    def kill(self) -> None:
        """As in Running; closes the pipes too."""
        super().kill()
        self._close_pipes()

    def _close_pipes(self) -> None:
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()

    # What it saw -----------------------------------------------------------------------------

    def entries(self, event: str = "") -> list[dict[str, Any]]:
        """The journal's entries, all or those of one event."""
        if not self.journal_path.exists():
            return []
        lines = self.journal_path.read_text(encoding="utf-8").splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [entry for entry in found if not event or entry["event"] == event]

    def forget(self) -> None:
        """Empties journal and Maildir once every connection so far is closed."""
        wait_for(
            lambda: len(self.entries("closed")) >= len(self.entries("connected")),
            lambda: f"the end of all connections to the next hop: {self.entries()[-5:]}",
        )
        for path in (self.maildir / "new").iterdir():
            path.unlink()
        if self.journal_path.exists():
            os.truncate(self.journal_path, 0)

    def wait_for_entries(
        self, event: str, count: int = 1, deadline_s: float = 10
    ) -> list[dict[str, Any]]:
        """The entries of one event once there are at least ``count``."""
        wait_for(
            lambda: len(self.entries(event)) >= count,
            lambda: f"{count} entries {event!r} in the journal, it has {self.entries()[-20:]}",
            deadline_s,
        )
        return self.entries(event)

    def by_sender(self) -> dict[str, list[str]]:
        """The Maildir's files, grouped by the sender of their envelope."""
        senders: dict[int, str] = {}  # by session: whose dot was the last one
        grouped: dict[str, list[str]] = {}
        for entry in self.entries():
            if entry["event"] == "message":
                senders[entry["session"]] = entry["sender"]
            elif entry["event"] == "filed":
                grouped.setdefault(senders[entry["session"]], []).append(entry["file"])
        return grouped

    def filed(self) -> list[bytes]:
        """The contents of all messages in the Maildir, in the order of filing."""
        names = [entry["file"] for entry in self.entries("filed")]
        return [(self.maildir / "new" / name).read_bytes() for name in names]
