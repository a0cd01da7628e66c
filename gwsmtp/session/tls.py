"""TLS of one connection, over buffers: a wire that speaks in clear to its session.

The only place that knows how TLS is driven in a worker. ``TlsWire`` has the interface of
``net.wire.Wire`` and stands over one: what comes from the socket goes through OpenSSL's memory
buffers, so that deadlines, what came before the handshake, and what is left of a failed one are
plain octets of ours, and no read or write of OpenSSL ever waits by itself.

An end without close_notify is an ordinary end (many clients leave so); it completes nothing, for
a message ends with its end of data. Everything OpenSSL objects to is a TlsError, an OSError whose
text is the cause in one clause. Used by one greenlet at a time; blocks that greenlet only.
"""

import ssl
from collections.abc import Callable
from typing import Final, cast

from gwsmtp.base import replies
from gwsmtp.base.errors import PeerTimeout
from gwsmtp.base.reply import Reply
from gwsmtp.net.tlsmaterial import ServerSide, TlsMaterial
from gwsmtp.net.wire import READ_OCTETS, Wire
from gwsmtp.protocol.extensions import Offer

_HANDSHAKE: Final = "TLS handshake"
_RECOVERY_OCTETS: Final = 65536
_RECOVERY_LINE: Final = 512
_UNSENT_OCTETS: Final = 65536
_RECORD_TYPES: Final = (b"\x14\x03", b"\x15\x03", b"\x16\x03", b"\x17\x03")


class TlsError(OSError):
    """TLS failed; ``str`` of it is the cause. ``rest`` is what came instead of a handshake when
    that was no TLS at all.
    """

    def __init__(self, cause: str, rest: bytes = b"") -> None:
        super().__init__(cause)
        self.rest = rest


class TlsService:
    """TLS as a worker's sessions have it, built once: seconds of SETTINGS rows 41 and 42, and
    what is offered behind the handshake. ``material`` None: there is no usable certificate.
    """

    __slots__ = ("ehlo", "handshake_s", "material", "offer", "recovery_s")

    def __init__(
        self,
        material: TlsMaterial | None,
        offer: Offer,
        ehlo: Reply,
        handshake_s: float,
        recovery_s: float,
    ) -> None:
        self.material = material
        self.offer = offer
        self.ehlo = ehlo
        self.handshake_s = handshake_s
        self.recovery_s = recovery_s


