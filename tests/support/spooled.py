"""Messages put into the spool of a gateway that runs, as its workers put them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gwsmtp.process.bell import Bell
from gwsmtp.spool.files import Spool
from gwsmtp.spool.hold import Hold
from gwsmtp.spool.item import Envelope, RecipientEntry
from tests.support.gateway import Gateway

TRACE = b"Received: from client.example ([192.0.2.7])\r\n\tby gw.example.test; now\r\n"
CONTENT = b"Subject: spooled\r\n\r\n.dotted\r\nhello\r\n"


class Octets:
    """A body in memory."""

    def __init__(self, data: bytes) -> None:
        self.data: bytes = data
        self.size = len(data)

    def open_readonly(self) -> int:
        raise AssertionError("a body in memory has no file")

    def chunks(self) -> Iterator[bytes]:
        yield self.data


def envelope(
    number: int = 1, *recipients: str, received_at: float = 1e9, sid: str = "bcdfg"
) -> Envelope:
    """An envelope whose sender is ``sNUMBER@client.example``."""
    return Envelope(
        session_id=sid,
        number=number,
        client_ip="192.0.2.7",
        helo="client.example",
        sender=f"s{number}@client.example",
        recipients=tuple(map(RecipientEntry, recipients or ("user@example.test",))),
        received_at=received_at,
    )


def spool_of(gateway: Gateway) -> Spool:
    """The queue's directory."""
    return Spool(gateway.base / "private" / "queue")


def hold_of(gateway: Gateway) -> Hold:
    """The hold."""
    return Hold(gateway.base / "hold", spool_of(gateway))


def put(gateway: Gateway, one: Envelope, content: bytes = CONTENT, *, ring: bool = True) -> str:
    """Spools a message as a worker would, whoever we are; returns its id."""
    spool = spool_of(gateway)
    with owner_of(spool.root):
        item_id = spool.put(one, Octets(content), TRACE)
    if ring:
        bell = Bell(gateway.base / "run", "test")
        bell.ring(item_id)
        bell.close()
    return item_id


@contextmanager
def owner_of(path: Path) -> Iterator[None]:
    """Inside, files are made by who owns ``path``: the queue looks at them at once."""
    owner = path.stat()
    before = os.geteuid(), os.getegid()
    if before[0] == 0:
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        if before[0] == 0:
            os.seteuid(before[0])
            os.setegid(before[1])


def senders(entries: Sequence[dict[str, object]]) -> list[str]:
    """Whose messages these entries of a next hop's journal are about."""
    return [str(entry["sender"]) for entry in entries]
