"""A raw SMTP sink that keeps exactly the octets it receives, for checks that trust nobody.

Standard library and threads; nothing of gwsmtp, and no code in common with ``gwsmtp.trial``. It
accepts everything; a payload is kept as it stood between the 354 and CRLF.CRLF, dots unstuffed and
nothing else changed. A message counts as received before its 250 is sent.

Limits: no size limit, everything stays in memory; replies are fixed; pipelined commands are
answered one by one.
"""

import contextlib
import socket
import threading
from io import BufferedReader

from tests.support.listening import ThreadedServer
from tests.support.wait import wait_for


class SinkMessage:
    """One message whose final dot has come."""

    __slots__ = ("connection", "payload", "recipients", "sender")

    def __init__(self, connection: int, sender: str, recipients: list[str], payload: bytes) -> None:
        self.connection = connection
        self.sender = sender
        self.recipients = recipients
        self.payload = payload

    def __repr__(self) -> str:
        return f"SinkMessage({self.sender!r} to {self.recipients}, {len(self.payload)} octets)"


class RawSink(ThreadedServer):
    """``messages`` grows in the order of final dots; ``unfinished`` counts payloads that ended
    without one; ``commands`` holds every command line as (connection, line).
    """

    def __init__(self, reply_to_dot: bytes = b"250 2.0.0 Taken\r\n", size: int = 0) -> None:
        super().__init__()
        self.reply_to_dot = reply_to_dot
        self.messages: list[SinkMessage] = []
        self.commands: list[tuple[int, bytes]] = []
        self.unfinished = 0
        self.connections = 0
        self._size = size
        self._notes = threading.Lock()
        self._may_answer = threading.Event()
        self._may_answer.set()

    def hold(self) -> None:
        """From now on no final dot is answered until ``let_go``."""
        self._may_answer.clear()

    def let_go(self) -> None:
        """Answers whatever waits."""
        self._may_answer.set()

    def stop(self) -> None:
        """As in ThreadedServer; nobody is left waiting."""
        self.let_go()
        super().stop()

    def wait_for_messages(self, count: int, deadline_s: float = 10) -> list[SinkMessage]:
        """The messages once there are ``count``."""
        wait_for(
            lambda: len(self.messages) >= count,
            lambda: f"messages in the sink: {len(self.messages)} of {count} have come",
            deadline_s,
        )
        return list(self.messages)

    def by_sender(self) -> dict[str, list[SinkMessage]]:
        """All messages, grouped by the sender of their envelope."""
        grouped: dict[str, list[SinkMessage]] = {}
        for message in list(self.messages):
            grouped.setdefault(message.sender, []).append(message)
        return grouped

    def speak(self, octets: bytes) -> None:
        """Says ``octets`` unasked on every open connection; one may be closing just now."""
        with self._lock:
            for sock in self._sockets:
                with contextlib.suppress(OSError):
                    sock.sendall(octets)

    def serve(self, sock: socket.socket) -> None:
        """The whole dialogue of one connection."""
        with self._notes:
            self.connections += 1
            number = self.connections
        sender = ""
        recipients: list[str] = []
        sock.sendall(b"220 sink.test ESMTP\r\n")
        with sock.makefile("rb") as lines:
            while line := lines.readline():
                with self._notes:
                    self.commands.append((number, line))
                verb = line[:4].upper()
                if verb == b"EHLO":
                    sock.sendall(
                        b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE %d\r\n"
                        b"250 ENHANCEDSTATUSCODES\r\n" % self._size
                    )
                elif verb == b"MAIL":
                    sender, recipients = _path(line), []
                    sock.sendall(b"250 2.1.0 Ok\r\n")
                elif verb == b"RCPT":
                    recipients.append(_path(line))
                    sock.sendall(b"250 2.1.5 Ok\r\n")
                elif verb == b"DATA":
                    sock.sendall(b"354 Go on\r\n")
                    payload = _read_payload(lines)
                    with self._notes:
                        if payload is None:
                            self.unfinished += 1
                            return
                        self.messages.append(SinkMessage(number, sender, recipients, payload))
                    sender, recipients = "", []
                    self._may_answer.wait(60)
                    sock.sendall(self.reply_to_dot)
                elif verb == b"QUIT":
                    sock.sendall(b"221 2.0.0 Bye\r\n")
                    return
                else:
                    sock.sendall(b"250 2.0.0 Ok\r\n")


def _path(line: bytes) -> str:
    return line.partition(b"<")[2].rpartition(b">")[0].decode("utf-8", "backslashreplace")


def _read_payload(lines: BufferedReader) -> bytes | None:
    """The payload unstuffed; None where the connection ends before the dot. ``readline`` ends at
    any LF, so only what follows a CRLF is the start of a line here.
    """
    parts: list[bytes] = []
    follows_crlf = True
    while line := lines.readline():
        if follows_crlf:
            if line == b".\r\n":
                return b"".join(parts)
            if line.startswith(b"."):
                line = line[1:]
        parts.append(line)
        follows_crlf = line.endswith(b"\r\n")
    return None
