"""One connection of a gateway to one engine, with any number of requests in flight.

``open_connection`` connects and exchanges hellos; ``Connection.call`` sends one request and blocks
its greenlet, not the process, until the answer is there: the callback that read the answer
switches to the waiting greenlet directly. One timer of the connection looks for deadlines that
have passed, one for a peer that has fallen silent; a request costs neither timer nor greenlet.

Contract: whoever leaves ``call``, by an answer, an error or because its greenlet was killed,
leaves nothing behind. A body that was cut short ends the connection, for nothing could follow it.
"""

import logging
from typing import NamedTuple

from gevent import Timeout, get_hub, socket
from gevent.event import AsyncResult, Event
from gevent.hub import Waiter
from gevent.lock import Semaphore

from gwsmtp.base.endpoint import Endpoint, UnixEndpoint
from gwsmtp.base.errors import ScanUnavailable, SpoolError
from gwsmtp.base.seams import Clock, MessageBody
from gwsmtp.scan.messages import (
    FD,
    GATEWAY_CAPABILITIES,
    MAX_DEADLINE_MS,
    VERSION,
    Answer,
    Busy,
    Draining,
    Failure,
    FromEngine,
    Hello,
    Pong,
    Verdict,
)
from gwsmtp.scan.outcome import ScanRequest
from gwsmtp.scan.stream import ROOM, MessageStream
from gwsmtp.scan.wire import Encoder, gateway_side

log = logging.getLogger(__name__)

_JOIN = 64 * 1024  # a body up to here is copied behind its head, a larger one queued as it is
_LATE_IN_A_ROW = 2  # SETTINGS 2.15


class Timings(NamedTuple):
    """Seconds; tests shorten them."""

    connect: float = 5.0
    hello: float = 5.0
    ping: float = 10.0
    sweep: float = 0.1
    first_retry: float = 0.1
    last_retry: float = 10.0
    failover: float = 5.0


class EngineLost(ScanUnavailable):
    """The connection ended before the answer came: the request may be offered once more."""


class EngineLate(ScanUnavailable):
    """The deadline passed before the answer came."""


class _Waiting:
    __slots__ = ("deadline", "waiter")

    def __init__(self, deadline: float) -> None:
        self.waiter: Waiter[Answer | ScanUnavailable] = Waiter()
        self.deadline = deadline


def open_connection(
    endpoint: Endpoint | UnixEndpoint, clock: Clock, encoder: Encoder, timings: Timings
) -> "Connection":
    """Connects and greets; blocks the greenlet; raises EngineLost with the cause."""
    try:
        # The timeout raises what is meant: one of an outer scope passes through untouched.
        with Timeout(timings.connect, EngineLost("connect timed out")):
            sock = _connected(endpoint)
        connection = Connection(sock, clock, encoder, timings)
    except OSError as error:
        raise EngineLost(f"connect failed: {error.strerror or error}") from error
    connection.greet()
    return connection


