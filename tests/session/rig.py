"""Sessions in the test's own loop: a real socket on one side, a scripted next hop on the other."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent
import gevent.event
from gevent import socket

from gwsmtp.base import replies
from gwsmtp.base.address import Mailbox
from gwsmtp.base.audit import Audit, AuditEvent, Decided, MessageEnded, SessionEnded
from gwsmtp.base.clock import SystemClock
from gwsmtp.base.errors import ScanUnavailable, SpoolError
from gwsmtp.base.ids import SessionIds
from gwsmtp.base.peer import peer_of
from gwsmtp.base.seams import MessageBody
from gwsmtp.delivery.attempt import InlineDelivery
from gwsmtp.delivery.recipients import RecipientVerifier
from gwsmtp.delivery.route import Router
from gwsmtp.directory.domains import Directory, HostedDomain, RecipientRule, SmtpHost
from gwsmtp.limits.answers import Answers
from gwsmtp.limits.entrance import Entrance
from gwsmtp.limits.identity import Placement, identify
from gwsmtp.limits.peers import Peers
from gwsmtp.limits.policy import Policy
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.net.offload import Offload
from gwsmtp.net.wire import Wire, plain
from gwsmtp.protocol.extensions import Offer, StartTls
from gwsmtp.scan.outcome import Action, ScanOutcome, ScanRequest
from gwsmtp.session.services import (
    HidingMode,
    InboundTimeouts,
    ScanFailureAction,
    Services,
    SessionLimits,
)
from gwsmtp.session.session import Session
from gwsmtp.session.tls import TlsService
from gwsmtp.spool.draft import DraftBudget
from gwsmtp.spool.item import Envelope
from tests.delivery.hops import pool
from tests.support.tables import make_defence, never_sleep, scratch_table

PATIENT = InboundTimeouts(10, 10, 10, 10)


class OneVerdict:
    """A scanner that says the same of every message, after ``delay_s`` and not before it may."""

    def __init__(self, outcome: ScanOutcome | None = None, delay_s: float = 0.0) -> None:
        self.outcome = outcome or ScanOutcome(Action.ACCEPT)
        self.is_up = True
        self.delay_s = delay_s
        self.may_answer = gevent.event.Event()
        self.may_answer.set()
        self.requests: list[ScanRequest] = []

    def scan(self, request: ScanRequest) -> ScanOutcome:
        self.requests.append(request)
        gevent.sleep(self.delay_s)
        self.may_answer.wait()
        if not self.is_up:
            raise ScanUnavailable("engine is down")
        return self.outcome


class MemoryStore:
    """A spool that keeps envelopes and forgets the rest."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.is_full = False

    def put(self, envelope: Envelope, body: MessageBody, trace: bytes) -> str:
        del body, trace
        if self.is_full:
            raise SpoolError("no space left on device")
        self.envelopes.append(envelope)
        return f"{envelope.session_id}-{envelope.number}"


