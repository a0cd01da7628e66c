#!/usr/bin/env python3
"""The yardstick: what this machine can do with gevent and no architecture.

Two forked workers share one listener; each connection is admitted in shared memory under one lock
(total and per client), each message makes a msgpack round trip to one engine process and goes
over a pooled connection to the next hop, whose answer the client hears. That is the work the
gateway does for every message; everything else the gateway does (a protocol machine, policy,
limits, timers, trace fields, recipient call-outs, log lines, healing) is left out, so the ratio of
the two is the price of being a gateway.

    bench/bare_proxy.py --next-hop 127.0.0.1:2600 --ready-fd 1

One JSON line ``{"listen": ["127.0.0.1:PORT"], "pid": PID}`` goes to the ready descriptor once all
processes serve. TERM, INT or ALRM ends it.

Seen on a 2-core machine whose smtp-sink alone takes 5,500–6,500 messages a second in new sessions
and 15,000 persistent (20 sessions, 4,096 octets): 320–340 and 140–160 µs of CPU a message, about
half of it in the kernel's send. Left out, as no plain gevent: greenlets that serve one connection
after another save 30–45 µs a session (Python maps and unmaps 16 KiB for each new greenlet). How
many of few persistent sessions a worker gets is chance: their rate wanders more than their CPU.

Limits: a yardstick, never a mail server. Anything but the dialogue of a well-behaved client whose
lines arrive whole ends the connection; a next hop that does not answer as expected is a 451.
No time limits. Imports nothing of gwsmtp, on purpose.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import mmap
import os
import select
import signal
import socket
import struct
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import msgpack
from gevent.event import AsyncResult
from setproctitle import setproctitle

TEST_STRING = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
CHUNK = 65536
BOOT_SECONDS, BACKLOG = 20, 1024
PR_SET_PDEATHSIG = 1
SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGCHLD}  # end the master
READ, WRITE = 1, 2  # what a loop watcher watches for
END_OF_DATA = b"\r\n.\r\n"

MAX_TOTAL = MAX_PER_CLIENT = 256
TABLE_ROWS = 65536
TABLE_SIZE = 8 + 4 * TABLE_ROWS  # one 8-byte total, then a 4-byte live count per client row

# struct flock of 64-bit Linux: type, whence, start, length, pid; one byte at offset 0.
LOCK = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
UNLOCK = struct.pack("hhqqi4x", fcntl.F_UNLCK, os.SEEK_SET, 0, 1, 0)


class Admission:
    """Live connections in shared memory, counted under one lock the kernel frees with its holder.

    Made after the fork: an open file description inherited from the master would share its lock.
    """

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        view = memoryview(mmap.mmap(self._fd, TABLE_SIZE))
        self._total = view[:8].cast("q")
        self._rows = view[8:].cast("i")

    def acquire(self, ip: str) -> int:
        """The client's row, or -1 when a limit is reached."""
        row = hash_of(ip)
        self._lock()
        total, live = self._total[0], self._rows[row]
        admitted = total < MAX_TOTAL and live < MAX_PER_CLIENT
        if admitted:
            self._total[0] = total + 1
            self._rows[row] = live + 1
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, UNLOCK)
        return row if admitted else -1

    def release(self, row: int) -> None:
        self._lock()
        self._total[0] -= 1
        self._rows[row] -= 1
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, UNLOCK)

    def _lock(self) -> None:
        """Spins: the holder is another process inside these few lines."""
        while True:
            try:
                fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, LOCK)
            except BlockingIOError:
                continue
            return


def hash_of(ip: str) -> int:
    """Row of an IPv4 address; collisions share a row, which is fine for a yardstick."""
    return int.from_bytes(socket.inet_aton(ip), "big") * 2654435761 % TABLE_ROWS


