"""One connection to a next hop: greeting, EHLO, commands, replies, each wait with its deadline.

Blocks the calling greenlet only. Every failure is HopFailure with a cause for the log; after one
the connection is closed. The peer is not trusted (see ``protocol.client``).
"""

from gwsmtp.base.errors import GatewayError, PeerTimeout, RemoteProtocolError
from gwsmtp.directory.domains import SmtpHost
from gwsmtp.net.deadline import Deadline
from gwsmtp.net.dial import Dialer
from gwsmtp.net.wire import Wire, plain
from gwsmtp.protocol.client import HopReply, ReplyReader, offered_extensions


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
    """An open dialogue with ``host``. ``opened_at`` and ``idle_since`` are monotonic seconds."""

    __slots__ = (
        "_reader",
        "_wire",
        "extensions",
        "host",
        "idle_since",
        "is_fresh",
        "messages",
        "opened_at",
        "refusals",
    )

    def __init__(self, host: SmtpHost, wire: Wire, opened_at: float) -> None:
        self.host = host
        self._wire = wire
        self._reader = ReplyReader()
        self.extensions: dict[str, str] = {}
        self.opened_at = opened_at
        self.idle_since = opened_at
        self.is_fresh = True
        self.messages = 0
        self.refusals = 0

    @property
    def can_pipeline(self) -> bool:
        """Whether the host offers PIPELINING (RFC 2920)."""
        return "PIPELINING" in self.extensions

    @property
    def has_leftover(self) -> bool:
        """Whether octets were read that nobody asked for: the connection is out of order."""
        return self._reader.has_leftover

    def has_spoken(self) -> bool:
        """Whether it has said anything that was not read yet. Does not block."""
        return self._reader.has_leftover or self._wire.has_input()

    def send(self, data: bytes, seconds: float) -> None:
        """Writes octets; the host must take them within ``seconds``."""
        try:
            self._wire.write(data, seconds, "write to next hop")
        except (OSError, PeerTimeout) as e:
            self.drop()
            raise HopFailure(f"{self.host}: {e}") from e

    def read(self, seconds: float, command: bytes) -> HopReply:
        """The next reply, within ``seconds`` as a whole, however slowly it drips; ``command`` is
        what it answers, for the log.
        """
        try:
            reply = self._reader.next_reply()
            if reply is None:
                reply = self._wait_for_reply(seconds, command)
        except HopFailure:
            self.drop()
            raise
        except (OSError, PeerTimeout, RemoteProtocolError) as e:
            self.drop()
            raise HopFailure(f"{self.host}: {e} (reply to {_verb(command)})") from e
        return reply

    def _wait_for_reply(self, seconds: float, command: bytes) -> HopReply:
        wire, reader, reply = self._wire, self._reader, None
        wire.deadline.arm(seconds, "next hop")
        try:
            while reply is None:
                data = wire.read()
                if not data:
                    raise HopFailure(f"{self.host}: closed before its reply to {_verb(command)}")
                reader.feed(data)
                reply = reader.next_reply()
        finally:
            wire.deadline.disarm()
        return reply

    def exchange(self, commands: list[bytes], seconds: float) -> list[HopReply]:
        """The replies to ``commands``, each within ``seconds``: one write where the host
        pipelines, else one command after the other.
        """
        if self.can_pipeline:
            self.send(b"".join(commands), seconds)
            return [self.read(seconds, command) for command in commands]
        heard = []
        for command in commands:
            self.send(command, seconds)
            heard.append(self.read(seconds, command))
        return heard

    def greet(self, helo_name: str, seconds: float) -> None:
        """EHLO, or HELO where the host knows no EHLO (RFC 5321 3.2)."""
        self.send(f"EHLO {helo_name}\r\n".encode(), seconds)
        reply = self.read(seconds, b"EHLO")
        if reply.is_permanent:
            self.send(f"HELO {helo_name}\r\n".encode(), seconds)
            reply = self.read(seconds, b"HELO")
        elif reply.is_positive:
            self.extensions = offered_extensions(reply)
        if self._reader.has_leftover:
            self.drop()
            raise HopFailure(f"{self.host}: spoke unasked behind its reply to EHLO")
        if not reply.is_positive:
            self.drop()
            raise HopFailure(f"{self.host}: EHLO refused: {reply}", is_busy=reply.code == 421)

    def quit(self) -> None:
        """Says QUIT without waiting for the answer, and closes."""
        self._wire.write_nowait(b"QUIT\r\n")
        self._wire.close()

    def drop(self) -> None:
        """Closes without a word: never a dot, never a QUIT (DESIGN, One message, 7)."""
        self._wire.close()


def _verb(command: bytes) -> str:
    return command.partition(b" ")[0].strip().decode("ascii")


def open_connection(
    dialer: Dialer, host: SmtpHost, helo_name: str, timeouts: HopTimeouts, now: float
) -> HopConnection:
    """A greeted connection to the first address of ``host`` that works; raises HopFailure.

    Row 44 bounds connect plus greeting, for each address.
    """
    try:
        addresses = dialer.addresses(host.host)
    except OSError as e:
        raise HopFailure(f"{host}: no address: {e}") from e
    failure = HopFailure(f"{host}: no address")
    for address in addresses:
        try:
            connection = _connect(dialer, host, address, timeouts, now)
        except HopFailure as e:
            failure = e
            continue
        connection.greet(helo_name, timeouts.command_s)
        return connection
    raise failure


def _connect(
    dialer: Dialer, host: SmtpHost, address: str, timeouts: HopTimeouts, now: float
) -> HopConnection:
    deadline = Deadline()
    deadline.arm(timeouts.connect_s, "connect")
    try:
        sock = dialer.connect(address, host.port)
    except (OSError, PeerTimeout) as e:
        raise HopFailure(f"{host}: cannot connect to {address}: {e}") from e
    finally:
        deadline.close()
    connection = HopConnection(host, Wire(plain(sock)), now)
    greeting = connection.read(timeouts.connect_s, b"connect")
    if greeting.code != 220:
        connection.drop()
        raise HopFailure(f"{host}: greeted with {greeting}", is_busy=greeting.code == 421)
    return connection
