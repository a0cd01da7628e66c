"""What a child is given by its master: plain values and descriptors, made before the fork.

Imported by the master, so neither this module nor what it imports knows gevent.

``Settings`` names the part of the configuration that master and boot read. It is a Protocol so that
tests of processes need no configuration file; what is passed in production is the whole Config.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gwsmtp.base.logs import LogLevel
from gwsmtp.base.netmatch import AddressPattern
from gwsmtp.base.procid import ProcessId
from gwsmtp.config.tls import TlsPlan
from gwsmtp.limits.slots import Role
from gwsmtp.net.tlsmaterial import TlsMaterial


class Endpoint(Protocol):
    """A parsed ``host:port`` whose text form is that of the configuration file."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...


class InterfaceSettings(Protocol):
    """Group ``interface``."""

    @property
    def name(self) -> str: ...


class ListenerSettings(Protocol):
    """Groups ``server`` and ``ssl``: each is a listener."""

    @property
    def enabled(self) -> bool: ...
    @property
    def listen(self) -> Sequence[Endpoint]: ...
    @property
    def max_inbound_connections(self) -> int: ...


class ServerSettings(ListenerSettings, Protocol):
    """Group ``server``. ``proxy_protocol`` names trusted proxies."""

    @property
    def proxy_protocol(self) -> Sequence[str]: ...


class OffenceSettings(Protocol):
    """Group ``dos_protection.offences``, in seconds."""

    @property
    def strike_fade(self) -> int: ...
    @property
    def ban_time_max(self) -> int: ...


class DosSettings(Protocol):
    """Group ``dos_protection``."""

    @property
    def enabled(self) -> bool: ...
    @property
    def kernel_shedding(self) -> bool: ...
    @property
    def offences(self) -> OffenceSettings: ...


class SourceSettings(Protocol):
    """A row of ``relay_protection.allowed_sources``."""

    @property
    def skip_connection_tests(self) -> bool: ...
    @property
    def parsed(self) -> AddressPattern: ...


class RelaySettings(Protocol):
    """Group ``relay_protection``."""

    @property
    def allowed_sources(self) -> Sequence[SourceSettings]: ...


class WorkerSettings(Protocol):
    """Group ``workers``. ``number`` is the count, with the default worked out; ``user`` and
    ``group`` are "" or None where none is named.
    """

    @property
    def number(self) -> int: ...
    @property
    def user(self) -> str | None: ...
    @property
    def group(self) -> str | None: ...
    @property
    def hang_timeout(self) -> float: ...
    @property
    def drain_timeout(self) -> float: ...


class PathSettings(Protocol):
    """Group ``paths``, absolute."""

    @property
    def base(self) -> Path: ...
    @property
    def spool(self) -> Path: ...
    @property
    def hold(self) -> Path: ...
    @property
    def run(self) -> Path: ...
    @property
    def log(self) -> Path: ...
    @property
    def tmp(self) -> Path: ...


class ScanSettings(Protocol):
    """Group ``scan``."""

    @property
    def runs_embedded(self) -> bool: ...


class LoggingSettings(Protocol):
    """Group ``logging``. ``to`` is "stderr", "stdout" or a file."""

    @property
    def level(self) -> LogLevel: ...
    @property
    def to(self) -> str | Path | None: ...


class DeliverySettings(Protocol):
    """Group ``delivery``. ``min_free`` in octets, 0 for none."""

    @property
    def min_free(self) -> int: ...


class Settings(Protocol):
    """What the machinery of processes reads of a Config."""

    @property
    def interface(self) -> InterfaceSettings: ...
    @property
    def server(self) -> ServerSettings: ...
    @property
    def ssl(self) -> ListenerSettings: ...
    @property
    def tls(self) -> TlsPlan | None: ...
    @property
    def workers(self) -> WorkerSettings: ...
    @property
    def paths(self) -> PathSettings: ...
    @property
    def scan(self) -> ScanSettings: ...
    @property
    def logging(self) -> LoggingSettings: ...
    @property
    def delivery(self) -> DeliverySettings: ...
    @property
    def dos_protection(self) -> DosSettings: ...
    @property
    def relay_protection(self) -> RelaySettings: ...


QUEUE_DIRECTORY = "queue"
"""Where below ``paths.spool`` the queue's items are."""


def bell_path(run: Path, name: str) -> Path:
    """Where the queue of the interface ``name`` listens for datagrams (``process.bell``)."""
    return run / f"{name}.queue.sock"


@dataclass(frozen=True, slots=True)
class ChildContext:
    """One child's inheritance.

    ``listeners`` are what this child accepts on: the SMTP listeners of a worker, in the order of
    the configuration, the one socket of an engine or of the trial hop, the queue's bell. They are
    plain sockets of the standard library, bound, listening (but the bell) and non-blocking.
    ``engine_address`` is ``unix:PATH`` of the embedded engine, "" where there is none.
    ``ssl_listeners`` are a worker's for TLS from the first byte; ``tls`` is what it speaks TLS
    with, None without a usable certificate. ``outlives`` names the roles that need this child: when
    the master is gone it drains only after they have ended. ``control_fd`` is the child's end of
    ``process.control``; ``is_accepting`` is False for a worker born while WINCH holds.
    """

    role: Role
    number: int
    generation: int
    config: Settings
    table_path: Path
    slot_index: int
    listeners: Sequence[socket.socket]
    lifeline_fd: int
    log_fd: int
    owner: ProcessId
    engine_address: str = ""
    maildir: Path | None = None
    outlives: tuple[Role, ...] = ()
    ssl_listeners: Sequence[socket.socket] = ()
    tls: TlsMaterial | None = None
    control_fd: int = -1
    is_accepting: bool = True

    @property
    def label(self) -> str:
        """What logs call this child: ``worker-0``."""
        return f"{self.role.name.lower()}-{self.number}"

    @property
    def title(self) -> str:
        """What ``ps`` calls it: ``worker 0``, or the role alone where there is but one."""
        name = self.role.name.lower()
        return f"{name} {self.number}" if self.role is Role.WORKER else name
