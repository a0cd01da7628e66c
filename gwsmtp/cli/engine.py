"""``gwsmtp engine``: the scan engine alone, and asking any engine by hand.

``run`` is for an engine on a machine or under a user of its own; the master starts its embedded
engine itself. ``scan`` and ``ping`` speak to every engine of scan/PROTOCOL.md, ours or not.
"""

import json
import logging
import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click
import gevent
from gevent import socket

from gwsmtp.base import logs
from gwsmtp.base.clock import SystemClock
from gwsmtp.base.endpoint import Endpoint, UnixEndpoint, parse_service_address
from gwsmtp.base.errors import ScanUnavailable
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.base.quoting import quoted
from gwsmtp.engine.server import EngineServer
from gwsmtp.scan.connection import Connection, Timings, open_connection
from gwsmtp.scan.outcome import ScanRequest
from gwsmtp.scan.pool import ScanPool
from gwsmtp.scan.wire import Encoder

_BACKLOG = 512


class EndpointType(click.ParamType[Endpoint | UnixEndpoint]):
    """``unix:/path``, ``host:port`` or ``[v6]:port``."""

    name = "address"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Endpoint | UnixEndpoint:
        """The endpoint, or click's usage error."""
        try:
            text = str(value)
            if text.startswith("unix:"):
                text = f"unix:{Path(text[len('unix:') :]).absolute()}"
            return parse_service_address(text, any_port=True)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_ADDRESS = click.option(
    "--address",
    type=EndpointType(),
    required=True,
    help="The engine: unix:/path, host:port or [v6]:port.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_DEADLINE = click.option(
    "--deadline",
    type=click.FloatRange(0.1, 3600),
    default=120.0,
    show_default=True,
    help="Seconds.",
)


@click.group("engine")
def command() -> None:
    """Run the scan engine alone, or ask an engine by hand.

    Example: gwsmtp engine ping --address unix:/run/gwsmtp/engine.sock
    """


@command.command()
@click.option(
    "--listen",
    type=EndpointType(),
    required=True,
    help="Where to listen: unix:/path, host:port or [v6]:port.",
)
def run(listen: Endpoint | UnixEndpoint) -> None:
    """Run the scan engine in the foreground. TERM drains and ends, INT and QUIT end at once.

    Exit codes: 0 ended by a signal, 71 the address is taken or not ours.

    Example: gwsmtp engine run --listen unix:/run/gwsmtp/engine.sock
    """
    writer = logs.setup("engine", "info")
    try:
        listener = _listen(listen)
    except OSError as error:
        _fail(f"cannot listen on {listen}: {error.strerror or error}", ExitCode.CANNOT_BIND)
    server = EngineServer(listener)
    server.start()
    ended = gevent.event.Event()

    def drain() -> None:
        server.drain()
        server.drained.wait()
        ended.set()

    watchers = [
        gevent.signal_handler(signal.SIGTERM, drain),
        gevent.signal_handler(signal.SIGINT, ended.set),
        gevent.signal_handler(signal.SIGQUIT, ended.set),
    ]
    logging.getLogger(__name__).info("event=engine_listening address=%s", listen)
    ended.wait()
    for watcher in watchers:
        watcher.cancel()
    server.stop()
    listener.close()
    if isinstance(listen, UnixEndpoint):
        Path(listen.path).unlink(missing_ok=True)
    writer.flush()


@command.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_ADDRESS
@_DEADLINE
@_JSON
def scan(file: Path, address: Endpoint | UnixEndpoint, deadline: float, as_json: bool) -> None:
    """Have one message scanned: FILE is a message as it travels, header and all.

    Exit codes: 0 there is a verdict, whatever it is; 69 there is none.

    Example: gwsmtp engine scan message.eml --address unix:/run/gwsmtp/engine.sock --json
    """
    try:
        body = _FileBody(file)
    except OSError as error:
        _fail(f"{file}: {error.strerror or error}", ExitCode.FAILED)
    asked = ScanRequest("command", 1, "command", "127.0.0.1", 0, "localhost", "", (), body)
    clock = SystemClock()
    pool = ScanPool([str(address)], "command", deadline, clock)
    pool.start()
    try:
        began = clock.monotonic()
        outcome = pool.scan(asked)
        seconds = clock.monotonic() - began
    except ScanUnavailable as error:
        _fail(str(error), ExitCode.UNAVAILABLE)
    finally:
        pool.close()
    if as_json:
        click.echo(
            json.dumps(
                {
                    "action": outcome.action.value,
                    "rule": outcome.rule,
                    "text": outcome.text,
                    "headers": outcome.headers,
                    "engine": outcome.engine,
                    "seconds": round(seconds, 6),
                }
            )
        )
        return
    click.echo(
        " ".join(part for part in (outcome.action.value, outcome.rule, outcome.text) if part)
    )
    for name, value in outcome.headers:
        click.echo(f"  {name}: {value}")


@command.command()
@_ADDRESS
@_JSON
def ping(address: Endpoint | UnixEndpoint, as_json: bool) -> None:
    """Connect to an engine, exchange hellos, and say what it is and how long that took.

    Exit codes: 0 it answers, 69 it does not.

    Example: gwsmtp engine ping --address 192.0.2.10:7900
    """
    clock = SystemClock()
    began = clock.monotonic()
    with _connected(address, clock) as connection:
        milliseconds = (clock.monotonic() - began) * 1000
        found = {
            "engine": connection.engine_name,
            "license": connection.license,
            "takes_descriptors": connection.takes_descriptors,
            "max_body": connection.max_body,
            "milliseconds": round(milliseconds, 3),
        }
    if as_json:
        click.echo(json.dumps(found))
    else:
        click.echo(" ".join(f"{key}={quoted(str(value))}" for key, value in found.items()))


@contextmanager
def _connected(address: Endpoint | UnixEndpoint, clock: SystemClock) -> Iterator[Connection]:
    try:
        connection = open_connection(address, clock, Encoder(), Timings())
    except ScanUnavailable as error:
        _fail(f"{address}: {error}", ExitCode.UNAVAILABLE)
    try:
        yield connection
    finally:
        connection.close("done")


def _listen(endpoint: Endpoint | UnixEndpoint) -> socket.socket:
    if not isinstance(endpoint, UnixEndpoint):
        family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        target: str | tuple[str, int] = (endpoint.host, endpoint.port)
    else:
        _remove_stale(endpoint.path)
        listener = socket.socket(socket.AF_UNIX)
        target = endpoint.path
    try:
        listener.bind(target)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _remove_stale(path: str) -> None:
    """Removes a socket that a killed engine left; one that somebody answers on stays."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except FileNotFoundError:
        return
    probe = socket.socket(socket.AF_UNIX)
    try:
        probe.connect(path)
    except ConnectionRefusedError:
        Path(path).unlink()
    finally:
        probe.close()


class _FileBody:
    """A file as a message body."""

    data = None

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            self.size = os.fstat(file.fileno()).st_size

    def open_readonly(self) -> int:
        return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def chunks(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            while chunk := file.read(256 * 1024):
                yield chunk


def _fail(problem: str, code: ExitCode) -> NoReturn:
    click.echo(f"gwsmtp engine: {problem}", err=True)
    sys.exit(code)
