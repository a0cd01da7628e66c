"""What a session is given: everything it needs, typed, built once per worker.

No session looks up a configuration key: constants are ready replies, seconds and octets. The
composition root that fills this is ``process.services``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, Protocol

from gwsmtp.base.address import Mailbox
from gwsmtp.base.audit import Audit
from gwsmtp.base.ids import SessionIds
from gwsmtp.base.reply import Reply
from gwsmtp.base.seams import Clock, MessageBody
from gwsmtp.delivery.attempt import InlineDelivery
from gwsmtp.delivery.recipients import RecipientVerifier
from gwsmtp.delivery.route import Router
from gwsmtp.directory.domains import Directory
from gwsmtp.net.offload import Offload
from gwsmtp.protocol.extensions import Offer
from gwsmtp.scan.outcome import ScanOutcome, ScanRequest
from gwsmtp.session.defence import Defence, halved
from gwsmtp.session.pace import PaceLimits
from gwsmtp.session.tls import TlsService
from gwsmtp.spool.draft import DraftBudget
from gwsmtp.spool.item import Envelope

HidingMode = Literal["accept-hold", "defer", "close"]
ScanFailureAction = Literal["delay", "allow", "reject"]


class Scanner(Protocol):
    """``scan.pool.ScanPool``, or a test's."""

    def scan(self, request: ScanRequest) -> ScanOutcome:
        """A verdict; blocks the greenlet; raises ScanUnavailable."""
        ...


class ItemStore(Protocol):
    """``spool.files.Spool``, or a test's."""

    def put(self, envelope: Envelope, body: MessageBody, trace: bytes) -> str:
        """Stores a message durably and returns its id; blocks on the disk; raises SpoolError."""
        ...


class InboundTimeouts:
    """Seconds of SETTINGS rows 37-40, as they count after row 36 and the profile."""

    __slots__ = ("command_s", "connection_s", "data_command_s", "payload_s")

    def __init__(
        self, connection_s: float, command_s: float, data_command_s: float, payload_s: float
    ) -> None:
        self.connection_s = connection_s
        self.command_s = command_s
        self.data_command_s = data_command_s
        self.payload_s = payload_s

    def halved(self) -> "InboundTimeouts":
        """Those under pressure."""
        return InboundTimeouts(
            halved(self.connection_s),
            halved(self.command_s),
            halved(self.data_command_s),
            halved(self.payload_s),
        )


class SessionLimits:
    """Numbers that end or refuse: ``size`` in octets (0 none), ``invalid`` -1 for no limit."""

    __slots__ = ("invalid", "pace", "recipients", "size")

    def __init__(
        self, size: int, recipients: int, invalid: int, pace: PaceLimits | None = None
    ) -> None:
        self.size = size
        self.recipients = recipients
        self.invalid = invalid
        self.pace = pace or PaceLimits()


PRESSED_INVALID: Final = 2
"""Invalid commands that a client may send under pressure, if any limit holds."""


class Services:
    """The bundle; see the module. ``timeouts``, ``pace`` and ``invalid_limit`` change with the
    pressure: they are asked for whenever they are needed.
    """

    __slots__ = (
        "_invalid_limits",
        "_paces",
        "_timeouts",
        "audit",
        "clock",
        "defence",
        "delivery",
        "directory",
        "disk",
        "draft_budget",
        "draft_directory",
        "ehlo",
        "forwards_helo",
        "greeting",
        "helo",
        "hiding",
        "host_domain",
        "ids",
        "inline_patience_s",
        "interface",
        "limits",
        "offer",
        "postmaster",
        "reject_bare_newline",
        "router",
        "scan_failure_action",
        "scanner",
        "spool",
        "tls",
        "verifier",
        "wake_queue",
    )

    # long: every service has a line of its own
    def __init__(
        self,
        *,
        interface: str,
        host_domain: str,
        greeting: Reply,
        helo: Reply,
        ehlo: Reply,
        offer: Offer,
        forwards_helo: bool,
        postmaster: Mailbox | None,
        limits: SessionLimits,
        timeouts: InboundTimeouts,
        reject_bare_newline: bool,
        scan_failure_action: ScanFailureAction,
        inline_patience_s: float,
        directory: Directory,
        router: Router,
        verifier: RecipientVerifier,
        scanner: Scanner,
        delivery: InlineDelivery,
        disk: Offload,
        draft_directory: Path,
        draft_budget: DraftBudget,
        audit: Audit,
        clock: Clock,
        ids: SessionIds,
        defence: Defence,
        spool: ItemStore,
        wake_queue: Callable[[str], None],
        hiding: HidingMode = "accept-hold",
        tls: TlsService | None = None,
    ) -> None:
        self.interface = interface
        self.host_domain = host_domain
        self.greeting = greeting
        self.helo = helo
        self.ehlo = ehlo
        self.offer = offer
        self.forwards_helo = forwards_helo
        self.postmaster = postmaster
        self.limits = limits
        self._timeouts = (timeouts, timeouts.halved())
        self._paces = (limits.pace, limits.pace.pressed())
        self._invalid_limits = (limits.invalid, min(limits.invalid, PRESSED_INVALID))
        self.reject_bare_newline = reject_bare_newline
        self.scan_failure_action = scan_failure_action
        self.inline_patience_s = inline_patience_s
        self.directory = directory
        self.router = router
        self.verifier = verifier
        self.scanner = scanner
        self.delivery = delivery
        self.disk = disk
        self.draft_directory = draft_directory
        self.draft_budget = draft_budget
        self.audit = audit
        self.clock = clock
        self.ids = ids
        self.defence = defence
        self.hiding = hiding
        self.spool = spool
        self.wake_queue = wake_queue
        self.tls = tls

    @property
    def timeouts(self) -> InboundTimeouts:
        """What a client is given now."""
        return self._timeouts[self.defence.is_pressed]

    @property
    def pace(self) -> PaceLimits:
        """How slow a client may be now."""
        return self._paces[self.defence.is_pressed]

    @property
    def invalid_limit(self) -> int:
        """How many invalid commands a client may send now, -1 for no limit."""
        return self._invalid_limits[self.defence.is_pressed]