class TlsWire:
    """See the module. ``handshake`` first; ``version``, ``cipher`` and ``server_name`` are known
    after it.
    """

    __slots__ = (
        "_error",
        "_in",
        "_is_dropping",
        "_is_mute",
        "_may_have",
        "_out",
        "_tls",
        "_unsent",
        "_wire",
        "deadline",
    )

    def __init__(self, wire: Wire, material: TlsMaterial) -> None:
        self._wire = wire
        self.deadline = wire.deadline
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        tls = material.context.wrap_bio(self._in, self._out, server_side=True)
        self._tls = cast(ServerSide, tls)
        self._may_have = False  # OpenSSL may hold content although nothing is read
        self._is_mute = False  # we have said, or can no longer say, close_notify
        self._is_dropping = False  # what comes is not deciphered: only after end_writing
        self._error: TlsError | None = None
        self._unsent = b""

    # Handshake -----------------------------------------------------------------------------

    def handshake(
        self, seconds: float, monotonic: Callable[[], float], *, speaks_next: bool = False
    ) -> None:
        """Until both sides have finished, within ``seconds`` in all however little comes at a
        time. With ``speaks_next`` TLS 1.3's ticket goes out with our next words, in one write.
        Raises TlsError, OSError, PeerTimeout.
        """
        ends = monotonic() + seconds
        data = b""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush(ends - monotonic(), _HANDSHAKE)
            except OSError as e:
                rest = b"" if data.startswith(_RECORD_TYPES) else data
                raise self._broken(e, rest) from e
            else:
                self._may_have = self._in.pending > 0
                # A client that speaks next must not wait for an acknowledgement of its Finished:
                # with Nagle's algorithm its EHLO would, and ours is delayed by 40 ms. A ticket
                # sent at once carries it.
                if not speaks_next or self._tls.version() != "TLSv1.3":
                    self._flush(ends - monotonic(), _HANDSHAKE)
                return
            left = ends - monotonic()
            if left <= 0:
                raise PeerTimeout(_HANDSHAKE)
            self.deadline.arm(left, _HANDSHAKE)
            data = self._wire.read()
            self.deadline.disarm()
            if not data:
                self._is_mute = True
                raise TlsError("TLS: closed by client in the handshake")
            self._in.write(data)

    @property
    def version(self) -> str:
        """Such as ``TLSv1.3``."""
        return self._tls.version() or ""

    @property
    def cipher(self) -> str:
        """OpenSSL's name of the cipher suite."""
        cipher = self._tls.cipher()
        return cipher[0] if cipher else ""

    @property
    def server_name(self) -> str:
        """What the client asked for (SNI), "" where it did not."""
        return self._tls.asked_name

    @property
    def is_resumed(self) -> bool:
        """The handshake went on with an earlier session."""
        return bool(self._tls.session_reused)

    # The interface of net.wire.Wire ----------------------------------------------------------

    @property
    def fd(self) -> int:
        """The socket's descriptor."""
        return self._wire.fd

    def read(self, octets: int = READ_OCTETS) -> bytes:
        """What has come, at most ``octets``; b"" when the peer has ended its side. After
        ``end_writing`` what comes is only good for being dropped, and not deciphered.
        """
        wire, incoming = self._wire, self._in
        if self._is_dropping:
            return wire.read(octets)
        if self._error is not None:
            raise self._error
        while True:
            if self._may_have and (content := self._take(octets)) is not None:
                return content
            data = wire.read()
            if not data:
                return b""
            incoming.write(data)
            self._may_have = True

    def _take(self, octets: int) -> bytes | None:
        """What OpenSSL has for us: records that came together in one piece; None when it needs
        more, b"" at close_notify.
        """
        tls, incoming = self._tls, self._in
        parts: list[bytes] = []
        unsent = self._out.pending
        try:
            while octets > 0:
                part = tls.read(octets)
                parts.append(part)
                if not part:  # close_notify, which is met again when asked again
                    break
                octets -= len(part)
                if not incoming.pending and not tls.pending():
                    self._may_have = False
                    break
        except ssl.SSLWantReadError:
            self._may_have = False
        except OSError as e:
            self._error = self._broken(e)
            if not parts:  # else what came before it is answered first
                raise self._error from e
        if self._out.pending > unsent:
            # An answer of TLS itself, to a new key (RFC 8446 4.6.3).
            self._send_some(self._out.read())
            if len(self._unsent) > _UNSENT_OCTETS:
                raise TlsError("TLS: client takes no answers")
        if not parts:
            return None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, data: bytes, seconds: float, phase: str) -> None:
        """Sends everything; the peer must take it within ``seconds``."""
        if self._is_mute:
            return
        self._encipher(data)
        self._flush(seconds, phase)

    def write_nowait(self, data: bytes) -> int:
        """Takes everything, as a record cannot be sent in part, and sends what the socket takes;
        the rest goes before whatever is written next. Never raises.
        """
        if not self._is_mute:
            try:
                self._encipher(data)
                self._send_some(self._out.read())
            except OSError:
                self._is_mute = True
        return len(data)

    def has_input(self) -> bool:
        """Whether octets, or the peer's end, wait to be read. Does not block."""
        return self._may_have or self._wire.has_input()

    def is_gone(self) -> bool:
        """Whether the connection is reset or closed in both directions. Does not block."""
        return self._wire.is_gone()

    def end_writing(self) -> None:
        """Says close_notify, and that nothing more will come from us."""
        self._say_end()
        self._is_dropping = True
        self._wire.end_writing()

    def close(self) -> None:
        """Says close_notify if there was no other end, and closes at once; may be called again."""
        if self._wire.fd >= 0:
            self._say_end()
            self._wire.close()

    # Inside --------------------------------------------------------------------------------

    def _encipher(self, data: bytes) -> None:
        write = self._tls.write
        sent = write(data)
        if sent < len(data):
            rest = memoryview(data)[sent:]
            while rest:
                sent = write(rest)
                rest = rest[sent:]

    def _flush(self, seconds: float, phase: str) -> None:
        data = self._out.read()
        if self._unsent:
            data, self._unsent = self._unsent + data, b""
        if not data:
            return
        try:
            self._wire.write(data, max(seconds, 0.0), phase)
        except BaseException:
            self._is_mute = True  # half a record may be out: nothing can follow it
            raise

    def _send_some(self, data: bytes) -> None:
        if self._unsent:
            data = self._unsent + data
        sent = self._wire.write_nowait(data)
        self._unsent = data[sent:]

    def _say_end(self) -> None:
        if self._is_mute:
            return
        self._is_mute = True
        try:
            self._tls.unwrap()
        except OSError:
            pass  # it wants the peer's answer, which nobody waits for
        self._send_some(self._out.read())

    def _broken(self, error: OSError, rest: bytes = b"") -> TlsError:
        """TLS is over: the peer is told why, by OpenSSL's own alert."""
        self._is_mute = True
        self._send_some(self._out.read())
        return TlsError(f"TLS: {_cause(error)}", rest)


def _cause(error: OSError) -> str:
    reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
    return str(reason).replace("_", " ").lower()


def answer_in_clear(wire: Wire, rest: bytes, seconds: float, monotonic: Callable[[], float]) -> str:
    """After a failed STARTTLS handshake (SETTINGS row 42): for ``seconds`` QUIT gets 221 and
    anything else 454, and nothing is done. ``rest`` is what had come already; returns how it
    ended. Never raises.
    """
    ends = monotonic() + seconds
    left_octets = _RECOVERY_OCTETS
    data = rest
    try:
        while left_octets > 0:
            if data.startswith(_RECORD_TYPES):
                data = b""  # an alert, or a handshake that goes on without us
            *lines, data = data.split(b"\n")
            for line in lines:
                is_quit = line.strip().upper() == b"QUIT"
                reply = replies.BYE if is_quit else replies.TLS_FAILED
                wire.write(reply.wire, max(ends - monotonic(), 0.0), "recovery from TLS failure")
                if is_quit:
                    return "quit"
            data = data[:_RECOVERY_LINE]
            left = ends - monotonic()
            if left <= 0:
                break
            wire.deadline.arm(left, "recovery from TLS failure")
            more = wire.read()
            wire.deadline.disarm()
            if not more:
                return "closed by client"
            left_octets -= len(more)
            data += more
    except (PeerTimeout, OSError):
        pass
    return "closed"
