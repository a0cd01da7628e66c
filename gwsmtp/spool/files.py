"""Items on disk: one file a message in one directory (``item`` says what is in it).

* **Written** into a file without a name (O_TMPFILE) in the same directory, fsynced, linked to its
  name, and the directory fsynced: an item is there whole or not at all. Where the file system
  knows no O_TMPFILE, the file has a name that begins with a dot until then, and its writer holds a
  lock on it, so that ``sweep`` knows what a dead writer has left.
* **Named** ``SESSION-NUMBER``, with ``-2`` and so on where that is taken. What is moved into the
  directory gets ``.1`` and so on, names that no writer ever takes: so a rename, which would
  replace whatever has the name, never does.
* **Changed** by appending lines only, each group of them in one write, fsynced.
* What is no item is set aside as ``NAME.bad`` and nobody looks at it again.

Every method blocks on the disk; a gevent process calls them through ``net.offload``. Nothing here
keeps state, so any number of threads and processes may work on one directory. Raises SpoolError
with the cause when the disk does not take or give something, ItemGone for an item that is not
there (any more), ItemDamaged for what is none.

Limits: a move between two file systems is a copy and a removal; killed in between, it leaves both.
"""

import errno
import fcntl
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gwsmtp.base.errors import SpoolError
from gwsmtp.base.seams import MessageBody
from gwsmtp.spool.draft import PIECE_OCTETS
from gwsmtp.spool.item import (
    Envelope,
    StateLine,
    encode_front,
    encode_lines,
)
from gwsmtp.spool.stored import Item

ITEM_ID: Final = re.compile(r"[a-z0-9]{1,40}(?:-[0-9]{1,9}){1,2}(?:\.[0-9]{1,9})?")
LOCK_NAME: Final = ".lock"
_UNFINISHED: Final = ".new-"
_NO_TMPFILE: Final = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)
_MOST_NAMES: Final = 10_000


class ItemGone(SpoolError):
    """There is no item of that name, or no more."""


