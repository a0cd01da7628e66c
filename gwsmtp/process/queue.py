"""The queue process: sole owner of retries and of the hold's expiry.

One for each generation, of which one works: it holds the lock of the spool. The others are ready
and wait for it, and the old one lets go by ending, when it has drained. In that time the bell's
socket, which all generations share, keeps what it was rung for.

What is in the spool is found by looking into it at the start, by the bell, and by looking again
every few seconds when the directory has changed.
"""

import logging
import os
import random
from functools import partial
from pathlib import Path
from typing import Final, cast

import gevent
from gevent.hub import get_hub

from gwsmtp.base.errors import SpoolError
from gwsmtp.base.quoting import quoted
from gwsmtp.config.holding import HoldGroup
from gwsmtp.config.root import Config
from gwsmtp.delivery.attempt import InlineDelivery
from gwsmtp.delivery.pool import HopPool
from gwsmtp.delivery.queue import DeliveryQueue
from gwsmtp.delivery.route import Route, Router
from gwsmtp.delivery.spooled import SpooledDelivery
from gwsmtp.directory.domains import Directory
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.limits.slots import Gauge, SlotWriter, Total
from gwsmtp.net.offload import Offload, OffloadBusy
from gwsmtp.process.bell import heard
from gwsmtp.process.child import Child
from gwsmtp.process.context import ChildContext
from gwsmtp.process.hosted import hosted_domains
from gwsmtp.process.outbound import (
    build_dialer,
    build_spool,
    helo_names,
    outbound_timeouts,
    queue_share,
    shared_places,
)
from gwsmtp.process.spoolroom import watch_room
from gwsmtp.protocol.abnf import parse_forward_path
from gwsmtp.session.trace import domain_or_literal
from gwsmtp.spool.files import Spool
from gwsmtp.spool.hold import Hold

log = logging.getLogger(__name__)

_READ: Final = 1  # of libev
_CLAIM_S: Final = 0.1
_LOOK_S: Final = 5.0
_EXPIRE_S: Final = 600.0


def main(context: ChildContext, child: Child) -> None:
    """Delivers what is spooled until drained; blocks its greenlets only."""
    config = cast(Config, context.config)
    spool, hold = build_spool(config.paths)
    disk = Offload("disk", 20, 2000)
    queue, hops = _build(config, child, spool, hold, disk)
    child.on_drain(queue.drain)
    child.on_beat(lambda: child.slot.set_gauge(Gauge.QUEUE_ITEMS, len(queue)))
    gevent.spawn(watch_room, config.paths.spool, child.slot, child.clock)
    child.ready()  # before it has the lock, which the one it replaces gives back only then
    if not _claim(child, spool, disk):
        return
    child.set_title("delivering")
    log.info("event=queue_begins swept=%d", disk.run(spool.sweep))
    queue.start()
    (bell,) = context.listeners
    watcher = get_hub().loop.io(bell.fileno(), _READ)
    watcher.start(_hear, queue, bell.fileno())
    child.on_drain(watcher.stop)
    gevent.spawn(_look, queue, spool, disk)
    gevent.spawn(_expire, hold, config.hold, disk, child)
    child.wait()
    hops.close()  # the lock goes with the process, when nothing of it can deliver any more


def _build(
    config: Config, child: Child, spool: Spool, hold: Hold, disk: Offload
) -> tuple[DeliveryQueue, HopPool]:
    clock, rng = child.clock, random.Random(os.urandom(32))
    share = queue_share(config.delivery.max_connections)
    helo_name, forwards_helo = helo_names(config)
    slot = child.context.slot_index
    lock = RangeLock(child.table, slot, gevent.sleep)
    hops = HopPool(
        build_dialer(config, clock),
        clock,
        helo_name,
        outbound_timeouts(config),
        shared_places(child.table, slot, lock, config.delivery.max_connections, share),
    )
    delivery = SpooledDelivery(
        InlineDelivery(hops, disk, clock),
        clock,
        rng,
        config.delivery.schedule,
        domain_or_literal if forwards_helo else _own_name,
        partial(_count, child.slot),
    )
    queue = DeliveryQueue(
        spool,
        hold,
        delivery,
        disk,
        clock,
        rng,
        _Routes(Directory(hosted_domains(config.organizations, with_lists=False))).route_to,
        per_host=share,
        give_up_after=float(config.delivery.give_up_after),
    )
    return queue, hops


def _own_name(_client: str) -> str:
    return ""


def _count(slot: SlotWriter, is_delivered: bool, seconds: float) -> None:
    slot.totals[Total.DELIVERIES] += 1
    slot.totals[Total.DELIVERY_US] += int(seconds * 1_000_000)
    if not is_delivered:
        slot.totals[Total.DELIVERY_FAILURES] += 1


class _Routes:
    """The routes of addresses, as text."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._router = Router()

    def route_to(self, address: str) -> Route | None:
        """None where the domain is not hosted here."""
        parsed = parse_forward_path(f"TO:<{address}>")
        domain = self._directory.hosted(parsed[0].domain) if parsed is not None else None
        return self._router.route_to(domain) if domain is not None else None


def _claim(child: Child, spool: Spool, disk: Offload) -> bool:
    """Gets the lock of the spool for the life of this process, as soon as nobody else has it;
    False when a drain comes before.
    """
    child.set_title("waiting")
    trouble = ""
    while not child.is_draining:
        try:
            if disk.run(spool.claim) is not None:
                return True
        except SpoolError as e:
            if str(e) != trouble:
                trouble = str(e)
                log.error("event=queue_trouble cause=%s", quoted(trouble))
        gevent.sleep(_CLAIM_S)
    return False


def _hear(queue: DeliveryQueue, fd: int) -> None:
    for item_id in heard(fd):
        queue.add(item_id)


def _look(queue: DeliveryQueue, spool: Spool, disk: Offload) -> None:
    """Adds what is in the spool, again whenever the directory has changed."""
    changed = -1
    while True:
        try:
            now = disk.run(partial(_changed_at, spool.root))
            if now != changed:
                for item_id in disk.run(spool.list):
                    queue.add(item_id)
                changed = now
        except (SpoolError, OffloadBusy, OSError) as e:
            log.error("event=queue_trouble cause=%s", quoted(str(e)))
        gevent.sleep(_LOOK_S)


def _changed_at(path: Path) -> int:
    return path.stat().st_mtime_ns


def _expire(hold: Hold, limits: HoldGroup, disk: Offload, child: Child) -> None:
    """Keeps the hold within its limits."""
    while True:
        try:
            removed = disk.run(
                lambda: hold.expire(
                    child.clock.now(), limits.keep_for, limits.max_share, limits.max_items
                )
            )
        except (SpoolError, OffloadBusy) as e:
            log.error("event=hold_trouble cause=%s", quoted(str(e)))
        else:
            for one in removed:
                log.warning(
                    "event=hold_removed id=%s reason=%s octets=%d limit=%s",
                    one.id,
                    one.reason,
                    one.octets,
                    one.limit,
                )
        gevent.sleep(_EXPIRE_S)
