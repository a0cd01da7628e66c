"""One connection to a next hop: greeting, EHLO, commands, replies, each wait with its deadline.

The dialogue is ``protocol.client``'s; here are the socket and the time. Each reply has its own
limit, however slowly it drips, and all waits of an exchange together end at ``give_up_at``.

Blocks the calling greenlet only. Every failure is HopFailure with a cause for the log; after one
the connection is closed. The peer is not trusted.
"""

import math

from gwsmtp.base.errors import GatewayError, PeerTimeout, RemoteProtocolError
from gwsmtp.base.seams import Clock
from gwsmtp.directory.domains import SmtpHost
from gwsmtp.net.deadline import Deadline
from gwsmtp.net.dial import Dialer
from gwsmtp.net.offload import OffloadBusy
from gwsmtp.net.wire import Wire, plain
from gwsmtp.protocol.client import ClientProtocol, HopReply


class HopFailure(GatewayError):
    """The next hop cannot be used now. ``is_busy``: it said 421, so it is alive."""

    def __init__(self, cause: str, *, is_busy: bool = False) -> None:
        super().__init__(cause)
        self.is_busy = is_busy


class HopTimeouts:
    """Seconds for each wait on a next hop (SETTINGS rows 44-46)."""

    __slots__ = ("command_s", "connect_s", "data_s", "final_s")

    def __init__(self, connect_s: float, command_s: float, data_s: float, final_s: float) -> None:
        self.connect_s = connect_s
        self.command_s = command_s
        self.data_s = data_s
        self.final_s = final_s


class HopConnection:
    """An open dialogue with ``host``: commands are queued in ``protocol`` and spoken by
    ``exchange``. ``opened_at``, ``idle_since`` and every ``give_up_at`` are monotonic seconds;
    ``place`` is its pool's.
    """

    __slots__ = (
        "_clock",
        "_wire",
        "helo_name",
        "host",
        "idle_since",
        "is_fresh",
        "messages",
        "opened_at",
        "place",
        "protocol",
        "refusals",
    )

    def __init__(self, host: SmtpHost, wire: Wire, clock: Clock) -> None:
        self.host = host
        self.protocol = ClientProtocol()
        self._wire = wire
        self._clock = clock
        self.opened_at = clock.monotonic()
        self.idle_since = self.opened_at
        self.helo_name = ""
        self.is_fresh = True
        self.messages = 0
        self.refusals = 0
        self.place = -1

    def has_spoken(self) -> bool:
        """Whether it has said anything that was not taken yet. Does not block."""
        return self.protocol.has_unread or self._wire.has_input()

    def send(self, data: bytes, seconds: float) -> None:
        """Writes octets; the host must take them within ``seconds``."""
        try:
            self._wire.write(data, seconds, "write to next hop")
        except (OSError, PeerTimeout) as e:
            self.drop()
            raise HopFailure(f"{self.host}: {e}") from e

    def end_of_data(self) -> None:
        """To be called just before the dot is sent; fails where the host has answered by then."""
        try:
            self.protocol.end_of_data()
        except RemoteProtocolError as e:
            self.drop()
            raise HopFailure(f"{self.host}: {e}") from e

    def read(self, seconds: float, give_up_at: float = math.inf) -> HopReply:
        """The reply to the oldest command without one, within ``seconds`` as a whole."""
        protocol = self.protocol
        command = protocol.awaited[0]
        try:
            reply = protocol.next_reply()
            if reply is None:
                reply = self._wait_for_reply(self._limit(seconds, give_up_at))
        except HopFailure:
            self.drop()
            raise
        except (OSError, PeerTimeout, RemoteProtocolError) as e:
            self.drop()
            raise HopFailure(f"{self.host}: {e} (reply to {_verb(command)})") from e
        return reply

    def _wait_for_reply(self, seconds: float) -> HopReply:
        wire, protocol, reply = self._wire, self.protocol, None
        wire.deadline.arm(seconds, "next hop")
        try:
            while reply is None:
                data = wire.read()
                if not data:
                    verb = _verb(protocol.awaited[0])
                    raise HopFailure(f"{self.host}: closed before its reply to {verb}")
                protocol.receive(data)
                reply = protocol.next_reply()
        finally:
            wire.deadline.disarm()
        return reply

    def _limit(self, seconds: float, give_up_at: float) -> float:
        if give_up_at == math.inf:
            return seconds
        left = give_up_at - self._clock.monotonic()
        if left <= 0:
            raise HopFailure(f"{self.host}: patience ran out")
        return min(seconds, left)

    def exchange(self, seconds: float, give_up_at: float = math.inf) -> list[HopReply]:
        """The replies to all commands queued, in order, each within ``seconds``."""
        protocol = self.protocol
        heard: list[HopReply] = []
        while True:
            try:
                wire = protocol.take_output()
            except RemoteProtocolError as e:
                self.drop()
                raise HopFailure(f"{self.host}: {e}") from e
            if not wire:
                return heard
            self.send(wire, self._limit(seconds, give_up_at))
            while protocol.awaited:
                heard.append(self.read(seconds, give_up_at))

    def greet(self, helo_name: str, seconds: float) -> None:
        """EHLO, or HELO where the host knows no EHLO (RFC 5321 3.2)."""
        protocol = self.protocol
        self.helo_name = helo_name
        protocol.ehlo(helo_name)
        (reply,) = self.exchange(seconds)
        if reply.is_permanent:
            protocol.helo(helo_name)
            (reply,) = self.exchange(seconds)
        if protocol.has_unread:
            self.drop()
            raise HopFailure(f"{self.host}: spoke unasked behind its reply to EHLO")
        if not reply.is_positive:
            self.drop()
            raise HopFailure(f"{self.host}: EHLO refused: {reply}", is_busy=reply.code == 421)

    def quit(self) -> None:
        """Says QUIT without waiting for the answer, and closes."""
        if not self.protocol.has_unread:
            self.protocol.quit()
            self._wire.write_nowait(self.protocol.take_output())
        self._wire.close()

    def drop(self) -> None:
        """Closes without a word: never a dot, never a QUIT (DESIGN, One message, 7)."""
        self._wire.close()


