"""``gwsmtp table``: who is in the shared table, forgiven, allowed; limits put in shadow, proposed.

Reading maps the table read-only; writing takes the admission lock for some microseconds, as any
worker does, and acts on all workers at once. Both work also when no gateway runs.
"""

import json
import math
from pathlib import Path
from typing import Any

import click

from gwsmtp.base.clock import SystemClock
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.base.netmatch import AddressPattern, parse_pattern
from gwsmtp.cli.clientview import (
    client_as_dict,
    limit_word,
    network_as_dict,
    show_client,
    standing,
)
from gwsmtp.cli.opened import ClientAddress, WallTime, client_name, locked, opened, span
from gwsmtp.cli.options import config_option
from gwsmtp.limits import allow as allowlist
from gwsmtp.limits.clients import ClientView, count_clients, forgive, read_client, worst_clients
from gwsmtp.limits.identity import identify
from gwsmtp.limits.policy import Limit
from gwsmtp.limits.shadow import force_shadow, forced_limits
from gwsmtp.limits.shedding import count_shed

_LONGEST_TTL_S = 366 * 86400
_COMMON = (
    "1 the table cannot be read or its lock is not to be had; 2 wrong command line; 69 there is no "
    "table; 78 the configuration has problems"
)
_CODES = f"Exit codes: 0 done; {_COMMON}."

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


_LIMITS = {limit_word(limit): limit for limit in Limit}


@click.group(name="table", epilog="Example: gwsmtp table top -c gwsmtp.yaml")
def command() -> None:
    """Look into the shared table, forgive or allow clients, put limits in shadow."""


@command.command(name="top", epilog=f"Example: gwsmtp table top -n 20 -c gwsmtp.yaml. {_CODES}")
@config_option
@click.option(
    "-n",
    "--number",
    type=click.IntRange(min=1, max=65536),
    default=20,
    show_default=True,
    help="How many clients.",
)
@json_option
def top_command(config_path: Path, number: int, as_json: bool) -> None:
    """List the worst clients: by penalty, then score, then live connections."""
    from gwsmtp.config.loader import load_config
    from gwsmtp.process.defence import make_policy

    config, wall = load_config(config_path), WallTime(SystemClock())
    with opened(config) as table:
        clients = worst_clients(table, make_policy(config), wall.now_ms, number)
        count, shed = count_clients(table), count_shed(table)
    if as_json:
        rows = [client_as_dict(view, wall) for view in clients]
        click.echo(json.dumps({"known": count, "shed": shed, "clients": rows}))
        return
    by_kernel = f", {shed} shed by the kernel" if shed else ""
    click.echo(f"{count} clients are known, {len(clients)} shown{by_kernel}")
    for line in worst_lines(clients, wall):
        click.echo(line)


def worst_lines(clients: list[ClientView], wall: WallTime) -> list[str]:
    """A heading and a line for each client; nothing for none."""
    if not clients:
        return []
    lines = [f"{'client':<24}{'score':>8}{'penalty':>14}{'strikes':>9}{'live':>6}{'last seen':>16}"]
    lines += [
        f"{view.client:<24}{view.score:>8.2f}"
        f"{span(view.penalty_s) if view.penalty_s else '-':>14}{view.strikes:>9}{view.live:>6}"
        f"{span(wall.ago(view.last_seen_ms)) + ' ago':>16}"
        for view in clients
    ]
    return lines


@command.command(name="show", epilog=f"Example: gwsmtp table show 192.0.2.7. {_CODES}")
@click.argument("ip", type=ClientAddress())
@config_option
@json_option
def show_command(ip: str, config_path: Path, as_json: bool) -> int:
    """Show what the table says of one client and its network.

    Exit code 1 also where the client is not known.
    """
    from gwsmtp.config.loader import load_config

    config, wall = load_config(config_path), WallTime(SystemClock())
    with opened(config) as table:
        state = standing(table, config, ip, wall.now_ms)
    found: dict[str, Any] = {
        "asked": client_name(ip),
        "client": client_as_dict(state.client, wall),
        "network": network_as_dict(state.network, wall),
        "allowed_s": state.allowed_s,
        "exempt": state.is_exempt,
    }
    if as_json:
        click.echo(json.dumps(found))
    else:
        show_client(found)
    is_known = state.client or state.allowed_s or state.is_exempt
    return ExitCode.OK if is_known else ExitCode.FAILED


@command.command(name="unban", epilog=f"Example: gwsmtp table unban 192.0.2.7. {_CODES}")
@click.argument("ip", type=ClientAddress())
@config_option
def unban_command(ip: str, config_path: Path) -> None:
    """Take penalty, score and strikes from a client; print what it had as one log line.

    Not touched: what hides mailboxes from it after a dictionary attack, and its rates.
    """
    from gwsmtp.config.loader import load_config
    from gwsmtp.process.defence import make_policy

    config, clock = load_config(config_path), SystemClock()
    policy, identity = make_policy(config), identify(ip)
    with locked(config) as table:
        before = read_client(table, identity, policy, clock.boot_ms())
        forgive(table, identity)
    line = f"{clock.iso()} event=unban client={client_name(ip)}"
    if before is None:
        click.echo(f"{line} known=no")
        return
    click.echo(
        f"{line} known=yes penalty={before.penalty_s} score={before.score:.2f} "
        f"strikes={before.strikes}"
    )


