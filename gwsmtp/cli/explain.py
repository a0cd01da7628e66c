"""``gwsmtp explain``: why was this session, or this client, refused, delayed or hidden from?

Reads the table, read-only, and then the log file, if there is one; needs no gateway that runs.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from gwsmtp.base.clock import SystemClock
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.base.ids import ID_LENGTH, id_number
from gwsmtp.cli.clientview import client_as_dict, network_as_dict, show_client, standing
from gwsmtp.cli.decisions import (
    Explained,
    from_log,
    from_table,
    log_lines,
    rule_of,
    together,
)
from gwsmtp.cli.opened import NoTable, WallTime, client_address, client_name, iso, opened
from gwsmtp.cli.options import config_option
from gwsmtp.config.root import Config
from gwsmtp.limits.ring import read_decisions

_MIB = 1 << 20


@click.command(name="explain")
@click.argument("what", metavar="ID|IP")
@config_option
@click.option(
    "--last",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    metavar="N",
    help="Show the last N decisions.",
)
@click.option(
    "--log-mib",
    type=click.IntRange(min=0, max=1024),
    default=16,
    show_default=True,
    metavar="N",
    help="Look through the last N MiB of the log file, and of FILE.1; 0: not at all.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(what: str, config_path: Path, last: int, log_mib: int, as_json: bool) -> int:
    """Explain what the defence decided about a session or a client, by which rule and why.

    ID is the reference at the end of a refusal, the ten letters in brackets; IP a client, for IPv6
    any address of its /64. Decisions come from the shared table (the last 1,024 of each worker) and
    from the log file; of a client its row, its network and its exemptions are shown too.

    \b
    Example: gwsmtp explain bcdfghjklm -c gwsmtp.yaml
             gwsmtp explain 192.0.2.7 -c gwsmtp.yaml

    Exit codes: 0 something is known; 1 nothing is, or the table cannot be read; 2 neither an ID
    nor an IP; 69 there is no table and no log; 78 the configuration has problems.
    """
    from gwsmtp.config.loader import load_config

    session, ip = _parsed(what)
    config = load_config(config_path)
    found = _collect(config, session, ip, log_mib * _MIB)
    decisions: list[Explained] = found["decisions"]
    count = len(decisions)
    found["decisions"] = decisions[-last:]
    found["left_out"] = max(count - last, 0)
    if as_json:
        click.echo(json.dumps(found | {"decisions": [asdict(d) for d in found["decisions"]]}))
    elif found["known"]:
        _show(found)
    if found["known"]:
        return ExitCode.OK
    where = "the table and the log" if config.logging.path and log_mib else "the table"
    click.echo(f"gwsmtp: nothing is known of {found['asked']} in {where}", err=True)
    return ExitCode.FAILED


def _parsed(what: str) -> tuple[str, str]:
    """(session id, address), one of them empty. Raises UsageError."""
    text = what.strip().strip("[]").lower()
    if len(text) == ID_LENGTH:
        try:
            id_number(text)
        except ValueError:
            pass
        else:
            return text, ""
    ip = client_address(what)
    if ip is None:
        raise click.UsageError(f"{what!r} is neither a session id nor an IP address")
    return "", ip


def _collect(config: Config, session: str, ip: str, log_octets: int) -> dict[str, Any]:
    """All that is known; of a client's row only when an address was asked for."""
    client = client_name(ip) if ip else ""
    found: dict[str, Any] = {"asked": session or client, "client": None, "network": None}
    rings: list[Explained] = []
    wall = WallTime(SystemClock())
    no_table: NoTable | None = None
    try:
        with opened(config) as table:
            views = read_decisions(table)
            views = [v for v in views if v.session_id == session or v.client == client]
            rings = from_table(table, views, wall)
            if ip:
                state = standing(table, config, ip, wall.now_ms)
                found["client"] = client_as_dict(state.client, wall)
                found["network"] = network_as_dict(state.network, wall)
                found["allowed_s"] = state.allowed_s
                found["exempt"] = state.is_exempt
    except NoTable as error:
        no_table = error
    logged, lines = _from_log(config, session, client, log_octets)
    if no_table is not None and not logged and not lines:
        raise no_table
    found["decisions"] = together(rings, logged)
    found["log"] = lines
    found["known"] = bool(
        found["decisions"]
        or lines
        or found["client"]
        or found.get("exempt")
        or found.get("allowed_s")
    )
    return found


def _from_log(
    config: Config, session: str, client: str, octets: int
) -> tuple[list[Explained], list[str]]:
    path = config.logging.path
    if path is None or not octets:
        return [], []
    words = [f"sid={session} "] if session else ["event=decision "]
    try:
        return from_log(log_lines(path, octets, words), session, client)
    except OSError as error:
        click.echo(f"gwsmtp: {path}: cannot be read: {error.strerror}", err=True)
        return [], []


def _show(found: dict[str, Any]) -> None:
    if found["left_out"]:
        click.echo(f"{found['left_out']} earlier decisions left out (--last)")
    for decision in found["decisions"]:
        click.echo(
            f"{iso(decision.at)} {decision.action} by rule {decision.reason}: {decision.measure}"
        )
        what, settings = rule_of(decision.reason)
        if what:
            click.echo(f"    {what}; {settings}")
        click.echo(
            f"    client {decision.client}, {decision.listener} listener, {decision.worker}, "
            f"session {decision.session} (from the {decision.source})"
        )
    if not found["decisions"] and "exempt" in found:
        click.echo(f"no decision about {found['asked']}")
    for line in found["log"]:
        click.echo(line)
    if "exempt" in found:
        show_client(found)
