"""``gwsmtp status``: what the shared table says, also when no master lives.

Maps the table read-only: asking costs the gateway nothing.
"""

import json
from pathlib import Path
from typing import Any

import click

from gwsmtp.base import procid
from gwsmtp.base.clock import SystemClock
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.cli.options import config_option
from gwsmtp.limits.arena import open_table
from gwsmtp.limits.pressure import PressureView, read_pressure
from gwsmtp.limits.slots import Gauge, SlotView, read_slots, sum_totals
from gwsmtp.master.pidfile import read_pidfile


@click.command(name="status")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(config_path: Path, as_json: bool) -> int:
    """Show processes, sessions and totals.

    Example: gwsmtp status -c gwsmtp.yaml

    Exit codes: 0 it runs; 69 it does not (the table is shown all the same); 1 the table cannot be
    read; 78 the file does not say which gateway: other problems do not matter here.
    """
    from gwsmtp.config.whereabouts import find_whereabouts

    place = find_whereabouts(config_path)
    status = collect(place.run, place.name, SystemClock().boot_ms())
    if as_json:
        click.echo(json.dumps(status))
    else:
        _show(status)
    return ExitCode.OK if status["running"] else ExitCode.UNAVAILABLE


def collect(run: Path, name: str, now_ms: int) -> dict[str, Any]:
    """Everything ``--json`` prints. Raises TableError."""
    master = read_pidfile(run / f"{name}.pid")
    status: dict[str, Any] = {
        "interface": name,
        "running": master is not None,
        "pid": master.pid if master else None,
        "listen": list(master.listen) if master else [],
        "generation": None,
        "reloads": master.reloads_done if master else 0,
        "reload_failure": master.reload_failure if master else "",
        "reload_refused": master.reload_refused if master else "",
        "counting_s": None,
        "sessions": 0,
        "pressure": None,
        "processes": [],
        "totals": {},
    }
    try:
        table = open_table(run / f"{name}.table", readonly=True)
    except FileNotFoundError:
        return status
    try:
        views = read_slots(table)
        status["generation"] = table.generation
        status["counting_s"] = (now_ms - table.created_ms) / 1000
        status["sessions"] = sum(view.gauges[Gauge.SESSIONS] for view in views)
        status["pressure"] = _pressure(read_pressure(table.words), now_ms)
        status["processes"] = [_process(view, now_ms) for view in views]
        status["totals"] = {total.name.lower(): n for total, n in sum_totals(table).items()}
    finally:
        table.close()
    return status


def _pressure(view: PressureView, now_ms: int) -> dict[str, Any]:
    since_s = (now_ms - view.since_ms) / 1000 if view.since_ms else None
    return {"level": view.level, "cause": view.cause.word, "since_s": since_s}


def _process(view: SlotView, now_ms: int) -> dict[str, Any]:
    is_alive = procid.is_alive(view.pid, view.start_ticks)
    return {
        "slot": view.index,
        "role": view.role.name.lower(),
        "number": view.number,
        "generation": view.generation,
        "pid": view.pid,
        "alive": is_alive,
        "state": view.state.name.lower() if is_alive or not view.pid else "dead",
        "age_s": (now_ms - view.claimed_ms) / 1000,
        "heartbeat_s": (now_ms - view.heartbeat_ms) / 1000,
        "gauges": {gauge.name.lower(): view.gauges[gauge] for gauge in Gauge},
    }


def _show(status: dict[str, Any]) -> None:
    if status["running"]:
        where = ", ".join(status["listen"]) or "no address"
        click.echo(f"{status['interface']}: running, pid {status['pid']}, listens on {where}")
        click.echo(f"generation {status['generation']}, {status['reloads']} reloads")
        if status["reload_failure"]:
            click.echo(f"the last reload changed nothing: {status['reload_failure']}")
        if status["reload_refused"]:
            click.echo(f"not open since the last reload: {status['reload_refused']}")
    else:
        click.echo(f"{status['interface']}: not running")
    pressure = status["pressure"]
    if pressure and pressure["level"]:
        click.echo(
            f"pressure {pressure['level']} for {pressure['since_s']:.0f} s, by {pressure['cause']}"
        )
    if status["processes"]:
        click.echo(
            f"{'process':<12}{'pid':>8}{'generation':>12}  {'state':<9}{'heartbeat':>10}"
            f"{'sessions':>10}"
        )
    for process in status["processes"]:
        label = f"{process['role']}-{process['number']}"
        click.echo(
            f"{label:<12}{process['pid']:>8}{process['generation']:>12}  {process['state']:<9}"
            f"{process['heartbeat_s']:>8.1f} s{process['gauges']['sessions']:>10}"
        )
    if status["counting_s"] is not None:
        click.echo(f"totals of the last {status['counting_s']:.0f} s:")
        for name, value in status["totals"].items():
            if value:
                click.echo(f"  {name.replace('_', ' '):<24}{value:>14}")
