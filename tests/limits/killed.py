"""A table whose writer dies at its n-th store."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gwsmtp.limits.arena import Table, open_table

KILLED = 9
_CHUNKS = 8
_WHOLE_WORDS = 64


class MortalWords:
    """A table's words; once ``arm`` was called, the process ends just before its n-th store.

    A slice is copied by the machine, not at once: so it is stored word by word here, a long one in
    chunks.
    """

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self._left = -1

    def arm(self, stores: int) -> None:
        """Ends the process before store number ``stores``, counted from here and from 1."""
        self._left = stores

    def __getitem__(self, place: Any) -> Any:
        return self._words[place]

    def __setitem__(self, place: Any, value: Any) -> None:
        if not isinstance(place, slice):
            self._count()
            self._words[place] = value
            return
        size = place.stop - place.start
        step = 1 if size <= _WHOLE_WORDS else size // _CHUNKS
        for first in range(0, size, step):
            last = min(first + step, size)
            self._count()
            self._words[place.start + first : place.start + last] = value[first:last]

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            os._exit(KILLED)


Prepared = Callable[[], object]


def dies_in(path: Path, stores: int, prepare: Callable[[Table], Prepared]) -> bool:
    """Forks a process with a description of its own of the table at ``path``, which prepares and
    then does what it has prepared, and dies before the ``stores``-th store of that. False when it
    has finished with fewer stores. Blocks until the process is gone.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            table = open_table(path)
            words = MortalWords(table.words)
            table.words = words  # type: ignore[assignment]  # all that is used of it
            act = prepare(table)
            words.arm(stores)
            act()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, KILLED), f"the process failed with {code}"
    return code == KILLED
