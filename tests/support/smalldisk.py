"""A file system of a few MiB that can be filled and emptied: a tmpfs, so only for root.

with SmallDisk(folder / "spool", "nobody", mib=2) as disk:
    disk.leave(100_000)     # so many octets are free now
    disk.leave(None)        # all of it
"""

import contextlib
import errno
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

_FILLER = "filler"


class SmallDisk:
    """Mounted at ``path`` while entered, owned by ``user`` alone; never left mounted."""

    def __init__(self, path: Path, user: str, mib: int) -> None:
        assert os.geteuid() == 0, "mounting needs root: run the full tests as root"
        self.path = path
        self._user = user
        self._octets = mib << 20

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True)
        options = f"size={self._octets},mode=0700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path)], check=True)
        try:
            shutil.chown(self.path, self._user)
        except BaseException:
            self._unmount()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._unmount()

    def _unmount(self) -> None:
        # Lazily: whoever still has a file there, in a test that failed, keeps it to his end.
        subprocess.run(["umount", "-l", str(self.path)], check=True)

    @property
    def used(self) -> int:
        """Octets taken, those of files without a name included."""
        stat = os.statvfs(self.path)
        return (stat.f_blocks - stat.f_bfree) * stat.f_frsize

    def leave(self, octets: int | None) -> None:
        """Fills it so that only ``octets`` are free, up to a page; None empties it."""
        filler = self.path / _FILLER
        with contextlib.suppress(FileNotFoundError):
            filler.unlink()
        if octets is None:
            return
        stat = os.statvfs(self.path)
        with filler.open("wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, stat.f_bfree * stat.f_frsize - octets)
            except OSError as e:
                assert e.errno != errno.ENOSPC, "somebody else has taken the space"
                raise
