"""Talks to systemd, when it is there: readiness, stopping, watchdog (sd_notify(3)).

One datagram to the socket NOTIFY_SOCKET names. Failing is of no consequence: nobody listens then.
"""

import os
import socket


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
