"""``gwsmtp queue``: what waits to be delivered. Only reads, whether the gateway runs or not."""

import json
from pathlib import Path

import click

from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.cli import items
from gwsmtp.cli.options import config_option
from gwsmtp.spool.files import ItemGone, Spool
from gwsmtp.spool.item import Envelope, ItemDamaged


@click.group(name="queue")
def command() -> None:
    """List or show messages that wait to be delivered.

    Example: gwsmtp queue list -c gwsmtp.yaml
    """


@command.command(name="list")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_command(config_path: Path, as_json: bool) -> int:
    """List queued messages, oldest first.

    Example: gwsmtp queue list -c gwsmtp.yaml

    Exit codes: 0 done; 1 the queue cannot be read; 78 the configuration has problems.
    """
    _, spool, _ = items.load(config_path)
    queued = _read(spool)
    if as_json:
        click.echo(json.dumps([items.envelope_json(*one) for one in queued]))
        return ExitCode.OK
    if not queued:
        click.echo("the queue is empty")
        return ExitCode.OK
    from rich.table import Table
    from rich.text import Text

    table = Table("id", "queued", "tries", "next", "sender", "recipients", "last reply", box=None)
    for item_id, envelope in queued:
        waiting = [envelope.recipients[n] for n in envelope.pending()]
        tries = max((one.attempts for one in waiting), default=0)
        table.add_row(
            item_id,
            items.moment(envelope.queued_at),
            str(tries),
            items.moment(min(one.next_at for one in waiting)) if tries else "-",
            Text(items.printable(envelope.sender) or "<>"),
            Text(items.not_there(envelope)),
            Text(items.printable(waiting[0].reply) if waiting else "-"),
        )
    items.print_table(table)
    return ExitCode.OK


@command.command(name="show")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print the envelope as one JSON object.")
@click.option("--raw", is_flag=True, help="Print the message itself, octet by octet.")
@click.argument("item_id", metavar="ID")
def show_command(config_path: Path, item_id: str, as_json: bool, raw: bool) -> int:
    """Show envelope, recipients and header of a queued message.

    Example: gwsmtp queue show -c gwsmtp.yaml bcdfghjklm-1

    Exit codes: 0 done; 1 there is no such message; 78 the configuration has problems.
    """
    _, spool, _ = items.load(config_path)
    with spool.open(item_id) as item:
        items.show(item, as_json=as_json, raw=raw)
    return ExitCode.OK


def _read(spool: Spool) -> list[tuple[str, Envelope]]:
    found = []
    for item_id in spool.list():
        try:
            with spool.open(item_id) as item:
                found.append((item_id, item.envelope))
        except ItemGone:
            continue  # delivered meanwhile
        except ItemDamaged as error:
            click.echo(f"gwsmtp: {item_id}: {error}", err=True)
    return sorted(found, key=lambda one: (one[1].queued_at, one[0]))
