"""``gwsmtp trial``: the built-in next hop in a process of its own, for trying out and for tests.

Prints the address it listens on as its first line, then nothing; logs go to stderr. Ends with
TERM or INT (exit code 0), or, with ``--exit-on-eof``, when its standard input ends: so a program
that started it cannot leave it behind.
"""

import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gwsmtp.base.endpoint import parse_endpoint
from gwsmtp.base.exitcodes import ExitCode

if TYPE_CHECKING:
    from gevent.event import Event

    from gwsmtp.trial.server import TrialServer


class _TrialCommand(click.Command):
    """Shows the rules' tables in its help, imported only when help is asked for."""

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from gwsmtp.trial import script

        text = (script.__doc__ or "").partition("\nContract:")[0].strip()
        formatter.write(f"\n--rule and --script: {text}\n")


@click.command(cls=_TrialCommand, name="trial")
@click.option("--listen", default="127.0.0.1:0", show_default=True, help="HOST:PORT; port 0 = any.")
@click.option(
    "--maildir",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for what is received; made when missing.",
)
@click.option("--rule", "rules", multiple=True, metavar="RULE", help="A misbehaviour; repeatable.")
@click.option(
    "--script",
    "script_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Rules in a file, one a line, read anew whenever it changes.",
)
@click.option(
    "--journal",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Appends what is seen and said to this file, one JSON object a line.",
)
@click.option(
    "--with-envelope", is_flag=True, help="Puts Return-Path and Delivered-To before a message."
)
@click.option("--exit-on-eof", is_flag=True, help="Ends when standard input ends.")
def command(
    listen: str,
    maildir: Path,
    rules: tuple[str, ...],
    script_file: Path | None,
    journal: Path | None,
    with_envelope: bool,
    exit_on_eof: bool,
) -> None:
    """Run the built-in next hop: files all mail it gets into a Maildir. For trying out only.

    Example: gwsmtp trial --listen 127.0.0.1:2600 --maildir /tmp/mail --rule 'rcpt:no*=550 5.1.1 no'

    Exit codes: 0 ended by TERM, INT or end of input; 2 wrong command line; 71 cannot listen there;
    73 cannot create the Maildir.
    """
    from gwsmtp.base.logs import setup
    from gwsmtp.trial.script import Script, ScriptError, ScriptFile

    if rules and script_file is not None:
        raise click.UsageError("--rule and --script exclude each other")
    script: Script
    try:
        if script_file is not None:
            script = reread = ScriptFile(script_file)
            reread.load()
        else:
            script = Script.parse(rules)
    except (ScriptError, OSError) as e:
        raise click.BadParameter(str(e), param_hint="--rule or --script") from e
    setup("trial", "info")
    listener = _bound(listen)
    from gwsmtp.trial.server import TrialServer

    try:
        server = TrialServer(
            listener, maildir, script, journal=journal, with_envelope=with_envelope
        )
    except OSError as e:
        click.echo(f"gwsmtp trial: cannot create {e.filename or maildir}: {e.strerror}", err=True)
        raise SystemExit(ExitCode.CANNOT_CREATE) from e
    _serve(server, exit_on_eof)


def _bound(text: str) -> socket.socket:
    try:
        endpoint = parse_endpoint(text, 0, names=True, any_port=True)
    except ValueError as e:
        raise click.BadParameter(f"{text!r}: {e}", param_hint="--listen") from e
    listener = None
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(found[0], found[1])
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(found[4])
    except OSError as e:
        if listener is not None:
            listener.close()
        click.echo(f"gwsmtp trial: cannot listen on {text}: {e}", err=True)
        raise SystemExit(ExitCode.CANNOT_BIND) from e
    return listener


def _serve(server: "TrialServer", exit_on_eof: bool) -> None:
    import gevent
    from gevent.event import Event

    ended = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, ended.set)
    reader = gevent.spawn(_read_to_eof, ended) if exit_on_eof else None
    server.start()
    click.echo(server.address)  # flushes: who started us waits for it
    ended.wait()
    server.stop()
    if reader is not None:
        reader.kill()


def _read_to_eof(ended: "Event") -> None:
    from gevent import os as cooperative

    cooperative.make_nonblocking(0)
    while cooperative.nb_read(0, 4096):
        pass
    ended.set()