class Wire:
    """A stream socket on gevent's loop that waits first and reads then.

    In SMTP an answer is never there yet when one wants to read it. gevent's own ``recv`` reads
    first, so nearly every read costs a failed system call and an exception; and its ``sendall``
    asks for the size of the buffer each time.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        hub = gevent.get_hub()
        self._arrival = hub.loop.io(sock.fileno(), READ)
        self._wait = hub.wait

    def read(self) -> bytes:
        """What has come; empty when the peer has closed."""
        while True:
            self._wait(self._arrival)
            try:
                return self._sock.recv(CHUNK)
            except BlockingIOError:
                continue

    def write(self, data: bytes) -> None:
        """Sends everything; nearly always the first send takes it all."""
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        while sent < len(data):
            self._wait(gevent.get_hub().loop.io(self._sock.fileno(), WRITE))
            sent += self._sock.send(memoryview(data)[sent:])

    def close(self) -> None:
        self._arrival.close()
        self._sock.close()


class ScanClient:
    """One connection to the engine with many requests in flight, answered in any order."""

    def __init__(self, path: str) -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        self._wire = Wire(sock)
        self._pack = msgpack.Packer().pack
        self._waiting: dict[int, AsyncResult[str]] = {}
        self._next = 0
        gevent.spawn(self._read)

    def scan(self, ip: str, sender: bytes, recipient: bytes, body: bytes) -> str:
        """The engine's verdict; only the calling greenlet waits."""
        self._next = number = self._next + 1
        answer: AsyncResult[str] = AsyncResult()
        self._waiting[number] = answer
        request = {"id": number, "client": ip, "sender": sender, "rcpt": recipient, "body": body}
        self._wire.write(self._pack(request))
        return answer.get() or ""

    def _read(self) -> None:
        unpacker = msgpack.Unpacker()
        while data := self._wire.read():
            unpacker.feed(data)
            for reply in unpacker:
                self._waiting.pop(reply["id"]).set(reply["verdict"])


class Hop:
    """One connection to the next hop. ``send`` raises OSError or ValueError: drop it then."""

    def __init__(self, address: tuple[str, int]) -> None:
        sock = gevent.socket.create_connection(address)  # a plain one would block the loop
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wire = Wire(socket.socket(fileno=sock.detach()))
        self._replies(1)
        self.wire.write(b"EHLO bare-proxy\r\n")
        self._replies(1)

    def send(self, sender: bytes, recipient: bytes, body: bytes) -> bytes:
        """Hands one message over; returns the reply to its final dot."""
        self.wire.write(b"RSET\r\nMAIL FROM:%b\r\nRCPT TO:%b\r\nDATA\r\n" % (sender, recipient))
        if [line[:1] for line in self._replies(4)] != [b"2", b"2", b"2", b"3"]:
            raise ValueError("refused by the next hop")
        self.wire.write(body)
        return self._replies(1)[0]

    def _replies(self, count: int) -> list[bytes]:
        """The final lines of ``count`` replies."""
        data = b""
        while True:
            if not (chunk := self.wire.read()):
                raise ConnectionResetError("next hop closed")
            data += chunk
            finals = [line for line in data.split(b"\r\n")[:-1] if line[3:4] != b"-"]
            if len(finals) >= count and data.endswith(b"\r\n"):
                return finals


class Worker:
    """Accepts, talks to clients, has messages scanned and relays them."""

    def __init__(
        self, listener: socket.socket, next_hop: tuple[str, int], table: str, engine: str
    ) -> None:
        self._listener = listener
        self._next_hop = next_hop
        self._admission = Admission(table)
        self._scanner = ScanClient(engine)
        self._idle: list[Hop] = []

    def start(self) -> None:
        """One accept for each time the shared listener wakes us, so that the workers share."""
        self._watcher = gevent.get_hub().loop.io(self._listener.fileno(), READ)
        self._watcher.start(self._accept)

    def _accept(self) -> None:
        try:
            client, address = self._listener.accept()
        except BlockingIOError:
            return  # the other worker was faster
        gevent.spawn(self._serve, Wire(client), address[0])

    def _serve(self, client: Wire, ip: str) -> None:
        row = self._admission.acquire(ip)
        try:
            if row < 0:
                client.write(b"421 4.3.2 too many connections\r\n")
            else:
                self._converse(client, ip)
        except OSError:
            pass
        finally:
            client.close()
            if row >= 0:
                self._admission.release(row)

    def _converse(self, client: Wire, ip: str) -> None:
        send = client.write
        sender = recipient = b""
        send(b"220 bare-proxy ESMTP\r\n")
        while line := client.read():
            verb = line[:4].upper()
            if verb == b"MAIL":
                sender = line[len("MAIL FROM:") : -2]
                send(b"250 2.1.0 ok\r\n")
            elif verb == b"RCPT":
                recipient = line[len("RCPT TO:") : -2]
                send(b"250 2.1.5 ok\r\n")
            elif verb == b"DATA":
                send(b"354 go ahead\r\n")
                send(self._handle(ip, sender, recipient, self._body(client)))
            elif verb in (b"EHLO", b"HELO", b"RSET", b"NOOP"):
                send(b"250 bare-proxy\r\n")
            elif verb == b"QUIT":
                send(b"221 2.0.0 bye\r\n")
                return
            else:
                send(b"500 5.5.2 unknown command\r\n")

    def _body(self, client: Wire) -> bytes:
        """The message with its final dot, exactly as it came: stuffing stays for the next hop."""
        data = client.read()
        while not (data.endswith(END_OF_DATA) or data == b".\r\n"):
            if not (more := client.read()):
                raise ConnectionResetError("client closed in DATA")
            data += more
        return data

    def _handle(self, ip: str, sender: bytes, recipient: bytes, body: bytes) -> bytes:
        """Scan, relay; the reply for the client."""
        if self._scanner.scan(ip, sender, recipient, body) != "accept":
            return b"554 5.7.1 refused\r\n"
        try:
            hop = self._idle.pop() if self._idle else Hop(self._next_hop)
        except OSError:
            return b"451 4.4.1 next hop unreachable\r\n"
        try:
            reply = hop.send(sender, recipient, body)
        except (OSError, ValueError):
            hop.wire.close()
            return b"451 4.4.2 next hop failed\r\n"
        self._idle.append(hop)
        return reply + b"\r\n"