class Client:
    """A blocking SMTP client in the same loop."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.sock = socket.create_connection(address, timeout=10)
        self._file = self.sock.makefile("rb")

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def line(self) -> str:
        """The next line, "" at the end of the stream."""
        return self._file.readline().decode().rstrip("\r\n")

    def reply(self) -> str:
        """The last line of the next reply, "" at the end of the stream."""
        line = self._file.readline()
        while line[3:4] == b"-":
            line = self._file.readline()
        return line.decode().rstrip("\r\n")

    def ask(self, data: bytes) -> str:
        self.send(data)
        return self.reply()

    def message(self, content: bytes = b"Subject: x\r\n\r\nhi\r\n", to: str = "a") -> str:
        """A transaction; the reply to its end of data."""
        self.ask(b"MAIL FROM:<s@client.test>\r\n")
        self.ask(f"RCPT TO:<{to}@example.test>\r\n".encode())
        assert self.ask(b"DATA\r\n").startswith("354")
        return self.ask(content + b".\r\n")

    def close(self) -> None:
        self._file.close()
        self.sock.close()


class Rig:
    """One listener whose connections become sessions; keeps their events."""

    def __init__(self, folder: Path, hosts: tuple[SmtpHost, ...]) -> None:
        self.folder = folder
        self.hosts = hosts
        self.scanner = OneVerdict()
        self.timeouts = PATIENT
        self.limits = SessionLimits(size=1_000_000, recipients=100, invalid=5)
        self.host_domain = "gw.example.test"
        self.scan_failure: ScanFailureAction = "delay"
        self.reject_bare_newline = False
        self.postmaster: Mailbox | None = None
        self.dsn = False
        self.starttls = StartTls.OFF
        self.tls: TlsService | None = None
        self.implicit_tls = False
        self.forwards_helo = False
        self.spool = folder
        self.store = MemoryStore()
        self.woken: list[str] = []
        self.hiding: HidingMode = "accept-hold"
        self.rule = RecipientRule.ANY
        self.known: frozenset[str] = frozenset()
        self.table = scratch_table()
        # In a table of its own clients have rows
        self.knows_clients = False
        self.policy = Policy()
        self.messages: list[MessageEnded] = []
        self.ended: list[SessionEnded] = []
        self.decisions: list[Decided] = []
        self.sessions: list[Session] = []
        self._greenlets: list[gevent.Greenlet[[], None]] = []
        self._clients: list[Client] = []
        self._hops = pool()
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(100)
        self.address: tuple[str, int] = self._listener.getsockname()

    def connect(self) -> Client:
        """A client whose session has begun; its greeting is still to be read."""
        client = Client(self.address)
        self._clients.append(client)
        sock, address = self._listener.accept()
        services = self.services()
        session = Session(
            services,
            Wire(plain(sock)),
            peer_of(address),
            "ssl" if self.implicit_tls else "plain",
            services.ids.make(),
            self._place(address[0]),
            is_implicit_tls=self.implicit_tls,
        )
        self.sessions.append(session)
        self._greenlets.append(gevent.spawn(session.run))
        return client

    def _place(self, ip: str) -> Entrance:
        identity = identify(ip)
        place = Entrance(int(self.implicit_tls), identity)
        if self.knows_clients:
            peers = Peers(self.table, Placement(self.table))
            place.row = peers.take(identity.client, SystemClock().boot_ms())
        return place

    def greeted(self) -> Client:
        """A client that has said EHLO."""
        client = self.connect()
        assert client.reply().startswith("220 ")
        assert client.ask(b"EHLO client.test\r\n").startswith("250 ")
        return client

    def wait_ended(self) -> SessionEnded:
        """The end of the newest session."""
        self._greenlets[-1].get(timeout=10)
        return self.ended[-1]

    def note(self, event: AuditEvent) -> None:
        if isinstance(event, MessageEnded):
            self.messages.append(event)
        elif isinstance(event, SessionEnded):
            self.ended.append(event)
        elif isinstance(event, Decided):
            self.decisions.append(event)

    def services(self) -> Services:
        clock, disk = SystemClock(), Offload("disk", 1, 10)
        audit = Audit(self.note)
        offer = Offer(self.limits.size, dsn=self.dsn, starttls=self.starttls)
        domains = (
            HostedDomain("example.test", "root", self.hosts, self.rule, self.known),
            HostedDomain("other.test", "root", (SmtpHost("192.0.2.1", 25),), RecipientRule.ANY),
        )
        return Services(
            interface="test",
            host_domain=self.host_domain,
            greeting=replies.greeting("gw.example.test ESMTP"),
            helo=replies.helo("gw.example.test"),
            ehlo=replies.ehlo("gw.example.test", offer.keywords()),
            offer=offer,
            forwards_helo=self.forwards_helo,
            postmaster=self.postmaster,
            limits=self.limits,
            timeouts=self.timeouts,
            reject_bare_newline=self.reject_bare_newline,
            scan_failure_action=self.scan_failure,
            inline_patience_s=30,
            directory=Directory(domains),
            router=Router(),
            verifier=RecipientVerifier(
                self._hops,
                clock,
                Answers(self.table, RangeLock(self.table, 0, never_sleep)),
                accept_unavailable=False,
            ),
            scanner=self.scanner,
            delivery=InlineDelivery(self._hops, disk, clock),
            disk=disk,
            draft_directory=self.spool,
            draft_budget=DraftBudget(1 << 30),
            audit=audit,
            clock=clock,
            ids=SessionIds(random.Random(1)),
            defence=make_defence(self.table, audit, clock, self.policy),
            spool=self.store,
            wake_queue=self.woken.append,
            hiding=self.hiding,
            tls=self.tls,
        )

    def close(self) -> None:
        for client in self._clients:
            client.close()  # first: a session that ends lingers until its client has gone
        gevent.killall(self._greenlets)
        self._hops.close()
        self._listener.close()


@contextmanager
def rig(folder: Path, *hosts: SmtpHost) -> Iterator[Rig]:
    """A rig that is closed at the end."""
    one = Rig(folder, hosts)
    try:
        yield one
    finally:
        one.close()
