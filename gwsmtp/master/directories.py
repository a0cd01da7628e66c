"""The directories of ``paths``, made before anything is put into them.

What exists is left as it is: modes and owners are then the administrator's or the package's. What
is missing is made so that children can work and cannot harm the master: as root, ``spool``,
``hold`` and ``tmp`` belong to workers.user; ``run`` and ``log`` stay root's, as who may replace a
pidfile or a log decides whom root signals and what root writes.
"""

import os
from pathlib import Path

from gwsmtp.base.errors import HaltMaster
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.process.context import QUEUE_DIRECTORY, PathSettings
from gwsmtp.process.privileges import Account


def make_directories(paths: PathSettings, account: Account | None) -> None:
    """Makes what is missing; raises HaltMaster with ExitCode.CANNOT_CREATE and one line."""
    make_directory(paths.base, None, 0o755)
    for path in (paths.run, paths.log):
        make_directory(path, account, 0o750, owned=False)
    for path in (paths.spool, paths.spool / QUEUE_DIRECTORY, paths.hold, paths.tmp):
        make_directory(path, account, 0o700)


def make_directory(path: Path, account: Account | None, mode: int, *, owned: bool = True) -> None:
    """Makes one directory with its parents, for ``account`` (``owned``) or its group alone."""
    try:
        if not path.is_dir():
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.mkdir()
            if account is not None and os.geteuid() == 0:
                os.chown(path, account.uid if owned else -1, account.gid)
            path.chmod(mode)
    except OSError as error:
        where = error.filename or path
        raise HaltMaster(
            ExitCode.CANNOT_CREATE, f"cannot create {path}: {where}: {error.strerror}"
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise HaltMaster(ExitCode.CANNOT_CREATE, f"cannot write into {path}: permission denied")
