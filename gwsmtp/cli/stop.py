"""``gwsmtp stop``: asks a running gateway to end, and waits until it has."""

import os
import select
import signal
from pathlib import Path

import click

from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.cli.options import config_option
from gwsmtp.master.pidfile import read_pidfile

_GRACE_S = 20.0


@click.command(name="stop")
@config_option
@click.option("--now", is_flag=True, help="Do not wait for sessions in progress.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long to wait for its end. [default: workers.drain_timeout + 20]",
)
def command(config_path: Path, now: bool, timeout: float | None) -> int:
    """Drain and stop the gateway that runs with this configuration.

    Example: gwsmtp stop -c gwsmtp.yaml

    Exit codes: 0 it has ended, or did not run; 1 it still runs after the timeout, or may not be
    signalled; 78 the file does not say which gateway: other problems do not matter here.
    """
    from gwsmtp.config.whereabouts import find_whereabouts

    place = find_whereabouts(config_path)
    path = place.pidfile
    master = read_pidfile(path)
    if master is None:
        click.echo(f"gwsmtp: not running ({path})", err=True)
        return ExitCode.OK
    if timeout is None:
        timeout = place.drain_timeout + _GRACE_S
    try:
        fd = os.pidfd_open(master.pid)
    except ProcessLookupError:
        return ExitCode.OK
    try:
        # Between the look and the signal the pid may be another's; the descriptor may not.
        if not master.is_alive:
            return ExitCode.OK
        signal.pidfd_send_signal(fd, signal.SIGINT if now else signal.SIGTERM)
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if poll.poll(timeout * 1000):
            return ExitCode.OK
    except PermissionError:
        click.echo(f"gwsmtp: not allowed to signal process {master.pid}", err=True)
        return ExitCode.FAILED
    finally:
        os.close(fd)
    click.echo(f"gwsmtp: process {master.pid} still runs after {timeout:g} s", err=True)
    return ExitCode.FAILED
