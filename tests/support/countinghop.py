"""A next hop that takes everything and counts how many connections it has at one time.

One thread and one loop: before a new connection is counted, the ends of all earlier ones that have
come by then are read, so that a place handed on counts once.
"""

import select
import socket
import threading
import time
from typing import Self

_REPLIES = {
    b"EHLO": b"250-hop\r\n250 PIPELINING\r\n",
    b"DATA": b"354 go on\r\n",
    b"QUIT": b"221 bye\r\n",
}


class CountingHop:
    """``most`` is the most connections there were; ``senders`` those of the messages taken. Each
    message's answer takes ``delay_s``.
    """

    def __init__(self, delay_s: float) -> None:
        self.most = 0
        self.senders: list[str] = []
        self._delay_s = delay_s
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._unread: dict[socket.socket, bytes] = {}
        self._sender: dict[socket.socket, str] = {}
        self._in_data: set[socket.socket] = set()
        self._due: list[tuple[float, socket.socket]] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        self._thread.join(10)
        for sock in (*self._unread, self._listener):
            sock.close()

    def _run(self) -> None:
        while not self._is_over.is_set():
            ready = select.select([self._listener, *self._unread], [], [], 0.005)[0]
            self._read([sock for sock in ready if sock is not self._listener])
            if self._listener in ready:
                sock, _ = self._listener.accept()
                self._read(select.select(list(self._unread), [], [], 0)[0])
                self._unread[sock] = b""
                self.most = max(self.most, len(self._unread))
                self._say(sock, b"220 hop\r\n")
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                sock = self._due.pop(0)[1]
                if sock in self._unread:
                    self.senders.append(self._sender[sock])
                    self._say(sock, b"250 taken\r\n")

    def _read(self, socks: list[socket.socket]) -> None:
        for sock in socks:
            try:
                data = sock.recv(65536)
            except ConnectionError:
                data = b""
            if data:
                self._unread[sock] += data
                self._obey(sock)
            else:
                self._forget(sock)

    def _obey(self, sock: socket.socket) -> None:
        while sock in self._unread:
            end = b"\r\n.\r\n" if sock in self._in_data else b"\r\n"
            line, found, rest = self._unread[sock].partition(end)
            if not found:
                return
            self._unread[sock] = rest
            if sock in self._in_data:
                self._in_data.discard(sock)
                self._due.append((time.monotonic() + self._delay_s, sock))
                continue
            verb = line[:4].upper()
            if verb == b"MAIL":
                self._sender[sock] = line.partition(b"<")[2].partition(b">")[0].decode()
            if verb == b"DATA":
                self._in_data.add(sock)
            self._say(sock, _REPLIES.get(verb, b"250 ok\r\n"))

    def _say(self, sock: socket.socket, reply: bytes) -> None:
        try:
            sock.sendall(reply)
        except ConnectionError:
            self._forget(sock)

    def _forget(self, sock: socket.socket) -> None:
        if self._unread.pop(sock, None) is not None:
            self._in_data.discard(sock)
            sock.close()
