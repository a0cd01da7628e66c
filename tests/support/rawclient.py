"""An SMTP client that sends exactly the octets it is told to, as wrong as a test wants them.

Standard library, blocking sockets, nothing of gwsmtp.
"""

import socket
import struct
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from tests.support.corpus import stuffed

_NARROW = 4608


class RawReply:
    """``code`` and the text of each line; ``raw`` as received."""

    __slots__ = ("code", "lines", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        shown = raw.decode("utf-8", "backslashreplace").splitlines()
        self.code = int(shown[-1][:3])
        self.lines = [line[4:] for line in shown]

    @property
    def text(self) -> str:
        """The last line's text, enhanced code included."""
        return self.lines[-1]

    def __repr__(self) -> str:
        return f"RawReply({self.raw!r})"


class RawClient:
    """One connection to ``address`` (host:port); ``source`` is a loopback address to come from.

    ``is_narrow``: with the smallest receive buffer and small segments, so that a server's replies
    stop fitting soon where they are not read.
    """

    def __init__(
        self, address: str, source: str = "", timeout_s: float = 20, *, is_narrow: bool = False
    ) -> None:
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            self.sock.settimeout(timeout_s)
            if is_narrow:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _NARROW)
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _NARROW // 8)
            if source:
                self.sock.bind((source, 0))
            self.sock.connect((host, int(port)))
        except BaseException:
            self.sock.close()
            raise
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._input = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection, whatever its state."""
        self.sock.close()

    def reset(self) -> None:
        """Closes it with a reset, as who crashes or is cut off does."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # Octets ----------------------------------------------------------------------------------

    def send(self, octets: bytes) -> None:
        """Sends ``octets`` as they are."""
        self.sock.sendall(octets)

    def send_chunks(self, octets: bytes, boundaries: Iterable[int]) -> None:
        """Sends ``octets`` in one write each up to the next of the ``boundaries`` (offsets)."""
        start = 0
        for end in (*boundaries, len(octets)):
            if end > start:
                self.sock.sendall(octets[start:end])
                start = end

    def read_line(self) -> bytes:
        """One line with its LF; fails if the server closes before it is whole."""
        while (end := self._input.find(b"\n")) < 0:
            data = self.sock.recv(65536)
            assert data, f"the server closed the connection; unfinished: {bytes(self._input)!r}"
            self._input += data
        line = bytes(self._input[: end + 1])
        del self._input[: end + 1]
        return line

    def read_reply(self) -> RawReply:
        """One reply, with all its lines."""
        raw = bytearray()
        while True:
            line = self.read_line()
            assert line[:3].isdigit() and line.endswith(b"\r\n"), f"no line of a reply: {line!r}"
            raw += line
            if line[3:4] != b"-":
                return RawReply(bytes(raw))

    def read_to_end(self) -> bytes:
        """Everything until the server closes; ConnectionResetError where it resets."""
        while data := self.sock.recv(65536):
            self._input += data
        rest = bytes(self._input)
        self._input.clear()
        return rest

    # Commands --------------------------------------------------------------------------------

    def command(self, line: bytes | str) -> RawReply:
        """Sends one line (CRLF is added) and returns its reply."""
        self.send((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return self.read_reply()

    def pipeline(self, lines: Sequence[bytes | str]) -> list[RawReply]:
        """Sends all lines in one write and returns their replies."""
        octets = [line.encode() if isinstance(line, str) else line for line in lines]
        self.send(b"".join(line + b"\r\n" for line in octets))
        return [self.read_reply() for _ in lines]

    def greet(self, name: str = "client.example") -> RawReply:
        """Reads the greeting and says EHLO; fails unless both are well received."""
        greeting = self.read_reply()
        assert greeting.code == 220, greeting
        reply = self.command(f"EHLO {name}")
        assert reply.code == 250, reply
        return reply

    def begin_data(self, sender: str, recipients: Sequence[str]) -> None:
        """Everything up to the 354, pipelined; fails unless all of it is accepted."""
        lines = [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{one}>" for one in recipients), "DATA"]
        replies = self.pipeline(lines)
        assert [reply.code for reply in replies] == [250] * (len(lines) - 1) + [354], replies

    def send_message(self, sender: str, recipients: Sequence[str], content: bytes) -> RawReply:
        """A whole message, dots stuffed, and the reply to its final dot."""
        self.begin_data(sender, recipients)
        self.send(stuffed(content))
        return self.read_reply()

    def quit(self) -> RawReply:
        """QUIT, its reply, and the end of the connection."""
        reply = self.command("QUIT")
        rest = self.read_to_end()
        assert rest == b"", f"after the reply to QUIT came {rest!r}"
        self.close()
        return reply
