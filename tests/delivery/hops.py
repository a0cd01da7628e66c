"""A next hop with a script in the test's own loop, and what delivers to it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gevent import socket

from gwsmtp.base.clock import SystemClock
from gwsmtp.delivery.hop import HopTimeouts
from gwsmtp.delivery.places import OwnPlaces
from gwsmtp.delivery.pool import HopPool
from gwsmtp.directory.domains import SmtpHost
from gwsmtp.net.dial import Dialer
from gwsmtp.net.offload import Offload
from gwsmtp.trial.script import Script
from gwsmtp.trial.server import TrialServer

QUICK = HopTimeouts(2.0, 2.0, 2.0, 3.0)


class Hop:
    """The running next hop: where it is, what it saw, what it filed."""

    def __init__(self, server: TrialServer, folder: Path) -> None:
        host, _, port = server.address.rpartition(":")
        self.host = SmtpHost(host, int(port))
        self._folder = folder

    def said(self) -> list[str]:
        """Every command line it read, in order, over all connections."""
        return [entry["line"] for entry in self.journal("command")]

    def journal(self, event: str) -> list[dict[str, Any]]:
        """The journal's entries of one kind."""
        lines = (self._folder / "journal").read_text("utf-8").splitlines()
        return [entry for entry in map(json.loads, lines) if entry["event"] == event]

    def filed(self) -> list[bytes]:
        """The messages that were filed."""
        return [path.read_bytes() for path in sorted((self._folder / "maildir/new").iterdir())]


@contextmanager
def hop(folder: Path, *rules: str) -> Iterator[Hop]:
    """A next hop that misbehaves by ``rules``."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = TrialServer(
        listener, folder / "maildir", Script.parse(rules), journal=folder / "journal"
    )
    server.start()
    try:
        yield Hop(server, folder)
    finally:
        server.stop()


def pool(limit: int = 2, **more: float) -> HopPool:
    """A pool of connections with short timeouts."""
    clock = SystemClock()
    dialer = Dialer(Offload("names", 1, 10), clock)
    return HopPool(
        dialer,
        clock,
        "gw.example.test",
        QUICK,
        lambda _: OwnPlaces(limit),
        **more,  # type: ignore[arg-type]
    )
