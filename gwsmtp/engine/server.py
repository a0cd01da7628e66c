"""The embedded engine's server: scan/PROTOCOL.md over a listening socket it is given.

Everything runs in callbacks of the event loop. A small body is scanned right there, in some
microseconds; one above 256 KiB, or in a file, in one of a few threads, so that others are answered
meanwhile. Beyond ``max_waiting`` such bodies, or ``max_waiting_octets`` of them in memory, the
answer is ``busy``. Files are read by ``pread``.

Contract: one EngineServer per process; the listener belongs to the caller. ``start``, ``drain``
and ``stop`` do not block. A message that makes the scanner fail gets an error reply and a line
in the log; a gateway that talks nonsense loses its connection; neither touches anybody else.

Limits: no authentication; whoever can connect can ask. A gateway can make the engine hold its
``max_body`` octets per connection.
"""

import errno
import logging
import os
import socket  # for types and constants only
from collections import deque
from functools import partial

from gevent import get_hub
from gevent.event import AsyncResult, Event
from gevent.threadpool import ThreadPool

from gwsmtp.base.clock import SystemClock
from gwsmtp.base.seams import Clock
from gwsmtp.engine.rules import Rule
from gwsmtp.engine.scanner import Scanner
from gwsmtp.scan.messages import FD, VERSION, FromGateway, Hello, Ping, Request, Verdict
from gwsmtp.scan.outcome import Action
from gwsmtp.scan.stream import MessageStream
from gwsmtp.scan.wire import Encoder, engine_side

log = logging.getLogger(__name__)

INLINE = 256 * 1024
"""Bodies up to here are scanned in the loop's callback: below a millisecond."""
_ACCEPTS_AT_ONCE = 64
_PAUSE_S = 0.1
_HELLO_S = 10.0


class EngineCounts:
    """What the engine has done since it started."""

    __slots__ = ("busy", "connections", "errors", "messages", "octets", "refused")

    def __init__(self) -> None:
        self.connections = 0
        self.messages = 0
        self.octets = 0
        self.refused = 0
        self.errors = 0
        self.busy = 0


class EngineServer:
    """See the module. ``drained`` is set when, after ``drain``, the last connection has gone."""

    def __init__(
        self,
        listener: socket.socket,
        scanner: Scanner | None = None,
        clock: Clock | None = None,
        *,
        max_body: int = 128 * 1024 * 1024,
        max_connections: int = 1024,
        max_waiting: int = 256,
        max_waiting_octets: int = 256 * 1024 * 1024,
        threads: int = 4,
        drain_s: float = 10.0,
        license_state: str = "ok",
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._scanner = scanner or Scanner()
        self._clock = clock or SystemClock()
        self._encoder = Encoder()
        self.license_state = license_state
        self._max_body = max_body
        self._max_connections = max_connections
        self._max_waiting = max_waiting
        self._max_waiting_octets = max_waiting_octets
        self._waiting_octets = 0
        self._threads = threads
        self._drain_s = drain_s
        self._loop = get_hub().loop
        self._acceptor = self._loop.io(listener.fileno(), 1)
        self._timer = self._loop.timer(_PAUSE_S)
        self._gateways: set[_Gateway] = set()
        self._jobs: deque[_Job] = deque()
        self._running = 0
        # One thread more than are used: the pool would block in ``spawn`` when it is full.
        self._pool = ThreadPool(threads + 1)
        self._is_draining = False
        self._is_stopped = False
        self.counts = EngineCounts()
        self.drained = Event()

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._gateways)

    @property
    def in_flight(self) -> int:
        """Bodies waiting for a thread or in one; small ones never wait."""
        return len(self._jobs) + self._running

    def start(self) -> None:
        """Begins to accept."""
        self._acceptor.start(self._accept)

    def drain(self) -> None:
        """Accepts nobody new and tells the gateways, which then close when they have all their
        answers; after ``drain_s`` the rest is closed. ``drained`` tells when it is done.
        """
        if self._is_draining or self._is_stopped:
            return
        self._is_draining = True
        self._acceptor.stop()
        self._timer.stop()
        self._timer.close()
        for gateway in list(self._gateways):
            gateway.stream.send(self._encoder.draining())
        self._timer = self._loop.timer(self._drain_s)
        self._timer.start(self._finish)
        if not self._gateways:
            self.drained.set()

    def stop(self) -> None:
        """Closes everything now; the listener stays open, it is the caller's."""
        if self._is_stopped:
            return
        self._is_stopped = True
        for watcher in (self._acceptor, self._timer):
            watcher.stop()
            watcher.close()
        for gateway in list(self._gateways):
            gateway.stream.close("engine stops")
        self._start_jobs()  # drops those whose gateway is gone, with their descriptors
        self.drained.set()

    def join(self) -> None:
        """After ``stop``: waits for the threads to end. Blocks the greenlet."""
        self._pool.kill()

    # Connections -----------------------------------------------------------------------------

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                sock, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # Out of descriptors or memory: the connection stays in the queue meanwhile.
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    log.error("event=engine_accept_failed error=%s", error)
                self._acceptor.stop()
                self._timer.start(self._resume)
                return
            if len(self._gateways) >= self._max_connections:
                os.close(sock.detach())
                continue
            self._welcome(sock)

    def _resume(self) -> None:
        self._acceptor.start(self._accept)

    def _welcome(self, sock: socket.socket) -> None:
        self.counts.connections += 1
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        gateway = _Gateway(self, sock, self._max_body)
        self._gateways.add(gateway)
        abilities = frozenset((FD,) if gateway.stream.is_unix else ())
        hello = Hello(
            VERSION, "engine", "gwsmtp", abilities, self.license_state, max_body=self._max_body
        )
        gateway.stream.start()
        gateway.stream.send(self._encoder.hello(hello))

    def forget(self, gateway: "_Gateway") -> None:
        """Called by a gateway whose stream has closed."""
        self._gateways.discard(gateway)
        if self._is_draining and not self._gateways:
            self._timer.stop()
            self.drained.set()

    def _finish(self) -> None:
        for gateway in list(self._gateways):
            gateway.stream.finish("engine drained")

    # Messages --------------------------------------------------------------------------------

    def take(self, gateway: "_Gateway", request: Request) -> None:
        """Scans now or later; called by a gateway's stream."""
        body = request.body
        if body is not None and len(body) <= INLINE:
            try:
                rule = self._scanner.scan(body)
            except Exception as error:  # a boundary: a crash on this message is its answer
                self._fail(gateway, request, error)
            else:
                self._reply(gateway, request, rule)
            return
        descriptor = None
        if body is None:
            descriptor = gateway.stream.take_descriptor()
            if descriptor is None:
                gateway.stream.close("nonsense: fd without a descriptor")
                return
        octets = len(body) if body is not None else 0
        if (
            len(self._jobs) >= self._max_waiting
            or self._waiting_octets + octets > self._max_waiting_octets
        ):
            if descriptor is not None:
                os.close(descriptor)
            self.counts.busy += 1
            gateway.stream.send(self._encoder.busy(request.id))
            return
        expires = self._clock.monotonic() + request.deadline_ms / 1000
        self._jobs.append(_Job(gateway, request, descriptor, expires))
        self._waiting_octets += octets
        self._start_jobs()

    def pong(self, gateway: "_Gateway", ping: Ping) -> None:
        """Answers a keep-alive."""
        gateway.stream.send(self._encoder.pong(ping.id))

    def _start_jobs(self) -> None:
        while self._jobs and self._running < self._threads:
            job = self._jobs.popleft()
            self._waiting_octets -= len(job.request.body or b"")
            # Nobody waits any more: the gateway has gone or its deadline has passed.
            if job.gateway.stream.closed or job.expires < self._clock.monotonic():
                job.close()
                continue
            self._running += 1
            self._pool.spawn(job.run, self._scanner).rawlink(partial(self._finished, job))

    def _finished(self, job: "_Job", result: "AsyncResult[Rule | None]") -> None:
        self._running -= 1
        if result.successful():
            self._reply(job.gateway, job.request, result.value)
        else:
            self._fail(job.gateway, job.request, result.exception)
        self._start_jobs()

    def _reply(self, gateway: "_Gateway", request: Request, rule: Rule | None) -> None:
        self.counts.messages += 1
        self.counts.octets += request.size
        if rule is None:
            verdict = Verdict(request.id, Action.ACCEPT)
        else:
            self.counts.refused += 1
            verdict = Verdict(request.id, rule.action, rule.text, rule.name, category=rule.category)
        gateway.stream.send(self._encoder.verdict(verdict))

    def _fail(self, gateway: "_Gateway", request: Request, error: BaseException | None) -> None:
        self.counts.errors += 1
        log.error(
            "event=engine_error sid=%s n=%d size=%d",
            request.session,
            request.number,
            request.size,
            exc_info=error,
        )
        reason = f"{type(error).__name__} in the scanner"
        gateway.stream.send(self._encoder.failure(request.id, reason))


