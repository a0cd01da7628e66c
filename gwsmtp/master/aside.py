"""Processes that the master forks for one piece of work, so that its loop goes on meanwhile.

Such a child is no child of the table: it has no slot, holds neither the lifeline's writing end nor
a listener, and ends when its work does, its time is over, or the master is gone. What it has found
out it leaves where it was told to; its exit code is 0 when the work was done.
"""

import fcntl
import gc
import logging
import os
import select
import signal
from collections.abc import Callable, Sequence
from typing import NoReturn

import setproctitle

from gwsmtp.master.signals import QUEUED

log = logging.getLogger(__name__)

_GRACE_S = 5


def fork_aside(
    work: Callable[[], object],
    *,
    name: str,
    title: str,
    seconds: int,
    lifeline_fd: int,
    keep: Sequence[int] = (),
) -> int:
    """Runs ``work`` in a forked child; returns its pid. Raises OSError.

    ``keep`` are descriptors it needs, besides 0 to 2. Should the master have no time to end it
    after ``seconds``, the kernel does a little later. ``name`` is for the log line of a crash.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, QUEUED)
    try:
        pid = os.fork()
        if pid == 0:
            _become(work, name, title, seconds, lifeline_fd, {0, 1, 2, lifeline_fd, *keep})
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _become(
    work: Callable[[], object],
    name: str,
    title: str,
    seconds: int,
    lifeline_fd: int,
    keep: set[int],
) -> NoReturn:
    """In the child, with signals blocked: works and ends."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for signum in QUEUED:
            signal.signal(signum, signal.SIG_DFL)
        for signum in (signal.SIGTTIN, signal.SIGTTOU, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(signum, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds + _GRACE_S)
        for fd in os.listdir("/proc/self/fd"):
            if int(fd) not in keep:
                try:
                    os.close(int(fd))
                except OSError:
                    pass  # the listing's own
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _end_with_the_master(lifeline_fd)
        setproctitle.setproctitle(title)
        gc.disable()
        work()
        code = 0
    except BaseException:
        log.exception("event=%s_crashed", name)
    finally:
        os._exit(code)


def _end_with_the_master(lifeline_fd: int) -> None:
    """Lets the kernel send SIGIO, which ends us, when the lifeline's writing end is closed."""
    # An open description of our own: whom the signal goes to is a property of the description.
    fd = os.open(f"/proc/self/fd/{lifeline_fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    if select.select([fd], [], [], 0)[0]:  # it has gone already
        os._exit(1)
