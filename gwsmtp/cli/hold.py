"""``gwsmtp hold``: what is held, and what becomes of it.

Works on the files themselves, whether the gateway runs or not; one that runs is told of what was
released. To be run as root or as workers.user, whom the files belong to.
"""

import json
from collections.abc import Callable
from pathlib import Path

import click

from gwsmtp.base.clock import SystemClock
from gwsmtp.base.errors import SpoolError
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.cli import items
from gwsmtp.cli.options import config_option
from gwsmtp.process.bell import Bell
from gwsmtp.spool.hold import HoldReason


@click.group(name="hold")
def command() -> None:
    """List, show, release or delete messages that are held.

    A message is held where to deliver it would be wrong and to refuse it too: mail for unknown
    recipients of a client that tries addresses out, and what could not be delivered in the end.

    Example: gwsmtp hold list -c gwsmtp.yaml
    """


@command.command(name="list")
@config_option
@click.option(
    "--reason",
    type=click.Choice([str(reason) for reason in HoldReason]),
    help="Only what is held for this reason.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_command(config_path: Path, reason: str | None, as_json: bool) -> int:
    """List held messages, oldest first.

    Example: gwsmtp hold list -c gwsmtp.yaml --reason dictionary-attack

    Exit codes: 0 done; 1 the hold cannot be read; 78 the configuration has problems.
    """
    _, _, hold = items.load(config_path)
    held = hold.list(reason)
    if as_json:
        rows = [items.envelope_json(one.id, one.envelope) | {"octets": one.octets} for one in held]
        click.echo(json.dumps(rows))
        return ExitCode.OK
    if not held:
        click.echo("nothing is held")
        return ExitCode.OK
    from rich.table import Table
    from rich.text import Text

    table = Table("id", "held", "reason", "client", "sender", "recipients", "octets", box=None)
    for one in held:
        envelope = one.envelope
        table.add_row(
            one.id,
            items.moment(envelope.held_at),
            one.reason,
            envelope.client_ip,
            Text(items.printable(envelope.sender) or "<>"),
            Text(items.not_there(envelope)),
            f"{one.octets}" + (", headers only" if envelope.is_headers_only else ""),
        )
    items.print_table(table)
    return ExitCode.OK


@command.command(name="show")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print the envelope as one JSON object.")
@click.option("--raw", is_flag=True, help="Print the message itself, octet by octet.")
@click.argument("item_id", metavar="ID")
def show_command(config_path: Path, item_id: str, as_json: bool, raw: bool) -> int:
    """Show envelope and header of a held message.

    Example: gwsmtp hold show -c gwsmtp.yaml bcdfghjklm-1

    Exit codes: 0 done; 1 there is no such message; 78 the configuration has problems.
    """
    _, _, hold = items.load(config_path)
    with hold.show(item_id) as item:
        items.show(item, as_json=as_json, raw=raw)
    return ExitCode.OK


@command.command(name="release")
@config_option
@click.argument("item_ids", metavar="ID...", nargs=-1, required=True)
def release_command(config_path: Path, item_ids: tuple[str, ...]) -> int:
    """Let the queue deliver held messages to all recipients that have not got them.

    Example: gwsmtp hold release -c gwsmtp.yaml bcdfghjklm-1

    Exit codes: 0 done; 1 one of them could not be released; 78 the configuration has problems.
    """
    config, _, hold = items.load(config_path)
    bell, clock = Bell(config.paths.run, config.interface.name), SystemClock()

    def release(item_id: str) -> str:
        queued = hold.release(item_id, clock.now())
        bell.ring(queued)
        return f"{item_id}: released, {queued} in the queue"

    try:
        return _each(item_ids, release)
    finally:
        bell.close()


@command.command(name="delete")
@config_option
@click.argument("item_ids", metavar="ID...", nargs=-1, required=True)
def delete_command(config_path: Path, item_ids: tuple[str, ...]) -> int:
    """Delete held messages for good.

    Example: gwsmtp hold delete -c gwsmtp.yaml bcdfghjklm-1

    Exit codes: 0 done; 1 one of them could not be deleted; 78 the configuration has problems.
    """
    _, _, hold = items.load(config_path)

    def delete(item_id: str) -> str:
        hold.delete(item_id)
        return f"{item_id}: deleted"

    return _each(item_ids, delete)


def _each(item_ids: tuple[str, ...], action: Callable[[str], str]) -> int:
    """Does it to each, whatever became of the others."""
    code = ExitCode.OK
    for item_id in item_ids:
        try:
            click.echo(action(item_id))
        except SpoolError as error:
            click.echo(f"gwsmtp: {error}", err=True)
            code = ExitCode.FAILED
    return code
