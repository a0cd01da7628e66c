"""The birth of every child, in one order for all roles.

``master.children`` imports this module after the fork and calls ``run_child``. The order matters:

 1. signals to default, descriptors that are not ours closed: no later failure can hurt the master;
 2. ``monkey.patch_all()`` before any module of the role is imported. It is for libraries; our own
    modules take what they need from gevent by name;
 3. an own description of the shared table, opened while we may;
 4. the event loop, the role's modules, and those that libraries import late: once privileges are
    dropped, and while a package upgrade replaces files, nothing is imported any more;
 5. privileges;
 6. watchers, then the role's ``main(context, child)``.

Until step 6 TERM, INT and QUIT end the child at once: there is nothing yet to finish.

Exit codes: OK asked for; FAILED main raised; NO_PERMISSION privileges; BOOT_FAILED anything else
before main. Every failure is one ERROR line in the log, with its trace.
"""

import faulthandler
import importlib
import logging
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import setproctitle

from gwsmtp.base import logs, procid
from gwsmtp.base.clock import SystemClock
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.base.quoting import quoted
from gwsmtp.limits.arena import Table, open_table
from gwsmtp.limits.slots import Role, SlotWriter
from gwsmtp.process.context import QUEUE_DIRECTORY, ChildContext
from gwsmtp.process.privileges import PrivilegeError, drop_privileges, find_account

if TYPE_CHECKING:
    from gwsmtp.process.child import Child

log = logging.getLogger(__name__)

Main = Callable[[ChildContext, "Child"], object]

_DEFAULT = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD, signal.SIGALRM)
# What a terminal, logrotate or an administrator may send to a whole group is for the master alone.
_IGNORED = (
    signal.SIGHUP,
    signal.SIGPIPE,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGWINCH,
)

# Imported by the standard library at the first use of a codec, a name or a date.
_PRELOADED = (
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "encodings.utf_8",
    "stringprep",
    "unicodedata",
    "_strptime",
    "traceback",
    "linecache",
)


def run_child(context: ChildContext, entry: str) -> NoReturn:
    """Turns the freshly forked process into the child ``context`` describes; never returns.

    ``entry`` is the role's main as ``module:function``. The caller has blocked the master's
    signals; they are let in when their default actions are in place.
    """
    code = int(ExitCode.BOOT_FAILED)
    try:
        _shed_the_master(context)
        _live(context, entry)
    except PrivilegeError as error:
        log.error("event=boot_failed reason=%s", quoted(str(error)))
        code = ExitCode.NO_PERMISSION
    except BaseException:
        log.exception("event=boot_failed entry=%s", entry)
    finally:
        # Whatever happens, this process never goes back into the master's code.
        os._exit(code)


def _shed_the_master(context: ChildContext) -> None:
    """Signals and descriptors: after this nothing we do can reach the master."""
    signal.set_wakeup_fd(-1)
    for signum in _DEFAULT:
        signal.signal(signum, signal.SIG_DFL)
    for signum in _IGNORED:
        signal.signal(signum, signal.SIG_IGN)
    keep = {0, 1, 2, context.log_fd, context.lifeline_fd, context.control_fd}
    keep.update(listener.fileno() for listener in context.listeners)
    keep.update(listener.fileno() for listener in context.ssl_listeners)
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            try:
                os.close(int(name))
            except OSError:
                pass  # the listing's own descriptor
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    name = context.config.interface.name
    setproctitle.setproctitle(f"gwsmtp: {context.title} [{name}] booting")


def _live(context: ChildContext, entry: str) -> NoReturn:
    """Steps 2 to 6; does not return, but may raise."""
    from gevent import config, monkey

    # Who spawned whom, for traces nobody prints: half a KiB a session.
    config.track_greenlet_tree = False
    monkey.patch_all()
    clock = SystemClock()
    level = context.config.logging.level
    writer = logs.setup(context.label, level, context.log_fd, clock)
    faulthandler.enable(file=context.log_fd, all_threads=True)

    table = _sign_in(context, clock)
    main = _import_entry(entry)

    from gwsmtp.process.child import Child

    child = Child(context, table, writer, clock)
    _preload()
    _drop_privileges(context)
    child.start()
    try:
        main(context, child)
    except Exception:
        log.exception("event=main_failed entry=%s", entry)
        child.finish(ExitCode.FAILED)
    child.finish(ExitCode.OK)


def _sign_in(context: ChildContext, clock: SystemClock) -> Table:
    table = open_table(context.table_path)
    slot = SlotWriter(table, context.slot_index)
    slot.sign_in(procid.own_id(), clock.boot_ms())
    slot.release()
    return table


def _import_entry(entry: str) -> Main:
    module, _, function = entry.partition(":")
    main: Main = getattr(importlib.import_module(module), function)
    return main


def _drop_privileges(context: ChildContext) -> None:
    """Becomes workers.user, and makes sure that the role can do its work as that."""
    workers, paths = context.config.workers, context.config.paths
    account = find_account(workers.user, workers.group)
    if account is None or os.geteuid() != 0:
        return
    drop_privileges(account)
    if context.role in (Role.WORKER, Role.QUEUE):
        for path in (paths.spool, paths.spool / QUEUE_DIRECTORY, paths.hold, paths.tmp):
            if not os.access(path, os.W_OK | os.X_OK):
                raise PrivilegeError(f"user {account.user!r} cannot write into {path}")


def _preload() -> None:
    """Loads now what would be loaded at first use, gevent's resolver and pool of threads included.

    Seen: a Python that only root may read, and children that died at the first such import.
    """
    from gevent.hub import get_hub

    hub = get_hub()
    _ = hub.threadpool, hub.resolver
    for name in _PRELOADED:
        importlib.import_module(name)