def _connected(endpoint: Endpoint | UnixEndpoint) -> socket.socket:
    if not isinstance(endpoint, UnixEndpoint):
        sock = socket.create_connection((endpoint.host, endpoint.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return sock
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(endpoint.path)
    except BaseException:
        sock.close()
        raise
    return sock


class Connection:
    """See the module. ``over`` gets the reason as soon as it takes nothing new (it ended, or the
    engine is draining), ``ended`` when it is closed; ``is_slow`` says whether that was because
    requests ran out of time.
    """

    def __init__(
        self, sock: socket.socket, clock: Clock, encoder: Encoder, timings: Timings
    ) -> None:
        self._clock = clock
        self._encoder = encoder
        self._timings = timings
        self._loop = get_hub().loop
        self._stream: MessageStream[FromEngine] = MessageStream(
            sock, gateway_side(), self._on_message, self._on_closed
        )
        self._waiting: dict[int, _Waiting] = {}
        self._last_id = 0
        self._greeted: AsyncResult[Hello] = AsyncResult()
        self._sweeper = self._loop.timer(timings.sweep, timings.sweep)
        self._is_sweeping = False
        self._pinger = self._loop.timer(timings.ping, timings.ping)
        self._received_at_ping = 0
        self._is_pinged = False
        self._is_writing_body = False
        self._body_lock = Semaphore()
        self._room = Event()
        self._late_in_a_row = 0
        self.late_answers = 0
        self.answers = 0
        self.is_draining = False
        self.is_slow = False
        self.engine_name = ""
        self.license = "ok"
        self.max_body = 0
        self.takes_descriptors = False
        self.over: AsyncResult[str] = AsyncResult()
        self.ended: AsyncResult[str] = AsyncResult()

    def greet(self) -> None:
        """Says hello and waits for the engine's; raises EngineLost."""
        abilities = {*GATEWAY_CAPABILITIES, *((FD,) if self._stream.is_unix else ())}
        hello = Hello(VERSION, "gateway", "gwsmtp", frozenset(abilities))
        try:
            self._stream.start()
            self._stream.send(self._encoder.hello(hello))
            with Timeout(self._timings.hello, EngineLost("no hello in time")):
                engine = self._greeted.get()
            assert engine is not None  # it is set with a Hello or with an exception
        finally:
            if not self._greeted.successful():
                self.close("no hello in time")
        self.engine_name = engine.name
        self.license = engine.license
        self.max_body = engine.max_body
        self.takes_descriptors = self._stream.is_unix and FD in engine.capabilities
        self._pinger.start(self._ping)

    @property
    def is_usable(self) -> bool:
        """It takes new requests."""
        return not (self._stream.closed or self.is_draining)

    @property
    def in_flight(self) -> int:
        """Requests without an answer."""
        return len(self._waiting)

    def close(self, reason: str) -> None:
        """Ends it; what is in flight is lost."""
        self._stream.close(reason)

    def call(
        self, request: ScanRequest, interface: str, deadline: float, is_bulk: bool = False
    ) -> Answer:
        """The engine's answer to ``request``; ``deadline`` in the clock's seconds. Raises
        EngineLost, EngineLate, and ScanUnavailable where the body cannot be read. ``is_bulk``
        says that bodies of any kind go over this connection, one after the other. Blocks the
        greenlet.
        """
        waiting = _Waiting(deadline)
        self._last_id = id_ = self._last_id + 1
        self._waiting[id_] = waiting
        if not self._is_sweeping:
            self._is_sweeping = True
            self._sweeper.start(self._sweep)
        try:
            if is_bulk:
                self._send_in_turn(id_, request, interface, deadline)
            else:
                self._send(id_, request, interface, deadline)
            answer = waiting.waiter.get()
        finally:
            self._waiting.pop(id_, None)
            if self.is_draining and not self._waiting:
                self.close("engine is draining")
        if isinstance(answer, ScanUnavailable):
            raise answer
        return answer

    # Sending ---------------------------------------------------------------------------------

    def _send_in_turn(
        self, id_: int, request: ScanRequest, interface: str, deadline: float
    ) -> None:
        if not self._body_lock.acquire(timeout=max(deadline - self._clock.monotonic(), 0)):
            raise EngineLate("too many large bodies before this one")
        try:
            self._send(id_, request, interface, deadline)
        finally:
            self._body_lock.release()

    def _send(self, id_: int, request: ScanRequest, interface: str, deadline: float) -> None:
        body = request.body
        size = body.size
        left_ms = min(int((deadline - self._clock.monotonic()) * 1000), MAX_DEADLINE_MS)
        data = body.data
        if data is None and self.takes_descriptors:
            head = self._encoder.request_by_descriptor(
                id_, max(left_ms, 0), interface, request, size
            )
            try:
                descriptor = body.open_readonly()
            except (OSError, SpoolError) as error:
                raise ScanUnavailable(f"the body cannot be opened: {error}") from error
            self._sent(self._stream.send(head, descriptor))
            return
        head = self._encoder.request(id_, max(left_ms, 0), interface, request, size)
        if data is None:
            self._send_file(head, body, id_, deadline)
        elif size <= _JOIN:
            if self._stream.backlog > ROOM:
                self._wait_for_room(deadline)
            self._sent(self._stream.send(head + data))
        else:
            self._wait_for_room(deadline)
            self._sent(self._stream.send(head) and self._stream.send(data))

    def _send_file(self, head: bytes, body: MessageBody, id_: int, deadline: float) -> None:
        # The disk is read in a thread; a ping must not be sent into the middle of a body.
        pool = get_hub().threadpool
        left = body.size
        self._wait_for_room(deadline)
        self._is_writing_body = True
        try:
            self._sent(self._stream.send(head))
            chunks = body.chunks()
            while left:
                chunk = pool.apply(next, (chunks, b""))
                if not chunk or len(chunk) > left:
                    raise ScanUnavailable("the body's file is not as long as the body")
                self._wait_for_room(deadline)
                if id_ not in self._waiting:
                    return  # swept: the answer in the waiter says why
                self._sent(self._stream.send(chunk))
                left -= len(chunk)
        except (OSError, SpoolError) as error:
            raise ScanUnavailable(f"the body cannot be read: {error}") from error
        finally:
            self._is_writing_body = False
            if left:
                self.close("a body was cut short")

    def _wait_for_room(self, deadline: float) -> None:
        while self._stream.backlog > ROOM:
            self._room.clear()
            self._stream.on_room = self._room.set
            left = deadline - self._clock.monotonic()
            if left <= 0 or not self._room.wait(left):
                raise EngineLate("the engine does not read")

    def _sent(self, is_sent: bool) -> None:
        if not is_sent:
            raise EngineLost(self._reason())

    # Called by the loop ----------------------------------------------------------------------

    def _on_message(self, message: FromEngine) -> None:
        if isinstance(message, Verdict):
            if message.license:
                self.license = message.license
            self._answer(message)
        elif isinstance(message, Busy | Failure):
            self._answer(message)
        elif isinstance(message, Pong):
            self._is_pinged = False
            if message.license:
                self.license = message.license
        elif isinstance(message, Hello):
            if self._greeted.ready():
                self.close("nonsense: a second hello")
            else:
                self._greeted.set(message)
        else:
            self._drain(message)

    def _answer(self, answer: Answer) -> None:
        if not self._greeted.ready():
            self.close("nonsense: an answer before hello")
            return
        self._late_in_a_row = 0
        waiting = self._waiting.pop(answer.id, None)
        if waiting is None:
            self.late_answers += 1  # its greenlet gave up, or nobody ever asked: both harmless
            return
        self.answers += 1
        waiting.waiter.switch(answer)

    def _drain(self, _: Draining) -> None:
        self.is_draining = True
        self.over.set("engine is draining")
        if not self._waiting:
            self.close("engine is draining")

    def _on_closed(self, reason: str) -> None:
        for timer in (self._sweeper, self._pinger):
            timer.stop()
            timer.close()
        if not self._greeted.ready():
            self._greeted.set_exception(EngineLost(reason))
        if not self.over.ready():
            self.over.set(reason)
        self.ended.set(reason)
        self._room.set()
        lost = list(self._waiting.values())
        self._waiting.clear()
        for waiting in lost:
            self._fail(waiting, EngineLost(reason))

    def _sweep(self) -> None:
        if not self._waiting:
            self._is_sweeping = False
            self._sweeper.stop()
            return
        now = self._clock.monotonic()
        late = [id_ for id_, waiting in self._waiting.items() if waiting.deadline <= now]
        for id_ in late:
            self._fail(self._waiting.pop(id_), EngineLate("no answer in time"))
        self._late_in_a_row += len(late)
        if self._late_in_a_row >= _LATE_IN_A_ROW:
            self.is_slow = True
            self.close(f"{self._late_in_a_row} requests in a row without an answer in time")

    def _ping(self) -> None:
        is_silent = self._stream.received == self._received_at_ping
        self._received_at_ping = self._stream.received
        if not is_silent or self._is_writing_body:
            self._is_pinged = False
        elif self._is_pinged:
            self.close("keep-alive was not answered")
        else:
            self._is_pinged = True
            self._stream.send(self._encoder.ping(self._last_id))

    def _fail(self, waiting: _Waiting, error: ScanUnavailable) -> None:
        # By way of the loop: this may run in a greenlet, where a waiter must not be switched.
        self._loop.run_callback(waiting.waiter.switch, error)

    def _reason(self) -> str:
        return self.ended.value or "connection closed"
