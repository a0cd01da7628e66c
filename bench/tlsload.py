"""The loads of bench/tls: handshakes by ``openssl s_time``, messages by clients of our own.

s_time is C and does nothing but shake hands, so the server is what is measured: several of them at
once, against the SSL listener. Full handshakes are TLS 1.3; resumed ones TLS 1.2, as s_time leaves
before TLS 1.3's tickets come. Messages go over persistent STARTTLS sessions, one a process.
"""

import multiprocessing
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.programs import Address, ProgramFailed

CLIENTS = 4
BODY = b"Subject: bench\r\n\r\n" + b"x" * 70 + b"\r\n"
BODY = BODY + (b"y" * 76 + b"\r\n") * ((4096 - len(BODY)) // 78)
_COUNT = re.compile(rb"(\d+) connections in (\d+) real seconds")


@dataclass(frozen=True)
class Done:
    """``count`` things done in ``seconds``."""

    count: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.count / self.seconds


def handshakes(address: Address, seconds: int, *, resumed: bool) -> Done:
    """As many handshakes as the server does; fails unless the resumed ones were."""
    kind = ["-reuse", "-tls1_2"] if resumed else ["-new", "-tls1_3"]
    argv = ["openssl", "s_time", "-connect", "{}:{}".format(*address), "-time", str(seconds), *kind]
    began = time.monotonic()
    started = [
        subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for _ in range(CLIENTS)
    ]
    count = 0
    for process in started:
        output = process.communicate(timeout=seconds + 30)[0]
        found = _COUNT.search(output)
        if found is None:
            raise ProgramFailed(f"openssl s_time: {output[-500:]!r}")
        marks = output.partition(b"starting\n")[2].partition(b"\n")[0]
        if resumed and marks.count(b"r") < 0.9 * len(marks):
            raise ProgramFailed(f"sessions were not resumed: {marks[:60]!r}")
        count += int(found[1])
    return Done(count, time.monotonic() - began)


def messages(address: Address, seconds: int) -> Done:
    """Messages over CLIENTS persistent TLS sessions."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(CLIENTS) as pool:
        counts = pool.starmap(_send_for, [(address, float(seconds))] * CLIENTS)
    return Done(sum(count for count, _ in counts), max(spent for _, spent in counts))


def client_context() -> ssl.SSLContext:
    """A client that believes everything: what is measured is the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def open_session(address: Address, context: ssl.SSLContext | None) -> socket.socket:
    """A session that has said EHLO; with a ``context`` behind STARTTLS, and said it again."""
    sock = socket.create_connection(address, 20)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        expect(sock.recv, b"220")
        sock.sendall(b"EHLO client.example\r\n")
        expect(sock.recv, b"250")
        if context is not None:
            sock.sendall(b"STARTTLS\r\n")
            expect(sock.recv, b"220")
            sock = context.wrap_socket(sock, server_hostname="gw.example.test")
            sock.sendall(b"EHLO client.example\r\n")
            expect(sock.recv, b"250")
    except BaseException:
        sock.close()
        raise
    return sock


def _send_for(address: Address, seconds: float) -> tuple[int, float]:
    with open_session(address, client_context()) as sock:
        began, count = time.monotonic(), 0
        while (spent := time.monotonic() - began) < seconds:
            sock.sendall(b"MAIL FROM:<a@client.example>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n")
            expect(sock.recv, b"354")
            sock.sendall(BODY + b".\r\n")
            expect(sock.recv, b"250")
            count += 1
        sock.sendall(b"QUIT\r\n")
        return count, spent


def expect(recv: Callable[[int], bytes], code: bytes) -> None:
    """Reads up to the end of the reply ``code``, which must come last."""
    said = b""
    while True:
        data = recv(65536)
        if not data:
            raise ProgramFailed(f"closed; last words {said!r}")
        said += data
        if said.endswith(b"\n"):
            last = said[:-1].rpartition(b"\n")[2]
            if last[:4] == code + b" ":
                return
            if last[:1] in (b"4", b"5"):
                raise ProgramFailed(f"refused: {said!r}")
