"""``gwsmtp top``: the gateway at a glance, once a second, from the shared table.

Maps the table read-only and anew for each frame: watching costs the gateway nothing, survives its
restarts, and goes on when no master lives.
"""

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table as Grid
from rich.text import Text

from gwsmtp.base.clock import SystemClock, pause
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.cli.opened import WallTime, opened, span
from gwsmtp.cli.options import config_option
from gwsmtp.cli.reading import Reading, frame, read
from gwsmtp.config.root import Config
from gwsmtp.master.pidfile import read_pidfile

_WORST = 10
_LEAST_WORST = 3
_OTHER_LINES = 22
_PIPE_WIDTH = 100
_HOPS_SHOWN = 3

NextFrame = Callable[[], dict[str, Any]]


@click.command(name="top")
@config_option
@click.option("--once", is_flag=True, help="Print one frame and end; so it is in a pipe.")
@click.option("--json", "as_json", is_flag=True, help="Print one frame as a JSON object and end.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1, max=60),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two readings, which rates are made from.",
)
def command(config_path: Path, once: bool, as_json: bool, interval: float) -> int:
    """Watch sessions, rates, pressure, the worst clients and all processes; Ctrl-C ends it.

    Sessions and their octets are counted when a session ends, decisions when they are made, those
    that refuse nobody (mode shadow) included. Works also when no gateway runs any more.

    Example: gwsmtp top -c gwsmtp.yaml

    Exit codes: 0 done; 1 the table cannot be read; 69 there is no table; 78 the configuration has
    problems.
    """
    from gwsmtp.config.loader import load_config

    console = make_console()
    next_frame = _frames(load_config(config_path), interval, _rows_for(console))
    if as_json:
        click.echo(json.dumps(next_frame()))
    elif once or not console.is_terminal:
        console.print(render(next_frame()))
    else:
        _watch(console, next_frame)
    return ExitCode.OK


def make_console() -> Console:
    """For standard output; nothing but text where that is no terminal."""
    if sys.stdout.isatty():
        return Console(markup=False, highlight=False)
    return Console(
        markup=False,
        highlight=False,
        force_terminal=False,
        no_color=True,
        color_system=None,
        width=_PIPE_WIDTH,
    )


def _rows_for(console: Console) -> int:
    """How many of the worst clients fit."""
    if not console.is_terminal:
        return _WORST
    return max(console.height - _OTHER_LINES, _LEAST_WORST)


def _frames(config: Config, interval: float, most: int) -> NextFrame:
    """A function that waits for the interval's end and returns the next frame."""
    from gwsmtp.process.defence import make_policy

    policy, clock = make_policy(config), SystemClock()
    pidfile = config.paths.run / f"{config.interface.name}.pid"

    def look() -> Reading:
        with opened(config) as table:
            return read(table, policy, clock.boot_ms(), most)

    before = look()

    def next_frame() -> dict[str, Any]:
        nonlocal before
        pause(interval)
        after = look()
        made = frame(config, read_pidfile(pidfile), before, after, WallTime(clock))
        before = after
        return made

    return next_frame


