"""Talks to who waits for us: systemd, when it is there (sd_notify(3)), and ``run --ready-fd``.

One datagram to the socket NOTIFY_SOCKET names: readiness, reloading, stopping, watchdog. Failing is
of no consequence: nobody listens then.
"""

import json
import os
import socket
from collections.abc import Mapping


def notify(message: str) -> None:
    """Sends ``message`` (``READY=1``); never raises, never blocks."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(message.encode(), address)
    except OSError:
        pass


def wants_watchdog() -> bool:
    """True when systemd ends a master that says nothing for WATCHDOG_USEC."""
    return "WATCHDOG_USEC" in os.environ


def tell_ready(fd: int, ready: Mapping[str, object]) -> None:
    """Writes one JSON line to ``fd`` and closes it; never raises."""
    try:
        os.write(fd, json.dumps(ready).encode() + b"\n")
        os.close(fd)
    except OSError:
        pass  # who asked has gone
