"""Children for tests of the master: a talking worker, an idle engine, and some that fail.

The worker answers command lines: those of ``ANSWERS``, among them ``hang`` (the loop stands still)
and ``link`` (an O_TMPFILE in the spool is given a name). A connection is a session: it counts in
the slot and a drain waits for it.
"""

import os
import time
from collections.abc import Callable

import gevent
import setproctitle
from gevent import monkey, socket
from gevent.pool import Pool

from gwsmtp.limits.slots import Gauge, Total
from gwsmtp.process.child import Child
from gwsmtp.process.context import ChildContext

LATE_S = 3


def worker(context: ChildContext, child: Child) -> None:
    pool = Pool()
    acceptors: list[gevent.Greenlet[..., None]] = []

    def drain() -> None:
        gevent.killall(acceptors)
        for listener in listeners:
            listener.close()
        pool.join()

    def session(connection: socket.socket) -> None:
        child.slot.add_total(Total.SESSIONS)
        child.slot.add_gauge(Gauge.SESSIONS, 1)
        with connection, connection.makefile("rwb", buffering=0) as file:
            for line in file:
                answer = ANSWERS[line.decode().strip()](context)
                file.write(f"{answer}\n".encode())
        child.slot.add_gauge(Gauge.SESSIONS, -1)

    def accept(listener: socket.socket) -> None:
        while True:
            pool.spawn(session, listener.accept()[0])

    listeners = [
        socket.socket(plain.family, plain.type, fileno=plain.detach())
        for plain in context.listeners
    ]
    acceptors += [gevent.spawn(accept, listener) for listener in listeners]
    child.on_drain(drain)
    child.ready()
    child.wait()


def late(context: ChildContext, child: Child) -> None:
    """Takes long to be ready, and its loop stands still meanwhile."""
    sleep: Callable[[float], None] = monkey.get_original("time", "sleep")
    sleep(LATE_S)
    worker(context, child)


def _hang(context: ChildContext) -> str:
    sleep: Callable[[float], None] = monkey.get_original("time", "sleep")
    sleep(1000)
    return ""


def _link(context: ChildContext) -> str:
    spool = context.config.paths.spool
    fd = os.open(spool, os.O_TMPFILE | os.O_WRONLY, 0o600)
    os.link(f"/proc/self/fd/{fd}", spool / "adopted", src_dir_fd=fd)  # makes it linkat(2)
    os.close(fd)
    return "adopted"


def _fds(context: ChildContext) -> str:
    names = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            pass
    return " ".join(sorted(names))


def _slow(context: ChildContext) -> str:
    time.sleep(0.5)
    return "slow"


ANSWERS: dict[str, Callable[[ChildContext], object]] = {
    "pid": lambda context: os.getpid(),
    "ids": lambda context: f"{os.getresuid()} {os.getresgid()} {os.getgroups()}",
    "title": lambda context: setproctitle.getproctitle(),
    "engine": lambda context: context.engine_address,
    "crash": lambda context: os._exit(3),
    "hang": _hang,
    "link": _link,
    "fds": _fds,
    "slow": _slow,
}


def idle(context: ChildContext, child: Child) -> None:
    child.ready()
    child.wait()


def dies(context: ChildContext, child: Child) -> None:
    raise RuntimeError("born to die")


def exits(context: ChildContext, child: Child) -> None:
    os._exit(9)


def first_only(context: ChildContext, child: Child) -> None:
    """A worker of the first generation; of any other it dies at birth."""
    if context.generation > 1:
        raise RuntimeError("born to die")
    worker(context, child)


def first_hangs_not(context: ChildContext, child: Child) -> None:
    """A worker of the first generation; of any other it never becomes ready."""
    if context.generation > 1:
        child.wait()
    worker(context, child)


def stubborn(context: ChildContext, child: Child) -> None:
    """Never drains."""
    child.on_drain(lambda: gevent.sleep(1000))
    child.ready()
    child.wait()
    gevent.sleep(1000)
