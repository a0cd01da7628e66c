"""Where blocking calls go in a gevent process: a bounded pool of threads per kind of work.

Disk work, password hashing and name look-ups have a pool each, so that a slow disk cannot hold up
name look-ups. ``run`` blocks the calling greenlet only; the function must not touch gevent.
"""

from collections.abc import Callable
from typing import TypeVar, cast

from gevent.threadpool import ThreadPool

from gwsmtp.base.errors import GatewayError

T = TypeVar("T")


class OffloadBusy(GatewayError):
    """More calls wait than the pool takes."""


class Offload:
    """One pool: at most ``threads`` calls run, at most ``waiting`` more wait."""

    __slots__ = ("_capacity", "_in_use", "_name", "_pool")

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self._name = name
        self._capacity = threads + waiting
        self._in_use = 0
        self._pool = ThreadPool(threads)

    def run(self, function: Callable[[], T]) -> T:
        """Calls ``function`` in a thread and returns what it returns; raises what it raises, and
        OffloadBusy when the pool is full.
        """
        if self._in_use >= self._capacity:
            raise OffloadBusy(f"{self._in_use} calls wait for the {self._name} threads")
        self._in_use += 1
        try:
            return cast(T, self._pool.spawn(function).get())
        finally:
            self._in_use -= 1

    def close(self) -> None:
        """Ends the threads; calls that run are not waited for."""
        self._pool.kill()