def _verb(command: str) -> str:
    return command.partition(" ")[0]


def open_connection(
    dialer: Dialer, host: SmtpHost, helo_name: str, timeouts: HopTimeouts, clock: Clock
) -> HopConnection:
    """A greeted connection to the first address of ``host`` that works; raises HopFailure.

    Row 44 bounds connect plus greeting, for each address.
    """
    try:
        addresses = dialer.addresses(host.host)
    except (OSError, OffloadBusy) as e:
        raise HopFailure(f"{host}: no address: {e}") from e
    failure = HopFailure(f"{host}: no address")
    for address in addresses:
        try:
            connection = _connect(dialer, host, address, timeouts, clock)
        except HopFailure as unusable:
            failure = unusable
            continue
        connection.greet(helo_name, timeouts.command_s)
        return connection
    raise failure


def _connect(
    dialer: Dialer, host: SmtpHost, address: str, timeouts: HopTimeouts, clock: Clock
) -> HopConnection:
    deadline = Deadline()
    deadline.arm(timeouts.connect_s, "connect")
    try:
        sock = dialer.connect(address, host.port)
    except (OSError, PeerTimeout) as e:
        raise HopFailure(f"{host}: cannot connect to {address}: {e}") from e
    finally:
        deadline.close()
    connection = HopConnection(host, Wire(plain(sock)), clock)
    greeting = connection.read(timeouts.connect_s)
    if greeting.code != 220:
        connection.drop()
        raise HopFailure(f"{host}: greeted with {greeting}", is_busy=greeting.code == 421)
    return connection
