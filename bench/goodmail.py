"""The steady stream of good mail of bench/attack, from many clean clients.

``python -m bench.goodmail --address H:P --out FILE --clients N --rate R --seconds S``. First every
client earns its pass: three messages in sessions of their own. Then messages are due at fixed
times, whatever became of those before (a slow answer delays no other message, and no slow answer
hides): two of three in a session of their own, the third over one of the persistent sessions. A
line of JSON each stands in FILE as soon as its fate is known::

    {"id", "kind", "at", "ms", "code", "text"}

``at`` is when it was due (CLOCK_MONOTONIC); ``ms`` lasts from then to the reply to the final dot;
``code`` is that reply's, or the reply's that ended it earlier, 0 where there was none. Nothing is
tried twice. SIGTERM ends the stream; what is under way is waited for.
"""

import argparse
import itertools
import json
import os
import signal
import time
from typing import Any

import gevent
import gevent.event
import gevent.lock
from gevent import socket

PASS_SESSIONS = 3
PERSISTENT = 10
PATIENCE_S = 30.0
BODY = b"".join(b"%03d " % number + b"x" * 72 + b"\r\n" for number in range(24))


class Failed(Exception):
    """A message that was not accepted: the code, and what was said."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Connection:
    """One session, greeted. Raises Failed or OSError."""

    def __init__(self, address: tuple[str, int], source: str) -> None:
        self._sock = socket.create_connection(address, PATIENCE_S, (source, 0))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = self._sock.makefile("rb")
        self._expect(b"2")
        self._sock.sendall(b"EHLO clean.example\r\n")
        self._expect(b"2")

    def send(self, number: str) -> str:
        """One message; the last line of the reply to its dot."""
        self._sock.sendall(
            b"MAIL FROM:<good@clean.example>\r\nRCPT TO:<user@example.test>\r\nDATA\r\n"
        )
        for code in (b"2", b"2", b"3"):
            self._expect(code)
        head = f"Subject: bench\r\nX-Bench: {number}\r\n\r\n".encode()
        self._sock.sendall(head + BODY + b".\r\n")
        return self._expect(b"2")

    def quit(self) -> None:
        try:
            self._sock.sendall(b"QUIT\r\n")
            self._lines.readline(4096)
        finally:
            self.close()

    def close(self) -> None:
        self._lines.close()
        self._sock.close()

    def _expect(self, first: bytes) -> str:
        while True:
            line = self._lines.readline(4096)
            if not line.endswith(b"\n"):
                raise Failed(0, "closed")
            if line[3:4] != b"-":
                break
        text = line.decode("ascii", "replace").strip()
        if line[:1] != first:
            raise Failed(int(text[:3]), text)
        return text


class Stream:
    """All clients; see the module."""

    def __init__(self, address: tuple[str, int], out: Any, clients: int) -> None:
        self._address = address
        self._out = out
        self._sources = itertools.cycle(source_of(number) for number in range(clients))
        self._numbers = itertools.count(1)
        self._persistent: list[Connection | None] = [None] * PERSISTENT
        self._locks = [gevent.lock.RLock() for _ in range(PERSISTENT)]
        self.stopped = gevent.event.Event()

    def warm_up(self, clients: int) -> None:
        """Three clean sessions for each client."""
        for _ in range(PASS_SESSIONS):
            for first in range(0, clients, 10):
                batch = [
                    gevent.spawn(self._message, "warm-up", time.monotonic(), -1)
                    for _ in range(min(10, clients - first))
                ]
                gevent.joinall(batch)

    def run(self, rate: float, seconds: float) -> None:
        """The stream itself, for ``seconds`` or until it is stopped."""
        began = time.monotonic()
        under_way: set[Any] = set()
        for count in itertools.count():
            due = began + count / rate
            if self.stopped.wait(max(due - time.monotonic(), 0)) or due - began > seconds:
                break
            session = count // 3 % PERSISTENT if count % 3 == 2 else -1
            kind = "new" if session < 0 else "persistent"
            greenlet = gevent.spawn(self._message, kind, due, session)
            under_way.add(greenlet)
            greenlet.rawlink(under_way.discard)
        gevent.joinall(list(under_way), PATIENCE_S)

    def _message(self, kind: str, due: float, session: int) -> None:
        number = f"{os.getpid()}-{next(self._numbers)}"
        code, text = 0, "no answer in time"
        patience = gevent.Timeout.start_new(PATIENCE_S)
        try:
            text = self._send_new(number) if session < 0 else self._send_over(session, number)
            code = int(text[:3])
        except Failed as failed:
            code, text = failed.code, failed.text
        except OSError as error:
            text = error.strerror or str(error)
        except gevent.Timeout as timeout:
            if timeout is not patience:
                raise
        finally:
            patience.close()
        ms = round((time.monotonic() - due) * 1000, 3)
        fate = {"id": number, "kind": kind, "at": due, "ms": ms, "code": code, "text": text}
        self._out.write(json.dumps(fate) + "\n")
        self._out.flush()

    def _send_new(self, number: str) -> str:
        connection = Connection(self._address, next(self._sources))
        text = ""
        try:
            text = connection.send(number)
        finally:
            if text:
                gevent.spawn(_leave, connection)
            else:
                connection.close()
        return text

    def _send_over(self, session: int, number: str) -> str:
        with self._locks[session]:
            connection = self._persistent[session]
            is_done = False
            try:
                if connection is None:
                    connection = Connection(self._address, source_of(session))
                    self._persistent[session] = connection
                text = connection.send(number)
                is_done = True
                return text
            finally:
                if not is_done:
                    self._persistent[session] = None
                    if connection is not None:
                        connection.close()


def _leave(connection: Connection) -> None:
    try:
        connection.quit()
    except OSError:
        pass


def source_of(number: int) -> str:
    """Where a clean client comes from: each has a /24 of its own."""
    return f"127.9.{number % 250}.{1 + number // 250}"


def main() -> None:
    """Runs the stream; prints ``ready`` once every client has its pass."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    host, _, port = options.address.rpartition(":")
    with open(options.out, "a", encoding="ascii") as out:  # noqa: PTH123
        stream = Stream((host, int(port)), out, options.clients)
        gevent.signal_handler(signal.SIGTERM, stream.stopped.set)
        stream.warm_up(options.clients)
        print("ready", flush=True)
        stream.run(options.rate, options.seconds)


if __name__ == "__main__":
    main()