class _Network(click.ParamType[AddressPattern]):
    """A CIDR, as the configuration writes networks."""

    name = "cidr"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> AddressPattern:
        """The pattern; a usage error for what is none or covers everybody."""
        try:
            return parse_pattern(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@command.command(
    name="allow",
    epilog="Example: gwsmtp table allow 192.0.2.0/24 --ttl 86400. Exit codes: 0 done; 1 the list "
    f"is full (256 networks), nothing was there to remove, {_COMMON.partition(' ')[2]}.",
)
@click.argument("cidr", type=_Network(), required=False)
@config_option
@click.option(
    "--ttl",
    type=click.IntRange(min=1, max=_LONGEST_TTL_S),
    metavar="SECONDS",
    help="How long it stays on the list.",
)
@click.option("--remove", is_flag=True, help="Take it off the list.")
@json_option
def allow_command(
    cidr: AddressPattern | None, config_path: Path, ttl: int | None, remove: bool, as_json: bool
) -> int:
    """Let a network's clients skip limits and penalties for a time; without a CIDR list all.

    A CIDR again gets a new end. Maximum inbound connections, rejected addresses and the scan hold
    for them as for anybody.
    """
    from gwsmtp.config.loader import load_config

    if cidr is not None and remove == (ttl is not None):
        raise click.UsageError("a CIDR needs either --ttl SECONDS or --remove")
    if cidr is None and (remove or ttl is not None):
        raise click.UsageError("--ttl and --remove need a CIDR")
    config, clock = load_config(config_path), SystemClock()
    if cidr is not None:
        now_ms = clock.boot_ms()
        with locked(config) as table:
            if ttl is not None:
                allowlist.allow(table, cidr, now_ms + ttl * 1000, now_ms)
            elif not allowlist.disallow(table, cidr, now_ms):
                click.echo(f"gwsmtp: {cidr} is not on the allow list", err=True)
                return ExitCode.FAILED
    wall = WallTime(clock)
    with opened(config) as table:
        entries = allowlist.read_allowed(table, wall.now_ms)
    rows = [(str(entry.pattern), -math.floor(wall.ago(entry.until_ms))) for entry in entries]
    if as_json:
        click.echo(json.dumps({"allowed": [{"cidr": c, "rest_s": rest} for c, rest in rows]}))
        return ExitCode.OK
    for name, rest_s in rows or [("nobody", 0)]:
        click.echo(f"{name:<24} another {span(rest_s)}" if rest_s else f"{name} is allowed")
    return ExitCode.OK


@command.command(name="shadow", epilog=f"Example: gwsmtp table shadow connections on. {_CODES}")
@click.argument("limit", type=click.Choice(list(_LIMITS)), required=False)
@click.argument("state", type=click.Choice(["on", "off"]), required=False)
@config_option
@json_option
def shadow_command(limit: str | None, state: str | None, config_path: Path, as_json: bool) -> None:
    """Put a limit in mode shadow for all workers at once; off gives it back to the file.

    In shadow a limit counts and reports and refuses nobody, whatever the configuration says. It
    stays so until it is put off or the machine is booted, over reloads and restarts. Without a
    LIMIT say which are.
    """
    from gwsmtp.config.loader import load_config

    if (limit is None) != (state is None):
        raise click.UsageError("LIMIT needs on or off")
    config = load_config(config_path)
    if limit is not None:
        with locked(config) as table:
            force_shadow(table, _LIMITS[limit], is_on=state == "on")
    with opened(config) as table:
        forced = [limit_word(one) for one in forced_limits(table)]
    if as_json:
        click.echo(json.dumps({"shadow": forced}))
    else:
        click.echo(f"in shadow by command: {', '.join(forced) or 'no limit'}")


@command.command(
    name="suggest",
    epilog="Example: gwsmtp table suggest -c gwsmtp.yaml. Exit codes: 0 done; 1 no client was "
    f"seen, {_COMMON.partition(' ')[2]}.",
)
@config_option
@json_option
def suggest_command(config_path: Path, as_json: bool) -> int:
    """Propose thresholds from what clients have used at their most, as YAML to paste.

    Twice of what 99 of 100 well-behaved clients stay within. A client is remembered for as long as
    its row stands; one that a limit stops, or would stop, is seen at its threshold only.
    """
    from gwsmtp.cli.suggest import as_dict, as_yaml
    from gwsmtp.config.loader import load_config
    from gwsmtp.limits.suggest import propose, survey
    from gwsmtp.process.defence import make_policy

    config, wall = load_config(config_path), WallTime(SystemClock())
    policy = make_policy(config)
    with opened(config) as table:
        seen = survey(table, policy, wall.now_ms)
    proposals = propose(seen)
    if not proposals:
        click.echo("gwsmtp: no well-behaved client has been seen yet", err=True)
        return ExitCode.FAILED
    seconds = wall.ago(seen.first_seen_ms)
    if as_json:
        click.echo(json.dumps(as_dict(seen, proposals, seconds)))
    else:
        click.echo(as_yaml(seen, proposals, policy, seconds), nl=False)
    return ExitCode.OK
