"""What workers and the queue have in common: how mail leaves, as the configuration says.

``delivery.max_connections`` of a next hop is counted in the shared table, over all processes. Each
has a fixed share of it for the case that the table has no room for a hop.
"""

import socket
from typing import Final

from gwsmtp.base.endpoint import is_host_name
from gwsmtp.base.seams import Clock
from gwsmtp.config.paths import PathsGroup
from gwsmtp.config.protocol import CLIENT_NAME
from gwsmtp.config.root import Config
from gwsmtp.delivery.hop import HopTimeouts
from gwsmtp.delivery.pool import PlacesFor
from gwsmtp.directory.domains import SmtpHost
from gwsmtp.limits.arena import Table
from gwsmtp.limits.hops import HopPlaces, PlacesAt
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.net.dial import Dialer
from gwsmtp.net.offload import Offload
from gwsmtp.process.context import QUEUE_DIRECTORY
from gwsmtp.spool.files import Spool
from gwsmtp.spool.hold import Hold

UNLIMITED_OUTBOUND_S: Final = 600.0  # row 43 off
FINAL_REPLY_S: Final = 600.0  # row 46


def build_spool(paths: PathsGroup) -> tuple[Spool, Hold]:
    """The queue's directory and the hold, which gives to it."""
    spool = Spool(paths.spool / QUEUE_DIRECTORY)
    return spool, Hold(paths.hold, spool)


def build_dialer(config: Config, clock: Clock) -> Dialer:
    """Outgoing connections of one process; row 10."""
    return Dialer(Offload("names", 8, 1000), clock, str(config.server.source_bind_address or ""))


def our_name(config: Config) -> str:
    """What this gateway is called in replies, headers and greetings."""
    return config.protocol.host_domain or own_name(socket.getfqdn())


def helo_names(config: Config) -> tuple[str, bool]:
    """Row 51: the name next hops are greeted with, and whether clients' names go in its place."""
    forwarded = config.protocol.forwarded_helo_domain
    forwards = forwarded == CLIENT_NAME
    return (our_name(config) if forwards else forwarded or our_name(config)), forwards


def own_name(machine: str) -> str:
    """The machine's name as it may stand in replies and headers, where none is configured."""
    name = machine.lower().rstrip(".")
    return name if is_host_name(name) else "localhost"


def outbound_timeouts(config: Config) -> HopTimeouts:
    """What a next hop is given, as rows 43-46 and the profile say."""
    protocol = config.protocol
    if not protocol.outbound_timeouts:
        return HopTimeouts(*[UNLIMITED_OUTBOUND_S] * 4)
    return HopTimeouts(
        connect_s=protocol.server_connection_timeout,
        command_s=protocol.server_protocol_timeout,
        data_s=protocol.server_data_timeout,
        final_s=max(float(protocol.server_data_timeout), FINAL_REPLY_S),
    )


def shared_places(
    table: Table, slot_index: int, lock: RangeLock, limit: int, share: int
) -> PlacesFor:
    """The places at next hops that this process has in common with all others; once for each
    process.
    """
    places = HopPlaces(table, slot_index, lock, limit, share)

    def places_at(host: SmtpHost) -> PlacesAt:
        return places.at(host.host, host.port)

    return places_at


def queue_share(connections: int) -> int:
    """How many deliveries to one hop the queue has at a time: an eighth, at least one."""
    return max(1, connections // 8)


def worker_share(connections: int, workers: int) -> int:
    """Each worker's where the table counts nothing: what the queue leaves, at least one."""
    return max(1, (connections - queue_share(connections)) // workers)
