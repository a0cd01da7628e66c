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
from dataclasses import dataclass
from pathlib import Path

from gwsmtp.base.errors import HaltMaster
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.base.quoting import quoted
from gwsmtp.process.context import Endpoint
from gwsmtp.process.privileges import Account

log = logging.getLogger(__name__)

_BACKLOG = 1024  # the kernel lowers it to net.core.somaxconn


Address = tuple[str, int]
"""As the configuration has it: port 0 stays 0, whatever the kernel gave."""


@dataclass(frozen=True, slots=True)
class Rebind:
    """A change that is prepared: ``after`` is what there is when it is done. Nothing of ``gone`` is
    closed before ``ListenerSet.commit``, nothing of ``opened`` before ``abandon``. ``refused``
    says why addresses could not be bound.
    """

    after: tuple[tuple[Address, socket.socket], ...]
    opened: tuple[socket.socket, ...]
    gone: tuple[socket.socket, ...]
    refused: tuple[str, ...] = ()

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """What children accept on, in the order of the configuration."""
        return tuple(sock for _, sock in self.after)


class ListenerSet:
    """The master's listeners of one kind, by the addresses that the configuration names.

    A listener whose address stays is kept, so nobody in its backlog is lost. At a reload an address
    that cannot be bound is an ERROR, and then no old listener is closed either: the gateway is
    never left without one because of a mistyped new one.

    Limits: 0.0.0.0:25 and 127.0.0.1:25 exclude each other while either is open, so a change from
    one to the other needs a restart, as the ERROR shows.
    """

    def __init__(self) -> None:
        self._open: tuple[tuple[Address, socket.socket], ...] = ()

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """All that are open."""
        return tuple(sock for _, sock in self._open)

    def prepare(self, endpoints: Sequence[Endpoint], *, must_bind: bool) -> Rebind:
        """Opens what is missing. Raises HaltMaster when ``must_bind`` and an address is refused."""
        left = list(self._open)
        after: list[tuple[Address, socket.socket]] = []
        opened: list[socket.socket] = []
        refused: list[str] = []
        try:
            for endpoint in endpoints:
                address = (endpoint.host, endpoint.port)
                kept = next((row for row in left if row[0] == address), None)
                if kept is not None:
                    left.remove(kept)
                    after.append(kept)
                    continue
                try:
                    opened.append(bind_tcp(*address))
                except HaltMaster as halt:
                    if must_bind:
                        raise
                    refused.append(halt.reason)
                    log.error("event=listener_refused reason=%s", quoted(halt.reason))
                else:
                    after.append((address, opened[-1]))
        except BaseException:
            for listener in opened:
                listener.close()
            raise
        if refused and left:
            kept_text = ",".join(address_text(sock) for _, sock in left)
            log.error("event=listeners_kept listen=%s", kept_text)
            after, left = after + left, []
        gone = tuple(sock for _, sock in left)
        return Rebind(tuple(after), tuple(opened), gone, tuple(refused))

    def commit(self, rebind: Rebind) -> None:
        """What was prepared is so from now on."""
        self._open = rebind.after
        for listener in rebind.gone:
            log.info("event=listener_closed listen=%s", address_text(listener))
            listener.close()

    def abandon(self, rebind: Rebind) -> None:
        """Nothing comes of it."""
        for listener in rebind.opened:
            listener.close()

    def close(self) -> None:
        """Closes all: new connections are refused as soon as no child listens any more."""
        for listener in self.sockets:
            listener.close()
        self._open = ()


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
        _bind_path(listener, path, account)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise HaltMaster(
            ExitCode.CANNOT_BIND, f"cannot listen on {path}: {reason.lower()}"
        ) from error
    return listener


def bind_datagrams(path: Path, account: Account | None) -> socket.socket:
    """A unix socket for datagrams that only ``account`` (and its group) may send to. It takes the
    place of whatever is there: who still reads a dead master's socket hears no more.
    """
    bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        _bind_path(bell, path, account)
        bell.setblocking(False)
    except OSError as error:
        bell.close()
        reason = error.strerror or str(error)
        raise HaltMaster(
            ExitCode.CANNOT_BIND, f"cannot listen on {path}: {reason.lower()}"
        ) from error
    return bell


def _bind_path(sock: socket.socket, path: Path, account: Account | None) -> None:
    """Puts a unix socket in its place, for ``account`` and its group; raises OSError."""
    path.unlink(missing_ok=True)
    before = os.umask(0o777)  # nobody connects before owner and mode are right
    try:
        sock.bind(str(path))
    finally:
        os.umask(before)
    if account is not None and os.geteuid() == 0:
        os.chown(path, account.uid, account.gid)
    path.chmod(0o660)


def remove_stale(folder: Path, pattern: str) -> None:
    """Removes unix sockets of dead masters that nobody listens on any more."""
    for path in folder.glob(pattern):
        if path.is_socket() and _listening_pid(path) == 0:
            path.unlink(missing_ok=True)


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
        log.warning("event=file_limit wanted=%d reason=%s", wanted, quoted(str(error)))


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
