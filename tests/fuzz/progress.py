"""How far a campaign is: a bar on a terminal, elsewhere a line now and then."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 30


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function to be told of inputs as they pass."""
    if not sys.stdout.isatty():
        yield _Lines(total).advance
        return
    columns = (TextColumn("fuzz"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)


class _Lines:
    def __init__(self, total: int) -> None:
        self._total = total
        self._count = 0
        self._started = self._said = time.monotonic()

    def advance(self, count: int) -> None:
        self._count += count
        now = time.monotonic()
        if now - self._said >= LINE_EVERY_S:
            self._said = now
            rate = self._count / (now - self._started)
            print(
                f"fuzz: {self._count:,} of {self._total:,} inputs, {rate:,.0f} a second", flush=True
            )
