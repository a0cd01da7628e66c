"""``gwsmtp reload``: checks the file, asks the running gateway for it, waits until it serves."""

import os
import select
import signal
from pathlib import Path

import click

from gwsmtp.base.clock import SystemClock
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.cli.options import config_option
from gwsmtp.limits.arena import open_table
from gwsmtp.master.pidfile import RunningMaster, read_pidfile

_LOOK_MS = 50


@click.command(name="reload")
@config_option
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=150.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait until the new generation serves.",
)
def command(config_path: Path, timeout: float) -> int:
    """Put a changed configuration file in effect without dropping a session.

    A file with problems is shown and not asked for. Settings that need a restart keep their old
    values; `gwsmtp config diff` names them.

    Example: gwsmtp reload -c gwsmtp.yaml

    Exit codes: 0 the new generation serves; 1 nothing has changed (the log says why), an address
    could not be bound although the rest acts, or it may not be signalled; 69 no gateway runs;
    78 the configuration has problems.
    """
    from gwsmtp.config.loader import load_config

    config = load_config(config_path)
    path = config.paths.run / f"{config.interface.name}.pid"
    master = read_pidfile(path)
    if master is None:
        click.echo(f"gwsmtp: not running ({path})", err=True)
        return ExitCode.UNAVAILABLE
    try:
        fd = os.pidfd_open(master.pid)
    except ProcessLookupError:
        click.echo(f"gwsmtp: process {master.pid} has ended", err=True)
        return ExitCode.UNAVAILABLE
    try:
        if not master.is_alive:  # the pid may be another's by now; the descriptor may not
            click.echo(f"gwsmtp: process {master.pid} has ended", err=True)
            return ExitCode.UNAVAILABLE
        signal.pidfd_send_signal(fd, signal.SIGHUP)
        found = _wait(path, master, fd, timeout)
    except PermissionError:
        click.echo(f"gwsmtp: not allowed to signal process {master.pid}", err=True)
        return ExitCode.FAILED
    finally:
        os.close(fd)
    if found is None:
        click.echo(f"gwsmtp: nothing serves after {timeout:g} s; see the log", err=True)
        return ExitCode.FAILED
    if found.reload_failure:
        click.echo(f"gwsmtp: nothing has changed: {found.reload_failure}; see the log", err=True)
        return ExitCode.FAILED
    table = open_table(config.paths.run / f"{config.interface.name}.table", readonly=True)
    try:
        click.echo(f"{config.interface.name}: generation {table.generation} serves")
    finally:
        table.close()
    if found.reload_refused:
        click.echo(f"gwsmtp: {found.reload_refused}; the old listeners stay", err=True)
        return ExitCode.FAILED
    return ExitCode.OK


def _wait(path: Path, before: RunningMaster, fd: int, timeout: float) -> RunningMaster | None:
    """What the pidfile says once a HUP later than ``before`` has been dealt with."""
    clock, poll = SystemClock(), select.poll()
    poll.register(fd, select.POLLIN)
    ends = clock.monotonic() + timeout
    while clock.monotonic() < ends and not poll.poll(_LOOK_MS):
        now = read_pidfile(path)
        if now is not None and now.pid == before.pid and now.reloads_done > before.reloads_asked:
            return now
    return None
