"""The shared table's file: made, opened, checked and mapped. What is in it: ``layout``.

The master calls ``create_table`` before its first fork; every child calls ``open_table`` after its
fork and before it drops privileges, so that each has an open file description of its own (an
inherited one would share the parent's locks); tools open it read-only, also when no master lives.

* A file is made under another name, allocated in full (a sparse file on a full file system kills
  its users by SIGBUS), and renamed when its header is complete: nobody ever sees half a table.
* A file that cannot be trusted (damaged, not ours, other layout, left over from before a reboot:
  its times are meaningless now) is set aside as ``NAME.table.bad-…`` and an empty one is made. The
  newest three are kept.

Limits: who truncates the file while it is mapped kills its users by SIGBUS; nobody of ours does.
Blocks only on the file system. Time is an argument.
"""

import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gwsmtp.base import procid
from gwsmtp.base.errors import TableError
from gwsmtp.base.procid import ProcessId
from gwsmtp.limits.layout import (
    CONTROL,
    FILE_SIZE,
    LAYOUT_HASH,
    LAYOUT_VERSION,
    MAGIC,
    WORD,
    Control,
    Header,
    words_of,
)

_MODE = 0o660
_HEADER_SIZE = WORD * len(words_of(Header))
_KEPT_BAD_FILES = 3


class Table:
    """A mapped table. ``words`` is the whole file as unsigned 64-bit words; ``fd`` the open
    description that is this process's own, for locks. Ends with ``close``.
    """

    __slots__ = ("_map", "fd", "is_readonly", "path", "set_aside", "words")

    def __init__(self, path: Path, fd: int, *, readonly: bool) -> None:
        self.path = path
        self.fd = fd
        self.is_readonly = readonly
        self.set_aside = ""
        """Why ``create_table`` did not trust what it found; empty where there was nothing to say.
        The caller logs it."""
        access = mmap.ACCESS_READ if readonly else mmap.ACCESS_WRITE
        self._map = mmap.mmap(fd, FILE_SIZE, access=access)
        self.words = memoryview(self._map).cast("Q")

    @property
    def generation(self) -> int:
        """The youngest generation of workers."""
        return self.words[Header.GENERATION]

    @property
    def leader(self) -> ProcessId:
        """The one master that may write the header; (0, 0) before there was one."""
        return self.words[Header.LEADER_PID], self.words[Header.LEADER_TICKS]

    @property
    def created_ms(self) -> int:
        """When the table began to count, CLOCK_BOOTTIME."""
        return self.words[Header.CREATED_MS]

    @property
    def secret(self) -> bytes:
        """What the table's own hashes are keyed with."""
        low, high = self.words[CONTROL + Control.HASH_KEY_LOW : CONTROL + Control.HASH_KEY_HIGH + 1]
        return b"".join(word.to_bytes(WORD, "little") for word in (low, high))

    def set_secret(self, secret: bytes) -> None:
        """Keys the table's hashes anew; only while nobody has a row in it."""
        self.words[CONTROL + Control.HASH_KEY_LOW] = int.from_bytes(secret[:WORD], "little")
        self.words[CONTROL + Control.HASH_KEY_HIGH] = int.from_bytes(secret[WORD:], "little")

    @property
    def is_seeded(self) -> bool:
        """Whether what an earlier table knew has been put in: a master may have died before."""
        flag: int = self.words[CONTROL + Control.IS_SEEDED]
        return flag != 0

    def set_seeded(self) -> None:
        """Nothing of an earlier table is to be put in any more."""
        self.words[CONTROL + Control.IS_SEEDED] = 1

    def lead(self, leader: ProcessId, generation: int) -> None:
        """Names the leader and its generation; the leader alone calls it."""
        self.words[Header.LEADER_PID], self.words[Header.LEADER_TICKS] = leader
        self.words[Header.GENERATION] = generation

    def close(self) -> None:
        """Unmaps and closes; idempotent. Views taken from ``words`` must be gone."""
        if self.fd >= 0:
            self.words.release()
            self._map.close()
            os.close(self.fd)
            self.fd = -1


