"""What the commands that look into the shared table have in common: opening it, its lock, times,
and how a client is named on the command line.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click

from gwsmtp.base.clock import SystemClock, pause
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.config.root import Config
from gwsmtp.limits.arena import Table, open_table
from gwsmtp.limits.identity import describe, identify
from gwsmtp.limits.rangelock import OUTSIDER, RangeLock

LOCK_PATIENCE_S = 5.0


class NoTable(click.ClickException):
    """There is no table: no gateway has run with this configuration since the last boot."""

    exit_code = ExitCode.UNAVAILABLE

    def show(self, file: Any = None) -> None:
        """One line on stderr."""
        click.echo(f"gwsmtp: {self.message}", err=True, file=file)


@contextmanager
def opened(config: Config, *, readonly: bool = True) -> Iterator[Table]:
    """The gateway's table, also when no master lives. Raises NoTable, or TableError that says what
    is wrong with it.
    """
    path = config.paths.run / f"{config.interface.name}.table"
    try:
        table = open_table(path, readonly=readonly)
    except FileNotFoundError:
        raise NoTable(f"no table {path}: the gateway has not run") from None
    try:
        yield table
    finally:
        table.close()


@contextmanager
def locked(config: Config) -> Iterator[Table]:
    """The table to be written, with its lock held. Raises TableError when others keep the lock."""
    with opened(config, readonly=False) as table:
        lock = RangeLock(table, OUTSIDER, pause)
        lock.hold(LOCK_PATIENCE_S)
        try:
            yield table
        finally:
            lock.release()


class WallTime:
    """Turns the table's times into local ones, by the clocks as they are now."""

    def __init__(self, clock: SystemClock) -> None:
        self.now_ms = clock.boot_ms()
        self._now = clock.now()

    def epoch(self, at_ms: int) -> float:
        """Seconds since the epoch at ``at_ms`` of CLOCK_BOOTTIME."""
        return self._now - (self.now_ms - at_ms) / 1000

    def text(self, at_ms: int) -> str:
        """As a log line writes it, to the second."""
        return iso(self.epoch(at_ms))

    def ago(self, at_ms: int) -> float:
        """Seconds since then."""
        return (self.now_ms - at_ms) / 1000


def iso(epoch: float) -> str:
    """A time as a log line writes it (RFC 3339, local, to the second)."""
    return datetime.fromtimestamp(epoch).astimezone().isoformat(timespec="seconds")


def client_address(text: str) -> str | None:
    """The address that ``text`` names as people copy it (``[192.0.2.7]``, ``2001:db8:1:2::/64``),
    None for what is no address.
    """
    address = text.strip().strip("[]").removeprefix("IPv6:")
    address, slash, bits = address.partition("/")
    if slash and bits != ("64" if ":" in address else "32"):
        return None
    try:
        identify(address)
    except ValueError:
        return None
    return address


class ClientAddress(click.ParamType[str]):
    """A client on the command line: an IPv4 address, an IPv6 address or its /64."""

    name = "ip"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The address; a usage error for what is none."""
        address = client_address(value)
        if address is None:
            self.fail(f"{value!r} is no IPv4 address, IPv6 address or IPv6 /64", param, ctx)
        return address


def client_name(ip: str) -> str:
    """What the table calls the client at ``ip``: its address, or its IPv6 /64."""
    return describe(identify(ip).client)


def span(seconds: float) -> str:
    """A time span in one or two units: ``4 min 10 s``, ``2 d 3 h``."""
    rest = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        number, rest = divmod(rest, size)
        if number or (unit == "s" and not parts):
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2])