def run_engine(listener: socket.socket) -> None:
    """The engine's process: plain epoll, one find per message."""
    setproctitle("bare_proxy: engine")
    pack = msgpack.Packer().pack
    peers: dict[int, tuple[socket.socket, Any]] = {}
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                peer, _ = listener.accept()
                peers[peer.fileno()] = (peer, msgpack.Unpacker())
                poll.register(peer, select.EPOLLIN)
                continue
            peer, unpacker = peers[fd]
            if data := peer.recv(4 * CHUNK):
                unpacker.feed(data)
                if replies := [pack(judge(request)) for request in unpacker]:
                    peer.sendall(b"".join(replies))
            else:
                peers.pop(fd)[0].close()


def judge(request: dict[str, Any]) -> dict[str, Any]:
    """The engine's answer to one request."""
    clean = request["body"].find(TEST_STRING) < 0
    return {"id": request["id"], "verdict": "accept" if clean else "reject"}


def run_worker(number: int, worker: Callable[[], Worker], ready_fd: int) -> None:
    """A worker's process."""
    setproctitle(f"bare_proxy: worker {number}")
    worker().start()
    os.write(ready_fd, b"r")
    gevent.get_hub().join()


def fork(main: Callable[[], None]) -> int:
    """Runs ``main`` in a child that the kernel ends with its master, however that ends."""
    master = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == master:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            main()
    finally:
        traceback.print_exc()  # neither main returns: an exception is on its way out
        os._exit(1)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="The yardstick: a bare gevent SMTP proxy.")
    parser.add_argument("--next-hop", required=True, metavar="HOST:PORT")
    parser.add_argument("--ready-fd", type=int, default=1, help="where the JSON line goes (1)")
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """The master: binds, forks, says ready, waits for a signal or the death of a child."""
    options = parse(arguments)
    host, _, port = options.next_hop.rpartition(":")
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # waited for below
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    listener.setblocking(False)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by each accept
    with tempfile.TemporaryDirectory(prefix="bare-proxy-") as folder:
        table, path = f"{folder}/table", f"{folder}/engine"
        Path(table).write_bytes(bytes(TABLE_SIZE))
        engine_listener = socket.socket(socket.AF_UNIX)
        engine_listener.bind(path)
        engine_listener.listen()
        ready_read, ready_write = os.pipe()
        worker = partial(Worker, listener, (host, int(port)), table, path)
        mains = [partial(run_worker, n, worker, ready_write) for n in range(options.workers)]
        children = [fork(main) for main in (partial(run_engine, engine_listener), *mains)]
        started = 0
        while started < options.workers and select.select([ready_read], [], [], BOOT_SECONDS)[0]:
            started += len(os.read(ready_read, 1))
        if started == options.workers:
            listen = ["{}:{}".format(*listener.getsockname())]
            line = json.dumps({"listen": listen, "pid": os.getpid()})
            os.write(options.ready_fd, line.encode() + b"\n")
        else:
            signal.raise_signal(signal.SIGCHLD)  # pending until sigwait: ends like a death
        cause = signal.sigwait(SIGNALS)
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return 1 if cause == signal.SIGCHLD else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
