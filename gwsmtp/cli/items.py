"""What ``gwsmtp hold`` and ``gwsmtp queue`` share: where messages lie, and how one is shown.

Addresses, headers and replies are other people's text: what a terminal would obey is escaped.
"""

import datetime
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gwsmtp.process.context import QUEUE_DIRECTORY
from gwsmtp.spool.files import Spool
from gwsmtp.spool.hold import MAX_HEADER_OCTETS, Hold
from gwsmtp.spool.item import Envelope, RecipientState
from gwsmtp.spool.stored import Item

if TYPE_CHECKING:
    from rich.table import Table

    from gwsmtp.config.root import Config

_PIPE_WIDTH = 200


def load(config_path: Path) -> "tuple[Config, Spool, Hold]":
    """The configuration, the queue's directory and the hold. Raises ConfigError."""
    from gwsmtp.config.loader import load_config

    config = load_config(config_path)
    spool = Spool(config.paths.spool / QUEUE_DIRECTORY)
    return config, spool, Hold(config.paths.hold, spool)


def envelope_json(item_id: str, envelope: Envelope) -> dict[str, Any]:
    """One message as ``--json`` prints it; times are seconds since the epoch, 0 for never."""
    return {
        "id": item_id,
        "session_id": envelope.session_id,
        "number": envelope.number,
        "client_ip": envelope.client_ip,
        "helo": envelope.helo,
        "sender": envelope.sender,
        "recipients": [
            {
                "address": one.address,
                "state": one.state,
                "attempts": one.attempts,
                "next_at": one.next_at,
                "hop": one.hop,
                "reply": one.reply,
            }
            for one in envelope.recipients
        ],
        "received_at": envelope.received_at,
        "queued_at": envelope.queued_at,
        "held_at": envelope.held_at,
        "reason": str(envelope.reason),
        "headers_only": envelope.is_headers_only,
    }


def printable(text: str) -> str:
    """``text`` without anything that a terminal obeys."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def moment(at: float) -> str:
    """A local date and time."""
    return datetime.datetime.fromtimestamp(at).astimezone().isoformat(sep=" ", timespec="seconds")


def not_there(envelope: Envelope) -> str:
    """The recipients that have not got it, for a column."""
    missing = [
        one.address for one in envelope.recipients if one.state is not RecipientState.DELIVERED
    ]
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return printable(missing[0]) + more if missing else "-"


def print_table(table: "Table") -> None:
    """A table as wide as the terminal, or as a pipe's reader can take."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


def show(item: Item, *, as_json: bool, raw: bool) -> None:
    """One message in the form that was asked for."""
    if raw:
        write_raw(item)
    elif as_json:
        click.echo(json.dumps(envelope_json(item.id, item.envelope)))
    else:
        print_item(item)


def print_item(item: Item) -> None:
    """Envelope, recipients and header section of one message."""
    envelope = item.envelope
    rows = [
        ("id", item.id),
        ("session", f"{envelope.session_id}, message {envelope.number}"),
        ("client", f"{envelope.client_ip} {envelope.helo}"),
        ("received", moment(envelope.received_at)),
        ("sender", f"<{envelope.sender}>"),
    ]
    if envelope.reason:
        rows.append(("held", f"{moment(envelope.held_at)}, {envelope.reason}"))
    rows.append(("size", f"{len(item.trace) + item.body.size} octets"))
    if envelope.is_headers_only:
        rows.append(("body", "not kept"))
    for name, text in rows:
        click.echo(f"{name + ':':<11}{printable(text)}")
    for one in envelope.recipients:
        text = f"<{one.address}> {one.state}"
        if one.attempts:
            text += f", {one.attempts} tries"
        if one.reply:
            text += f": {one.hop or '-'}: {one.reply}"
        click.echo(f"{'recipient:':<11}{printable(text)}")
    click.echo()
    first: bytes = next(item.body.chunks(), b"")
    start = item.trace + first[:MAX_HEADER_OCTETS]
    for line in start.partition(b"\r\n\r\n")[0].split(b"\r\n"):
        click.echo("  " + printable(line.decode("utf-8", "backslashreplace").expandtabs()))


def write_raw(item: Item) -> None:
    """The message itself, with our trace field, octet by octet."""
    out = sys.stdout.buffer
    out.write(item.trace)
    for piece in item.body.chunks():
        out.write(piece)
    out.flush()