def create_table(
    path: Path, *, now_ms: int, gid: int = -1, boot_id: bytes = b"", secret: bytes = b""
) -> Table:
    """Opens the table at ``path``, or makes an empty one where there is none to trust.

    ``gid`` is the group that may map it read-write (-1: leave), ``secret`` 16 random octets that
    place clients in a new table. Raises TableError when the file
    system refuses. Only the process that holds the pidfile may call it.
    """
    boot_id = boot_id or procid.boot_id()
    set_aside = ""
    try:
        table = open_table(path, boot_id=boot_id)
    except FileNotFoundError:
        table = None
    except TableError as error:
        table = None
        with _file_errors(path, "cannot be set aside"):
            kept_as = _set_aside(path, now_ms)
        set_aside = f"{error}; kept as {kept_as.name}"
    if table is None:
        with _file_errors(path, f"cannot be created with {FILE_SIZE} octets"):
            _make(path, now_ms=now_ms, gid=gid, boot_id=boot_id, secret=secret)
        table = open_table(path, boot_id=boot_id)
    table.set_aside = set_aside
    return table


def open_table(path: Path, *, readonly: bool = False, boot_id: bytes = b"") -> Table:
    """Maps an existing table. Raises FileNotFoundError, or TableError that says what is wrong."""
    flags = (os.O_RDONLY if readonly else os.O_RDWR) | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        fd = os.open(path, flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise TableError(f"{path}: cannot be opened: {error.strerror}") from error
    try:
        _check(path, fd, boot_id or procid.boot_id())
        with _file_errors(path, "cannot be mapped"):
            if not readonly:
                os.posix_fallocate(fd, 0, FILE_SIZE)
            return Table(path, fd, readonly=readonly)
    except BaseException:
        os.close(fd)
        raise


def _check(path: Path, fd: int, boot_id: bytes) -> None:
    """Raises TableError unless ``fd`` is a table that this code may map."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise TableError(f"{path}: not a regular file")
    with _file_errors(path, "cannot be read"):
        head = os.pread(fd, _HEADER_SIZE, 0)
    if len(head) < _HEADER_SIZE:
        raise TableError(f"{path}: damaged: only {status.st_size} octets")
    words = memoryview(head).cast("Q")
    if words[Header.MAGIC] != MAGIC:
        raise TableError(f"{path}: not a table of gwsmtp")
    if words[Header.LAYOUT_VERSION] != LAYOUT_VERSION or words[Header.LAYOUT_HASH] != LAYOUT_HASH:
        found = words[Header.LAYOUT_VERSION]
        raise TableError(f"{path}: other layout (version {found}, ours is {LAYOUT_VERSION})")
    if not words[Header.FILE_SIZE] == status.st_size == FILE_SIZE:
        raise TableError(f"{path}: damaged: {status.st_size} octets instead of {FILE_SIZE}")
    low, high = _boot_words(boot_id)
    if words[Header.BOOT_ID_LOW] != low or words[Header.BOOT_ID_HIGH] != high:
        raise TableError(f"{path}: left over from before the last boot")


def _make(path: Path, *, now_ms: int, gid: int, boot_id: bytes, secret: bytes) -> None:
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(new, flags, _MODE)
    try:
        os.fchown(fd, -1, gid)
        os.fchmod(fd, _MODE)  # whatever the umask says
        os.posix_fallocate(fd, 0, FILE_SIZE)
        table = Table(new, os.dup(fd), readonly=False)
        words = table.words
        words[Header.LAYOUT_VERSION] = LAYOUT_VERSION
        words[Header.LAYOUT_HASH] = LAYOUT_HASH
        words[Header.FILE_SIZE] = FILE_SIZE
        words[Header.BOOT_ID_LOW], words[Header.BOOT_ID_HIGH] = _boot_words(boot_id)
        words[Header.CREATED_MS] = now_ms
        table.set_secret(secret)
        words[Header.MAGIC] = MAGIC
        table.close()
        new.rename(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


def _set_aside(path: Path, now_ms: int) -> Path:
    bad = path.with_name(f"{path.name}.bad-{now_ms}")
    path.rename(bad)
    older = [found for found in path.parent.glob(f"{path.name}.bad-*") if found != bad]
    older.sort(key=lambda found: found.lstat().st_mtime_ns)
    for found in older[: 1 - _KEPT_BAD_FILES]:
        if not found.is_dir():
            found.unlink(missing_ok=True)
    return bad


def _boot_words(boot_id: bytes) -> tuple[int, int]:
    return int.from_bytes(boot_id[:8], "little"), int.from_bytes(boot_id[8:16], "little")


@contextmanager
def _file_errors(path: Path, what: str) -> Iterator[None]:
    """Turns the file system's refusal into a TableError of one line."""
    try:
        yield
    except OSError as error:
        raise TableError(f"{path}: {what}: {error.strerror}") from error
