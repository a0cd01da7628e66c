"""Sockets that are bound before the first fork and shared by all children of a role.

Plain sockets of the standard library: listening, non-blocking, close-on-exec. Called by the master
only; blocks only on the kernel. A refusal is HaltMaster with ExitCode.CANNOT_BIND and one line that
names the address and, where it is taken, who holds it (as far as we may see that).
"""

import errno
import logging
import os
import resource
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from gwsmtp.base.errors import HaltMaster
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.process.context import Endpoint
from gwsmtp.process.privileges import Account

log = logging.getLogger(__name__)

_BACKLOG = 1024  # the kernel lowers it to net.core.somaxconn


def bind_listeners(endpoints: Sequence[Endpoint]) -> list[socket.socket]:
    """One listener for each address, in order, all or none. Port 0 takes a free one."""
    bound: list[socket.socket] = []
    try:
        for endpoint in endpoints:
            bound.append(bind_tcp(endpoint.host, endpoint.port))  # noqa: PERF401 (closed below)
    except BaseException:
        for listener in bound:
            listener.close()
        raise
    return bound


def bind_tcp(host: str, port: int) -> socket.socket:
    """A listener on a numeric address; raises HaltMaster."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            # [::] and 0.0.0.0 are two addresses: both may stand in one file.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        shown = _shown(host, port)
        raise HaltMaster(
            ExitCode.CANNOT_BIND, f"cannot listen on {shown}: {_why(error, host, port)}"
        ) from error
    return listener


def bind_unix(path: Path, account: Account | None) -> socket.socket:
    """A listener on a unix socket that only ``account`` (and its group) may connect to.

    What a dead master left behind is replaced; the socket of a living one is an error, also when
    its pidfile was deleted. Who it was that listened is asked of the kernel, as children of a
    killed master may still be draining behind it.
    """
    holder = _listening_pid(path)
    if holder > 0 and Path(f"/proc/{holder}").exists():
        raise HaltMaster(
            ExitCode.CANNOT_BIND, f"cannot listen on {path}: process {holder} listens on it"
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        before = os.umask(0o777)  # nobody connects before owner and mode are right
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        if account is not None and os.geteuid() == 0:
            os.chown(path, account.uid, account.gid)
        path.chmod(0o660)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise HaltMaster(
            ExitCode.CANNOT_BIND, f"cannot listen on {path}: {reason.lower()}"
        ) from error
    return listener


def address_text(listener: socket.socket) -> str:
    """Where a listener really listens: ``127.0.0.1:2525``, ``[::1]:2525`` or a path."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return str(name)
    return _shown(name[0], name[1])


def raise_file_limit(connections: int) -> None:
    """Lets each process open enough files: a worker may hold all sessions, each with a client, a
    next hop and a draft.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * connections + 1024
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        if os.geteuid() == 0:
            hard = wanted
        else:
            log.warning("event=file_limit wanted=%d allowed=%d", wanted, hard)
            wanted = hard
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        log.warning("event=file_limit wanted=%d reason=%r", wanted, str(error))


def _listening_pid(path: Path) -> int:
    """The process that called listen on ``path``; 0 where nobody accepts there any more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except OSError:
            return 0
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid: int = struct.unpack("3i", credentials)[0]
    return pid


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _why(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"taken by {_holder(host, port)}"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    if error.errno == errno.EACCES:
        return "ports below 1024 need root"
    return (error.strerror or str(error)).lower()


def _holder(host: str, port: int) -> str:
    """Who listens there, by name and pid where we may see it."""
    import psutil

    wildcard = {"0.0.0.0", "::"}
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr:
                continue
            ours, theirs = host, connection.laddr.ip
            if connection.laddr.port == port and (theirs == ours or {theirs, ours} & wildcard):
                if connection.pid is None:
                    break
                name = psutil.Process(connection.pid).name()
                return f"{name} (pid {connection.pid})"
    except (psutil.Error, OSError):
        pass
    return "another process"
