"""The composition root of a worker: a configuration becomes the services its sessions use.

The only place below the command line that sees the whole configuration. Called once, after the
fork; opens nothing but thread pools and the scan engines' connections.
"""

import logging
import os
import random

from gwsmtp.base import replies
from gwsmtp.base.address import Mailbox
from gwsmtp.base.ids import SessionIds
from gwsmtp.config.root import Config
from gwsmtp.delivery.attempt import InlineDelivery
from gwsmtp.delivery.places import OwnPlaces
from gwsmtp.delivery.pool import HopPool
from gwsmtp.delivery.recipients import REFUSALS_PER_CONNECTION, RecipientVerifier
from gwsmtp.delivery.route import Router
from gwsmtp.directory.domains import Directory
from gwsmtp.limits.answers import Answers
from gwsmtp.net.offload import Offload
from gwsmtp.net.tlsmaterial import TlsMaterial
from gwsmtp.process.bell import Bell
from gwsmtp.process.child import Child
from gwsmtp.process.defence import WorkerDefence
from gwsmtp.process.hosted import hosted_domains
from gwsmtp.process.outbound import (
    build_dialer,
    build_spool,
    helo_names,
    our_name,
    outbound_timeouts,
    shared_places,
    worker_share,
)
from gwsmtp.protocol.extensions import Offer, StartTls
from gwsmtp.scan.pool import ScanPool
from gwsmtp.session.pace import PaceLimits
from gwsmtp.session.services import InboundTimeouts, Services, SessionLimits
from gwsmtp.session.tls import TlsService
from gwsmtp.spool.draft import DraftBudget

log = logging.getLogger(__name__)

UNLIMITED_INBOUND_S = 3600.0  # row 36 off
CALLOUTS_PER_HOST = 2


# long: every service has a line of its own
def build_services(
    config: Config, child: Child, scanner: ScanPool, guards: WorkerDefence
) -> Services:
    """Everything a session of this worker is given."""
    clock = child.clock
    host_domain = our_name(config)
    spool, _ = build_spool(config.paths)
    material = child.context.tls
    offer = _offer(config, _starttls(config, material))
    disk = Offload("disk", 20, 2000)
    dialer = build_dialer(config, clock)
    helo_name, forwards_helo = helo_names(config)
    timeouts = outbound_timeouts(config)
    hops = HopPool(
        dialer,
        clock,
        helo_name,
        timeouts,
        shared_places(
            child.table,
            child.context.slot_index,
            guards.lock,
            config.delivery.max_connections,
            worker_share(config.delivery.max_connections, config.workers.number),
        ),
    )
    callouts = HopPool(
        dialer,
        clock,
        helo_name,
        timeouts,
        lambda _: OwnPlaces(CALLOUTS_PER_HOST),
        max_refusals=REFUSALS_PER_CONNECTION,
    )
    return Services(
        interface=config.interface.name,
        host_domain=host_domain,
        greeting=replies.greeting(config.protocol.banner or f"{host_domain} ESMTP"),
        helo=replies.helo(host_domain),
        ehlo=replies.ehlo(host_domain, offer.keywords()),
        offer=offer,
        forwards_helo=forwards_helo,
        postmaster=_postmaster(config),
        limits=session_limits(config),
        timeouts=inbound_timeouts(config),
        reject_bare_newline=config.protocol.bare_newline == "reject",
        scan_failure_action=config.interface.scan_failure_action,
        inline_patience_s=config.delivery.inline_patience,
        directory=Directory(hosted_domains(config.organizations)),
        router=Router(),
        verifier=RecipientVerifier(
            callouts,
            clock,
            Answers(child.table, guards.lock),
            accept_unavailable=config.delivery.recipients_unavailable == "accept",
        ),
        scanner=scanner,
        delivery=InlineDelivery(hops, disk, clock),
        disk=disk,
        draft_directory=config.paths.spool,
        draft_budget=DraftBudget(config.workers.draft_memory),
        audit=guards.audit,
        clock=clock,
        ids=SessionIds(random.Random(os.urandom(32))),
        defence=guards.sessions(),
        hiding=config.exploit_detection.hiding_mode,
        spool=spool,
        wake_queue=Bell(config.paths.run, config.interface.name).ring,
        tls=_tls(config, host_domain, material),
    )


def build_scanner(config: Config, child: Child, engine_address: str) -> ScanPool:
    """The pool of scan engines: the configured ones, else the embedded one."""
    engines = config.scan.engines
    addresses = [str(engine.address) for engine in engines] or (
        [engine_address] if engine_address else []
    )
    return ScanPool(
        addresses,
        config.interface.name,
        float(config.scan.deadline),
        child.clock,
        {str(engine.address): engine.priority for engine in engines},
    )


def _offer(config: Config, starttls: StartTls) -> Offer:
    size = config.protocol.size_limit_bytes if config.protocol.enable_size_limit else -1
    return Offer(size, tuple(config.protocol.custom_ehlo_responses), starttls=starttls)


def _starttls(config: Config, material: TlsMaterial | None) -> StartTls:
    """Row 26 on the plain port."""
    if not config.ssl.enable_tls:
        return StartTls.OFF
    return StartTls.UNAVAILABLE if material is None else StartTls.OFFERED


def _tls(config: Config, host_domain: str, material: TlsMaterial | None) -> TlsService:
    """Rows 41 and 42, which row 36 switches off like the others; inside TLS EHLO offers none."""
    offer = _offer(config, StartTls.ACTIVE)
    protocol = config.protocol
    handshake_s = float(protocol.tls_negotiation_timeout)
    if not protocol.inbound_timeouts:
        handshake_s = UNLIMITED_INBOUND_S
    return TlsService(
        material,
        offer,
        replies.ehlo(host_domain, offer.keywords()),
        handshake_s,
        float(protocol.tls_fail_recovery_timeout),
    )


def _postmaster(config: Config) -> Mailbox | None:
    text = config.protocol.postmaster_email
    local, _, domain = text.rpartition("@")
    return Mailbox(text, local, domain.lower()) if text else None


def session_limits(config: Config) -> SessionLimits:
    """What ends a session or refuses."""
    size = config.protocol.size_limit_bytes if config.protocol.enable_size_limit else 0
    drop = config.exploit_detection
    invalid = drop.max_invalid_commands if drop.drop_on_invalid_commands else -1
    pace = PaceLimits(config.protocol.data_min_rate)
    return SessionLimits(size, config.protocol.max_recipients, invalid, pace)


def inbound_timeouts(config: Config) -> InboundTimeouts:
    """What a client is given, as rows 36-40 and the profile say."""
    protocol = config.protocol
    if not protocol.inbound_timeouts:
        return InboundTimeouts(*[UNLIMITED_INBOUND_S] * 4)
    return InboundTimeouts(
        connection_s=protocol.client_connection_timeout,
        command_s=protocol.client_protocol_timeout,
        data_command_s=protocol.client_data_command_timeout,
        payload_s=protocol.client_data_payload_timeout,
    )
