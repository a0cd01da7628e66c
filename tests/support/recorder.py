"""A TCP proxy that writes down every octet in both directions, and a reader of what it wrote.

It stands between a client and the gateway, so that a test knows what the client really put on the
wire. Standard library and threads, nothing of gwsmtp. A half-close is passed on as one.

Limits: plain TCP only (no TLS), and ``extract_messages`` knows no BDAT and no AUTH dialogue.
"""

import contextlib
import re
import socket
import threading

from tests.support.listening import ThreadedServer
from tests.support.wait import wait_for

_STUFFED = re.compile(rb"(\A|\r\n)\.")
_PATH = re.compile(rb"<([^>]*)>")


class Exchange:
    """One connection: what the client and what the server have said so far."""

    __slots__ = ("client", "is_over", "number", "server")

    def __init__(self, number: int) -> None:
        self.number = number
        self.client = bytearray()
        self.server = bytearray()
        self.is_over = False

    def messages(self) -> list["WireMessage"]:
        """The messages in it, as the client put them on the wire."""
        return extract_messages(bytes(self.client), bytes(self.server))

    def __repr__(self) -> str:
        return (
            f"Exchange({self.number}, client {len(self.client)}, server {len(self.server)} octets)"
        )


class WireMessage:
    """``payload`` is unstuffed; ``is_finished`` = the final dot was sent; ``reply`` the answer to
    it ("" if none came).
    """

    __slots__ = ("is_finished", "payload", "recipients", "reply", "sender")

    def __init__(
        self, sender: str, recipients: list[str], payload: bytes, is_finished: bool, reply: str
    ) -> None:
        self.sender = sender
        self.recipients = recipients
        self.payload = payload
        self.is_finished = is_finished
        self.reply = reply

    def __repr__(self) -> str:
        return f"WireMessage({self.sender!r}, {len(self.payload)} octets, {self.reply!r})"


class Recorder(ThreadedServer):
    """Passes every connection on to ``target`` (host:port); ``exchanges`` in order of arrival."""

    def __init__(self, target: str) -> None:
        super().__init__()
        host, _, port = target.rpartition(":")
        self._target = (host.strip("[]"), int(port))
        self._notes = threading.Lock()
        self.exchanges: list[Exchange] = []

    def wait_until_over(self, count: int, deadline_s: float = 10) -> list[Exchange]:
        """The exchanges once ``count`` connections have come and ended."""
        wait_for(
            lambda: sum(one.is_over for one in self.exchanges) >= count,
            lambda: f"{count} ended connections through the recorder, there are {self.exchanges}",
            deadline_s,
        )
        return list(self.exchanges)

    def messages(self) -> list[WireMessage]:
        """All messages of all connections so far."""
        return [message for exchange in list(self.exchanges) for message in exchange.messages()]

    def serve(self, sock: socket.socket) -> None:
        """One connection, to its end in both directions."""
        with self._notes:
            exchange = Exchange(len(self.exchanges) + 1)
            self.exchanges.append(exchange)
        try:
            upstream = socket.create_connection(self._target, timeout=10)
        except OSError:
            exchange.is_over = True
            raise
        upstream.settimeout(None)
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.track(upstream)
        back = threading.Thread(target=_pump, args=(upstream, sock, exchange.server), daemon=True)
        back.start()
        try:
            _pump(sock, upstream, exchange.client)
            back.join()
        finally:
            self.untrack(upstream)
            exchange.is_over = True


def _pump(source: socket.socket, sink: socket.socket, record: bytearray) -> None:
    """Copies until the end; what cannot be passed on any more is recorded all the same."""
    try:
        while data := source.recv(65536):
            record += data
            sink.sendall(data)
    except OSError:
        # One side is gone: end the other one too, or it would wait for ever.
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        return
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def extract_messages(client: bytes, server: bytes) -> list[WireMessage]:
    """The messages in one connection's octets: each command has its reply in order, the greeting
    comes before them all, and a payload begins where DATA was answered with 354.
    """
    replies = iter(_replies(server)[1:])
    messages = []
    sender, recipients = "", list[str]()
    at = 0
    while (end := client.find(b"\r\n", at)) >= 0:
        line = client[at:end]
        at = end + 2
        reply = next(replies, "")
        verb = line[:4].upper()
        if verb == b"MAIL" and reply.startswith("2"):
            sender, recipients = _path(line), []
        elif verb == b"RCPT" and reply.startswith("2"):
            recipients.append(_path(line))
        elif verb == b"DATA" and reply.startswith("354"):
            dot = client.find(b"\r\n.\r\n", at - 2)  # the CRLF of DATA may begin it
            payload = client[at:] if dot < 0 else client[at : dot + 2]
            payload = _STUFFED.sub(rb"\1", payload)
            answer = next(replies, "") if dot >= 0 else ""
            messages.append(WireMessage(sender, recipients, payload, dot >= 0, answer))
            sender, recipients = "", []
            at = dot + 5 if dot >= 0 else len(client)
    return messages


def _path(line: bytes) -> str:
    found = _PATH.search(line)
    return found[1].decode("utf-8", "backslashreplace") if found else ""


def _replies(server: bytes) -> list[str]:
    """Each reply as one string, its lines joined by LF."""
    replies = []
    lines: list[str] = []
    for line in server.split(b"\r\n"):
        lines.append(line.decode("utf-8", "backslashreplace"))
        if line[3:4] != b"-":
            replies.append("\n".join(lines))
            lines = []
    return replies[:-1] if replies and replies[-1] == "" else replies