class _Gateway:
    """One connection of a gateway."""

    __slots__ = ("_has_greeted", "_server", "_timer", "stream")

    def __init__(self, server: EngineServer, sock: socket.socket, max_body: int) -> None:
        self._server = server
        self._has_greeted = False
        self.stream: MessageStream[FromGateway] = MessageStream(
            sock, engine_side(max_body), self._on_message, self._on_closed, takes_descriptors=True
        )
        self._timer = get_hub().loop.timer(_HELLO_S)
        self._timer.start(self.stream.close, "no hello in time")

    def _on_message(self, message: FromGateway) -> None:
        if isinstance(message, Request) and self._has_greeted:
            self._server.take(self, message)
        elif isinstance(message, Ping) and self._has_greeted:
            self._server.pong(self, message)
        elif isinstance(message, Hello) and not self._has_greeted:
            self._has_greeted = True
            self._timer.stop()
        else:
            self.stream.close("nonsense: out of order")

    def _on_closed(self, reason: str) -> None:
        self._timer.stop()
        self._timer.close()
        if reason not in ("closed by the peer", "engine stops", "engine drained"):
            log.warning("event=gateway_lost reason=%r", reason)
        self._server.forget(self)


class _Job:
    """A body for a thread; owns its descriptor."""

    __slots__ = ("descriptor", "expires", "gateway", "request")

    def __init__(
        self, gateway: _Gateway, request: Request, descriptor: int | None, expires: float
    ) -> None:
        self.gateway = gateway
        self.request = request
        self.descriptor = descriptor
        self.expires = expires

    def run(self, scanner: Scanner) -> Rule | None:
        """In a thread: the scanner's finding."""
        if self.request.body is not None:
            return scanner.scan(self.request.body)
        try:
            return scanner.scan_portions(self._read, self.request.size)
        finally:
            self.close()

    def close(self) -> None:
        """Gives up the descriptor."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def _read(self, offset: int, size: int) -> bytes:
        assert self.descriptor is not None
        portions = []
        while size:
            portion = os.pread(self.descriptor, size, offset)
            if not portion:
                raise EOFError("the file is shorter than the request said")
            portions.append(portion)
            offset += len(portion)
            size -= len(portion)
        return portions[0] if len(portions) == 1 else b"".join(portions)