class Spool:
    """See the module. ``root`` must exist."""

    __slots__ = ("root",)

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, envelope: Envelope, body: MessageBody, trace: bytes) -> str:
        """Makes an item of a message; returns its id when it is durable. Raises SpoolError, and
        then leaves nothing.
        """
        names = names_for(envelope)
        return self.put_as(names, envelope, body, trace)

    def put_as(
        self, names: Iterator[str], envelope: Envelope, body: MessageBody, trace: bytes
    ) -> str:
        """The same under the first of ``names`` that is free."""
        front = encode_front(envelope, len(trace), body.size)
        with self._new_file() as (fd, link):
            _write(fd, front + trace)
            size = 0
            for piece in body.chunks():
                size += len(piece)
                _write(fd, piece)
            if size != body.size:
                raise SpoolError(f"a body of {body.size} octets has {size}")
            _write(fd, b"\n")
            os.fsync(fd)
            return link(names)

    @contextmanager
    def _new_file(self) -> Iterator[tuple[int, "_Link"]]:
        """A file that is no item yet, and what makes one of it; turns OSError into SpoolError."""
        try:
            fd, name = _unnamed_file(self.root)
        except OSError as e:
            raise SpoolError(f"cannot write into {self.root}: {e.strerror}") from e
        try:
            yield fd, _Link(self.root, fd, name)
        except OSError as e:
            raise SpoolError(f"cannot write into {self.root}: {e.strerror}") from e
        finally:
            if name:
                _unlink(self.root / name)
            os.close(fd)

    def open(self, item_id: str) -> Item:
        """An item for reading; see the module for what it raises."""
        fd = self._open(item_id, os.O_RDONLY)
        try:
            return Item(item_id, fd)
        except BaseException:
            os.close(fd)
            raise

    def append_state(self, item_id: str, lines: Sequence[StateLine]) -> None:
        """Writes down what has happened; returns when it is durable."""
        fd = self._open(item_id, os.O_RDWR | os.O_APPEND)
        try:
            data = encode_lines(lines)
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                data = b"\n" + data  # behind a line that a crash has torn
            try:
                _write(fd, data)
                os.fsync(fd)
            except OSError:
                os.ftruncate(fd, size)
                raise
        except OSError as e:
            raise SpoolError(f"cannot append to {item_id}: {e.strerror}") from e
        finally:
            os.close(fd)

    def list(self) -> list[str]:
        """The ids of all items, in no order."""
        try:
            return [name for name in os.listdir(self.root) if ITEM_ID.fullmatch(name)]
        except FileNotFoundError:
            return []
        except OSError as e:
            raise SpoolError(f"cannot read {self.root}: {e.strerror}") from e

    def remove(self, item_id: str) -> None:
        """Forgets an item; durable when it returns. One that is gone is none to forget."""
        try:
            os.unlink(self.path(item_id))
            sync_directory(self.root)
        except FileNotFoundError:
            pass
        except OSError as e:
            raise SpoolError(f"cannot remove {item_id}: {e.strerror}") from e

    def set_aside(self, item_id: str) -> Path:
        """Takes a file that is no item out of everybody's way; returns its new name."""
        path = self.path(item_id)
        aside = path.with_name(f"{item_id}.bad")
        try:
            os.rename(path, aside)
        except OSError as e:
            raise SpoolError(f"cannot set {item_id} aside: {e.strerror}") from e
        return aside

    def path(self, item_id: str) -> Path:
        """The item's file; raises ItemGone for what cannot be an id."""
        if not ITEM_ID.fullmatch(item_id):
            raise ItemGone(f"{item_id!r} is no id of an item")
        return self.root / item_id

    def move_in(
        self, source: Path, base: str, is_taken: Callable[[str], bool] | None = None
    ) -> str:
        """Makes the item at ``source`` one of this directory, under a name of its own that begins
        with ``base`` and that is not ``is_taken``; returns it when that is durable. Killed at any
        moment, the item is at one of the two places.
        """
        try:
            with locked(self.root):
                name = self._free_name(base.partition(".")[0], is_taken)
                try:
                    os.rename(source, self.root / name)
                except OSError as e:
                    if e.errno != errno.EXDEV:
                        raise
                    self._copy_in(source, name)
                sync_directory(self.root)
            sync_directory(source.parent)
        except FileNotFoundError as e:
            raise ItemGone(f"{source.name} is not there any more") from e
        except OSError as e:
            raise SpoolError(f"cannot move {source.name}: {e.strerror}") from e
        return name

    def _free_name(self, base: str, is_taken: Callable[[str], bool] | None) -> str:
        for number in range(1, _MOST_NAMES):
            name = f"{base}.{number}"
            if not (self.root / name).exists() and not (is_taken and is_taken(name)):
                return name
        raise OSError(errno.EEXIST, "all names are taken")

    def _copy_in(self, source: Path, name: str) -> None:
        with source.open("rb") as old, self._new_file() as (fd, link):
            while piece := old.read(PIECE_OCTETS):
                _write(fd, piece)
            found = os.fstat(old.fileno())
            if os.geteuid() == 0:
                os.fchown(fd, found.st_uid, found.st_gid)
            os.fsync(fd)
            link(iter((name,)))
        os.unlink(source)

    def claim(self) -> int | None:
        """The lock of the one process that may deliver what is here: a descriptor to keep, None
        while another has it.
        """
        try:
            fd = os.open(self.root / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as e:
            raise SpoolError(f"cannot lock {self.root}: {e.strerror}") from e
        if try_lock(fd):
            return fd
        os.close(fd)
        return None

    def sweep(self) -> int:
        """Removes what writers have left that died; returns how many."""
        swept = 0
        for path in self.root.glob(f"{_UNFINISHED}*"):
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                if try_lock(fd):
                    _unlink(path)
                    swept += 1
            finally:
                os.close(fd)
        return swept

    def _open(self, item_id: str, flags: int) -> int:
        try:
            return os.open(self.path(item_id), flags | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError as e:
            raise ItemGone(f"there is no item {item_id}") from e
        except OSError as e:
            raise SpoolError(f"cannot open {item_id}: {e.strerror}") from e


class _Link:
    """Gives an unfinished file its name."""

    __slots__ = ("_fd", "_name", "_root")

    def __init__(self, root: Path, fd: int, name: str) -> None:
        self._root = root
        self._fd = fd
        self._name = name

    def __call__(self, names: Iterator[str]) -> str:
        """Links it to the first of ``names`` that is free, durably; raises OSError."""
        for name in names:
            try:
                self._link(self._root / name)
            except FileExistsError:
                continue
            try:
                sync_directory(self._root)
            except OSError:
                _unlink(self._root / name)
                raise
            return name
        raise OSError(errno.EEXIST, "all names are taken")

    def _link(self, target: Path) -> None:
        if self._name:
            os.link(self._root / self._name, target)
        else:  # a descriptor of a directory, whichever, makes it linkat(2)
            os.link(f"/proc/self/fd/{self._fd}", target, src_dir_fd=self._fd)


def names_for(envelope: Envelope) -> Iterator[str]:
    """The names a message may get, best first."""
    base = f"{envelope.session_id}-{envelope.number}"
    yield base
    for number in range(2, _MOST_NAMES):
        yield f"{base}-{number}"


def _unnamed_file(root: Path) -> tuple[int, str]:
    """A new file and its name, "" where it has none."""
    try:
        return os.open(root, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600), ""
    except OSError as e:
        if e.errno not in _NO_TMPFILE:
            raise
    fd, path = tempfile.mkstemp(prefix=_UNFINISHED, dir=root)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd, Path(path).name


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _unlink(path: Path) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def sync_directory(path: Path) -> None:
    """Makes names that were given or taken durable; raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def try_lock(fd: int) -> bool:
    """Locks an open file for this description of it; False while another has the lock."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One at a time in ``directory``; waits for the others; raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
