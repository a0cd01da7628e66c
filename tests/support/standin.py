"""A stand-in for the configuration, as JSON: what tests of processes need of it and no more."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gwsmtp.base.logs import LogLevel
from gwsmtp.base.netmatch import AddressPattern, parse_pattern


@dataclass
class Endpoint:
    host: str = "127.0.0.1"
    port: int = 0


@dataclass
class Interface:
    name: str = "demo"


@dataclass
class Server:
    enabled: bool = True
    listen: tuple[Endpoint, ...] = (Endpoint(),)
    max_inbound_connections: int = 64
    proxy_protocol: tuple[str, ...] = ()


@dataclass
class Ssl:
    enabled: bool = False
    listen: tuple[Endpoint, ...] = ()
    max_inbound_connections: int = 64


@dataclass
class Workers:
    count: int = 1
    user: str = ""
    group: str = ""
    hang_timeout: float = 30
    drain_timeout: float = 10

    @property
    def number(self) -> int:
        return self.count


@dataclass
class Paths:
    base: Path

    @property
    def spool(self) -> Path:
        return self.base / "spool"

    @property
    def hold(self) -> Path:
        return self.base / "hold"

    @property
    def run(self) -> Path:
        return self.base / "run"

    @property
    def log(self) -> Path:
        return self.base / "log"

    @property
    def tmp(self) -> Path:
        return self.base / "tmp"


@dataclass
class Scan:
    runs_embedded: bool = True


@dataclass
class Logging:
    level: LogLevel = "debug"
    to: str = "stderr"


@dataclass
class Delivery:
    min_free: int = 0


@dataclass
class Offences:
    strike_fade: int = 21600
    ban_time_max: int = 86400


@dataclass
class DosProtection:
    enabled: bool = True
    kernel_shedding: bool = True
    offences: Offences = field(default_factory=Offences)


@dataclass
class Source:
    pattern: str
    skip_connection_tests: bool = True

    @property
    def parsed(self) -> AddressPattern:
        return parse_pattern(self.pattern)


@dataclass
class RelayProtection:
    allowed_sources: tuple[Source, ...] = ()


@dataclass
class StandIn:
    paths: Paths
    interface: Interface = field(default_factory=Interface)
    server: Server = field(default_factory=Server)
    ssl: Ssl = field(default_factory=Ssl)
    tls: None = None
    workers: Workers = field(default_factory=Workers)
    scan: Scan = field(default_factory=Scan)
    logging: Logging = field(default_factory=Logging)
    delivery: Delivery = field(default_factory=Delivery)
    dos_protection: DosProtection = field(default_factory=DosProtection)
    relay_protection: RelayProtection = field(default_factory=RelayProtection)


def stand_in(
    base: Path, *, port: int = 0, embedded: bool = True, level: LogLevel = "debug", **workers: Any
) -> StandIn:
    return StandIn(
        Paths(base),
        server=Server(listen=(Endpoint(port=port),)),
        workers=Workers(**workers),
        scan=Scan(embedded),
        logging=Logging(level),
    )


def from_json(text: str) -> StandIn:
    values = json.loads(text)
    base = Path(values.pop("base"))
    values.pop("does", None)
    return stand_in(base, **values)
