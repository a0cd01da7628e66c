"""The scan protocol in octets: packing and parsing, pure (no socket, no time, no logging).

PROTOCOL.md is the specification, ``messages`` has its limits. An ``Encoder`` makes the
octets of one message. A ``Decoder`` takes octets in any portions and gives the messages that are
complete; the first octet, type or size that is not allowed makes its ``error`` and ends it: the
connection can only be closed, for nobody knows where the next message would begin.

Limits: arrays, maps and nesting are bounded when their head is read, strings and bodies by the
size of a message. A hostile gateway can so make an engine hold ``max_message`` octets and some
tens of megabytes of empty arrays, an engine can make a gateway hold next to nothing.
"""

from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

import msgpack

from gwsmtp.scan.messages import (
    MAX_FROM_ENGINE,
    MAX_OVERHEAD,
    MAX_RECIPIENTS,
    MAX_STRING,
    MAX_TEXT,
    FromEngine,
    FromGateway,
    Hello,
    Verdict,
)
from gwsmtp.scan.outcome import ScanRequest
from gwsmtp.scan.parse import WireError, parse_from_engine, parse_from_gateway

_LARGE = 1024 * 1024
Message = TypeVar("Message")


# Packing -------------------------------------------------------------------------------------


class Encoder:
    """Makes messages; one per process and thread is enough. Never raises on a lone surrogate:
    text on the wire is UTF-8, what cannot be encoded becomes ``?``.
    """

    __slots__ = ("_pack",)

    def __init__(self) -> None:
        packer = msgpack.Packer(unicode_errors="replace")
        self._pack: Callable[[object], bytes] = packer.pack

    def hello(self, hello: Hello) -> bytes:
        """The first message of a connection."""
        fields: dict[str, object] = {
            "type": "hello",
            "version": hello.version,
            "role": hello.role,
            "name": hello.name,
            "capabilities": sorted(hello.capabilities),
        }
        if hello.role == "engine":
            fields["license"] = hello.license
            fields["max_body"] = hello.max_body
        return self._pack(fields)

    def request(
        self, id_: int, deadline_ms: int, interface: str, request: ScanRequest, size: int
    ) -> bytes:
        """A request up to its body: exactly ``size`` octets have to follow, which so need not be
        copied nor even be in memory.
        """
        # The map is packed without its last pair; then its head is made one larger (it has fewer
        # than 15 pairs, so the head is one octet) and key and head of the body are put behind.
        packed = self._pack(_fields(id_, deadline_ms, interface, request))
        if size < 0x100:
            head = b"\xc4" + size.to_bytes(1, "big")
        elif size < 0x10000:
            head = b"\xc5" + size.to_bytes(2, "big")
        else:
            head = b"\xc6" + size.to_bytes(4, "big")
        return b"\x8a%b\xa4body%b" % (packed[1:], head)

    def request_by_descriptor(
        self, id_: int, deadline_ms: int, interface: str, request: ScanRequest, size: int
    ) -> bytes:
        """A request whose body is the descriptor that goes with these octets."""
        fields = _fields(id_, deadline_ms, interface, request)
        fields["fd"] = True
        fields["size"] = size
        return self._pack(fields)

    def verdict(self, verdict: Verdict) -> bytes:
        """An engine's verdict; what is empty is left out."""
        fields: dict[str, object] = {
            "type": "verdict",
            "id": verdict.id,
            "action": verdict.action,
        }
        if verdict.text:
            fields["text"] = verdict.text
        if verdict.rule:
            fields["rule"] = verdict.rule
        if verdict.headers:
            fields["headers"] = verdict.headers
        if verdict.category:
            fields["category"] = verdict.category
        if verdict.license:
            fields["license"] = verdict.license
        return self._pack(fields)

    def busy(self, id_: int) -> bytes:
        """Not now, try another engine."""
        return self._pack({"type": "busy", "id": id_})

    def failure(self, id_: int, reason: str) -> bytes:
        """This one message could not be scanned."""
        return self._pack({"type": "error", "id": id_, "reason": reason[:MAX_TEXT]})

    def ping(self, id_: int) -> bytes:
        """Keep-alive, asked by the gateway."""
        return self._pack({"type": "ping", "id": id_})

    def pong(self, id_: int, license_state: str = "") -> bytes:
        """Keep-alive, answered by the engine."""
        fields: dict[str, object] = {"type": "pong", "id": id_}
        if license_state:
            fields["license"] = license_state
        return self._pack(fields)

    def draining(self) -> bytes:
        """The engine is going away."""
        return self._pack({"type": "draining"})


def _fields(id_: int, deadline_ms: int, interface: str, request: ScanRequest) -> dict[str, object]:
    return {
        "type": "scan",
        "id": id_,
        "deadline_ms": deadline_ms,
        "interface": interface,
        "session": request.session_id,
        "number": request.number,
        "client": {
            "ip": request.client_ip,
            "port": request.client_port,
            "helo": request.helo,
        },
        "envelope": {"from": request.sender, "to": request.recipients},
        "received": request.received,
    }


# Unpacking -----------------------------------------------------------------------------------


class Decoder(Generic[Message]):
    """Octets in, messages out; ``error`` is set once and for all when something is not allowed."""

    __slots__ = ("_done", "_fed", "_make", "_max_message", "_parse", "_unpacker", "error")

    def __init__(
        self,
        parse: Callable[[object], Message],
        max_message: int,
        max_bin: int,
        max_array: int,
    ) -> None:
        self._parse = parse
        self._max_message = max_message
        self._make: Callable[[], msgpack.Unpacker] = partial(
            msgpack.Unpacker,
            raw=False,  # strings are UTF-8 or the end of the connection; bin stays bytes
            strict_map_key=True,
            use_list=False,
            ext_hook=_no_extension,
            max_buffer_size=max_message + _LARGE,
            max_str_len=MAX_STRING * 4,
            max_bin_len=max_bin,
            max_array_len=max_array,
            max_map_len=64,
            max_ext_len=0,
        )
        self._unpacker = self._make()
        self._fed = 0  # octets the unpacker was given
        self._done = 0  # of them, those of complete messages
        self.error: WireError | None = None

    def feed(self, data: bytes | bytearray | memoryview) -> list[Message]:
        """The messages completed by ``data``; those before an error are still given. Never
        raises; look at ``error`` afterwards.
        """
        messages: list[Message] = []
        if self.error is not None:
            return messages
        unpacker = self._unpacker
        try:
            unpacker.feed(data)
            self._fed += len(data)
            for value in unpacker:
                self._done = unpacker.tell()
                messages.append(self._parse(value))
        except WireError as wrong:
            self.error = wrong
        except (ValueError, msgpack.UnpackException) as error:
            self.error = WireError(f"not msgpack, or too large: {error or type(error).__name__}")
        else:
            if self._fed - self._done > self._max_message:
                self.error = WireError("message too large")
            elif self._fed == self._done > _LARGE:
                # The unpacker never gives back the buffer that a large body made it take.
                self._unpacker = self._make()
                self._fed = self._done = 0
        return messages


def _no_extension(code: int, _data: bytes) -> object:
    raise ValueError(f"extension type {code}")


def engine_side(max_body: int) -> Decoder[FromGateway]:
    """A decoder of what a gateway sends."""
    return Decoder(parse_from_gateway, max_body + MAX_OVERHEAD, max_body, MAX_RECIPIENTS)


def gateway_side() -> Decoder[FromEngine]:
    """A decoder of what an engine sends."""
    return Decoder(parse_from_engine, MAX_FROM_ENGINE, MAX_STRING, 256)
