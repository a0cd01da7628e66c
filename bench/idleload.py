"""The load of bench/idle: sessions that have said EHLO and say nothing more.

They live in a process of their own, whose memory is not counted. It is told over a pipe what to do,
one answer a request, and ends with the pipe, so that it never outlives the bench. Several threads
open at once: most of a client's time is the server's.
"""

import contextlib
import multiprocessing
import resource
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection

from bench.programs import Address, ProgramFailed
from bench.tlsload import client_context, expect, open_session

THREADS = 16
ANSWER_SECONDS = 120.0
SPARE_FILES = 100


class Herd:
    """The idle sessions of one load process, asked from the bench. Each call blocks until done."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def open(self, count: int) -> None:
        """So many sessions more; raises ProgramFailed when one is refused."""
        self._ask(("open", count))

    def prove(self) -> None:
        """Every session still answers NOOP; raises ProgramFailed when one does not."""
        self._ask(("prove", 0))

    def close(self) -> None:
        """Ends all of them by QUIT."""
        self._ask(("close", 0))

    def _ask(self, request: tuple[str, int]) -> None:
        try:
            self._pipe.send(request)
            if not self._pipe.poll(ANSWER_SECONDS):
                raise ProgramFailed(f"idle sessions: no answer within {ANSWER_SECONDS:.0f} s")
            failure = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise ProgramFailed(f"the process of the idle sessions has ended: {error}") from error
        if failure:
            raise ProgramFailed(f"idle sessions: {failure}")


@contextmanager
def herd(address: Address, most: int, *, is_tls: bool) -> Iterator[Herd]:
    """A load process for at most ``most`` sessions, ended with the block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, address, most, is_tls), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Herd(ours)
    finally:
        ours.close()
        process.join(5)
        if process.is_alive():
            process.kill()
            process.join()


def _serve(pipe: Connection, address: Address, most: int, is_tls: bool) -> None:
    context = client_context() if is_tls else None
    sessions: list[socket.socket] = []
    lock = threading.Lock()

    def begin(_number: int) -> None:
        sock = open_session(address, context)
        with lock:
            sessions.append(sock)

    def prove(sock: socket.socket) -> None:
        sock.sendall(b"NOOP\r\n")
        expect(sock.recv, b"250")

    def end(sock: socket.socket) -> None:
        sock.sendall(b"QUIT\r\n")
        expect(sock.recv, b"221")
        sock.close()

    failure = _raise_file_limit(most + SPARE_FILES)
    with ThreadPoolExecutor(THREADS) as pool, contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            what, count = pipe.recv()
            if what == "open":
                done = pool.map(begin, range(count))
            else:
                done = pool.map(prove if what == "prove" else end, list(sessions))
            failure = _failure_of(done) or failure
            if what == "close":
                sessions.clear()
            pipe.send(failure)


def _failure_of(done: Iterator[None]) -> str:
    try:
        for _ in done:
            pass
    except (OSError, ProgramFailed) as error:
        return str(error)
    return ""


def _raise_file_limit(wanted: int) -> str:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted or soft == resource.RLIM_INFINITY:
        return ""
    try:
        resource.setrlimit(
            resource.RLIMIT_NOFILE,
            (wanted, hard if hard == resource.RLIM_INFINITY else max(hard, wanted)),
        )
    except (OSError, ValueError) as error:
        return f"needs {wanted} open files, may have {hard}: {error}"
    return ""