def _watch(console: Console, next_frame: NextFrame) -> None:
    """Until Ctrl-C, or TERM, which leaves the terminal as it was too."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            live.update(Text("reading …"), refresh=True)
            while True:
                live.update(render(next_frame()), refresh=True)
    except KeyboardInterrupt:
        return


def render(shown: dict[str, Any]) -> RenderableType:
    """A frame for people."""
    parts: list[RenderableType] = [_head(shown), _listeners(shown), _hops(shown), Text("")]
    if shown["rates"] is None:
        parts.append(Text("no rates: the table is a new one"))
    else:
        parts += _rates(shown["rates"])
    parts += [Text(""), _processes(shown)]
    if shown["worst"]:
        parts += [Text(""), _worst(shown["worst"])]
    return Group(*parts)


def _head(shown: dict[str, Any]) -> Text:
    name = shown["interface"]
    if shown["running"]:
        line = Text(f"{name}: running, pid {shown['pid']}, generation {shown['generation']}")
    else:
        line = Text(f"{name}: not running", style="bold red")
        line.append(", this is what it left behind", style="default")
    line.append(f", counting for {span(shown['counting_s'])}")
    return line


def _listeners(shown: dict[str, Any]) -> Text:
    parts = [f"{one['name']} {one['live']}/{one['most']}" for one in shown["listeners"]]
    line = Text(f"sessions: {', '.join(parts) or 'no listener'}; pressure ")
    pressure = shown["pressure"]
    line.append(str(pressure["level"]), style="bold red" if pressure["level"] else "green")
    if pressure["since_s"] is not None:
        line.append(f" for {span(pressure['since_s'])}")
    known = shown["clients"]
    line.append(f"; clients known: {known['known']}")
    if known["shed"]:
        line.append(f", {known['shed']} shed by the kernel", style="red")
    if known["overflow"]:
        line.append(f", {known['overflow']} without a row", style="yellow")
    if shown["shadow"]:
        line.append(f"; in shadow by command: {', '.join(shown['shadow'])}", style="yellow")
    return line


def _hops(shown: dict[str, Any]) -> Text:
    hops = shown["next_hops"]
    busiest = list(hops["connections"].items())
    parts = [f"{name} {live}/{hops['most']}" for name, live in busiest[:_HOPS_SHOWN]]
    if len(busiest) > _HOPS_SHOWN:
        parts.append(f"{len(busiest) - _HOPS_SHOWN} more")
    line = Text(f"next hops: {', '.join(parts) or 'no connection'}")
    if hops["overflow"]:
        line.append(f"; {hops['overflow']} not counted", style="yellow")
    return line


def _rates(rates: dict[str, Any]) -> list[RenderableType]:
    messages = ", ".join(f"{name} {rate:g}" for name, rate in rates["messages"].items())
    decisions = ", ".join(f"{name} {rate:g}" for name, rate in rates["decisions"].items())
    return [
        Text(f"a second, over {rates['over_s']:.1f} s:"),
        Text(f"  sessions   ended {rates['sessions']:g}, refused {rates['refused']:g}"),
        Text(f"  messages   {messages}"),
        Text(f"  octets     in {rates['octets_in']:,.0f}, out {rates['octets_out']:,.0f}"),
        Text(f"  decisions  {decisions or 'none since the table began'}"),
    ]


def _processes(shown: dict[str, Any]) -> RenderableType:
    grid = _grid(
        "process", "pid", "gen", "state", "heartbeat", "sessions", "items", "requests", "failed"
    )
    for kind in ("workers", "queues", "engines"):
        for one in shown[kind]:
            rate = one.get("requests_per_s")
            grid.add_row(
                f"{kind[:-1]}-{one['number']}",
                str(one["pid"]),
                str(one["generation"]),
                one["state"],
                f"{one['heartbeat_s']:.1f} s",
                str(one.get("sessions", "")),
                str(one.get("items", "")),
                f"{one['requests']} ({rate or 0:g}/s)" if "requests" in one else "",
                str(one.get("failed", "")),
                style="red" if one["state"] == "dead" else "",
            )
    return grid if grid.row_count else Text("no process is left")


def _worst(clients: list[dict[str, Any]]) -> RenderableType:
    grid = _grid("worst clients", "score", "penalty", "strikes", "live", "bad rcpts")
    for client in clients:
        grid.add_row(
            client["client"],
            f"{client['score']:.2f}",
            span(client["penalty_s"]) if client["penalty_s"] else "-",
            str(client["strikes"]),
            str(client["live"]),
            str(client["bad_recipients"]),
            style="red" if client["penalty_s"] else "",
        )
    return grid


def _grid(first: str, *others: str) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    grid.add_column(first, no_wrap=True)
    for name in others:
        grid.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
    return grid
