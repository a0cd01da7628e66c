"""From root to ``workers.user``, with no way back.

Called by each child once, after everything is open and imported and before the first peer is met.
Only root can do it: as anybody else the gateway runs as who it is. Raises PrivilegeError, which
ends the child with ExitCode.NO_PERMISSION: a worker that was told to be unprivileged never serves
as root.
"""

import grp
import logging
import os
import pwd
from dataclasses import dataclass

from gwsmtp.base.errors import GatewayError
from gwsmtp.base.quoting import quoted

log = logging.getLogger(__name__)


class PrivilegeError(GatewayError):
    """``workers.user`` or ``workers.group`` cannot be become."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user and the group it is to run with."""

    user: str
    uid: int
    gid: int


def find_account(user: str | None, group: str | None) -> Account | None:
    """The account of the configuration, by name or number; None where it names no user. Raises
    PrivilegeError.
    """
    if not user:
        return None
    try:
        entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        raise PrivilegeError(f"workers.user: there is no user {user!r}") from None
    gid = entry.pw_gid
    if group:
        try:
            found = grp.getgrgid(int(group)) if group.isdecimal() else grp.getgrnam(group)
        except (KeyError, OverflowError):
            raise PrivilegeError(f"workers.group: there is no group {group!r}") from None
        gid = found.gr_gid
    return Account(entry.pw_name, entry.pw_uid, gid)


def warn_about(account: Account | None) -> None:
    """Logs, for the master, that children will not be who the configuration says, or root."""
    if os.geteuid() == 0 and account is None:
        log.warning("event=privileged note=%s", quoted("workers.user is not set"))
    elif os.geteuid() != 0 and account and account.uid != os.geteuid():
        log.warning("event=unprivileged note=%s", quoted("not root, so workers.user is not used"))


def drop_privileges(account: Account) -> None:
    """Becomes ``account`` for good and proves it; raises PrivilegeError.

    Supplementary groups are those of the user, so that a group may be used to grant access.
    """
    try:
        os.initgroups(account.user, account.gid)
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
    except OSError as error:
        raise PrivilegeError(f"cannot become user {account.user!r}: {error.strerror}") from error
    uids, gids = set(os.getresuid()), set(os.getresgid())
    if uids != {account.uid} or gids != {account.gid}:
        raise PrivilegeError(f"became {uids}/{gids} instead of {account}")
    if account.uid == 0:
        return  # workers.user: root is an administrator's own choice
    try:
        os.setuid(0)
    except PermissionError:
        return
    raise PrivilegeError(f"root could be regained after becoming {account.user!r}")
