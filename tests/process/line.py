"""A gateway with one worker and a next hop that misbehaves, for the tests of delivery in line.

Each message has a sender of its own, by which the next hop's journal is read.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from tests.support.gateway import Gateway, open_folder
from tests.support.nexthop import NextHop
from tests.support.rawclient import RawClient, RawReply

SMALL = b"Subject: small\r\n\r\nhello\r\n"
LARGE = b"Subject: large\r\n\r\n" + (b"x" * 1022 + b"\r\n") * 16_000
NOT_NOW = "451 4.3.0"
IN_DOUBT = "451 4.4.2"
SETTINGS = {
    "protocol": {
        "server_connection_timeout": 1,
        "server_protocol_timeout": 1,
        "server_data_timeout": 1,
    },
    "workers": {"count": 1},
}
FRESH = "rset=close"
"""Makes the gateway give up its pooled connection and open a new one."""


class Line:
    """A gateway with one worker, its next hop, and a new sender for every message."""

    def __init__(self, gateway: Gateway, hop: NextHop, name: str = "s") -> None:
        self.gateway = gateway
        self.hop = hop
        self._name = name
        self._numbers = count(1)

    def sender(self) -> str:
        return f"{self._name}{next(self._numbers)}@client.example"

    def send(self, sender: str, content: bytes = SMALL, *to: str) -> str:
        """The reply to the end of data."""
        with RawClient(self.gateway.address) as client:
            client.greet()
            reply = client.send_message(sender, to or ["user@example.test"], content)
            assert client.quit().code == 221
        return shown(reply)

    def dots(self, sender: str) -> int:
        """How often the next hop has seen the final dot of ``sender``'s message."""
        return sum(entry.get("sender") == sender for entry in self.hop.entries("message"))

    def filed(self, sender: str) -> int:
        """How often the next hop has taken responsibility for it."""
        return len(self.hop.by_sender().get(sender, []))

    def recover(self) -> None:
        """The next hop behaves again, and the next message passes at once."""
        self.hop.misbehave()
        sender = self.sender()
        assert self.send(sender).startswith("250 "), self.gateway.log_tail()
        assert (self.dots(sender), self.filed(sender)) == (1, 1)


@contextmanager
def one_folder() -> Iterator[Path]:
    """A folder for all of it."""
    path = open_folder()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def running_line(folder: Path) -> Iterator[Line]:
    """A gateway and its next hop, as long as it is entered."""
    with NextHop(folder) as hop, Gateway(folder, hop.address, SETTINGS) as gateway:
        yield Line(gateway, hop)


def shown(reply: RawReply) -> str:
    return reply.raw.decode().rstrip("\r\n")
