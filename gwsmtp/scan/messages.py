"""The messages of the scan protocol as plain values (PROTOCOL.md, "Messages"); no I/O.

``wire`` turns octets into these and back; limits are checked there.
"""

from typing import Final

from gwsmtp.scan.outcome import Action

VERSION: Final = 1

FD: Final = "fd"
"""The ability to pass (gateway) or take (engine) a body as a descriptor; unix sockets only."""

GATEWAY_CAPABILITIES: Final = (*(action.value for action in Action), "headers")
"""The verdicts a gateway can carry out; ``fd`` is added on a unix socket."""

# Limits of the protocol, checked in ``wire``.

MAX_BODY: Final = 256 * 1024 * 1024
"""Octets of a body that travels as bytes; an engine may announce less."""
MAX_STRING: Final = 4096
"""Characters of a string in a request: addresses, HELO, names."""
MAX_RECIPIENTS: Final = 10_000
MAX_TRACE: Final = 16 * 1024
MAX_NAME: Final = 255
MAX_CAPABILITIES: Final = 64
MAX_TEXT: Final = 2000
"""Characters of a text or reason in a reply; a gateway passes on the first 400."""
MAX_HEADERS: Final = 32
MAX_HEADER_NAME: Final = 76
MAX_DEADLINE_MS: Final = 3_600_000
MAX_ID: Final = 2**63 - 1
MAX_FROM_ENGINE: Final = 256 * 1024
"""Octets of one message of an engine."""
MAX_OVERHEAD: Final = 8 * 1024 * 1024
"""Octets of one message of a gateway beyond its body."""


class Hello:
    """The first message of each side. ``max_body`` counts for an engine only."""

    __slots__ = ("capabilities", "license", "max_body", "name", "role", "version")

    def __init__(
        self,
        version: int,
        role: str,
        name: str,
        capabilities: frozenset[str],
        license: str = "ok",  # noqa: A002 - the wire's word
        max_body: int = 0,
    ) -> None:
        self.version = version
        self.role = role
        self.name = name
        self.capabilities = capabilities
        self.license = license
        self.max_body = max_body


class Request:
    """One message to scan as an engine receives it; ``body`` is None where a descriptor comes."""

    __slots__ = (
        "body",
        "client_ip",
        "client_port",
        "deadline_ms",
        "helo",
        "id",
        "interface",
        "number",
        "received",
        "recipients",
        "sender",
        "session",
        "size",
    )

    def __init__(
        self,
        id: int,  # noqa: A002 - the wire's word
        deadline_ms: int,
        interface: str,
        session: str,
        number: int,
        client: tuple[str, int, str],
        sender: str,
        recipients: tuple[str, ...],
        received: bytes,
        body: bytes | None,
        size: int,
    ) -> None:
        self.id = id
        self.deadline_ms = deadline_ms
        self.interface = interface
        self.session = session
        self.number = number
        self.client_ip, self.client_port, self.helo = client
        self.sender = sender
        self.recipients = recipients
        self.received = received
        self.body = body
        self.size = size


class Verdict:
    """An engine's answer to one request; ``license`` is "" where it says nothing about it,
    ``category`` is malware, spam or "".
    """

    __slots__ = ("action", "category", "headers", "id", "license", "rule", "text")

    def __init__(
        self,
        id: int,  # noqa: A002
        action: Action,
        text: str = "",
        rule: str = "",
        headers: tuple[tuple[str, str], ...] = (),
        license: str = "",  # noqa: A002
        category: str = "",
    ) -> None:
        self.id = id
        self.category = category
        self.action = action
        self.text = text
        self.rule = rule
        self.headers = headers
        self.license = license


class Busy:
    """The engine does not take this request now; another one may."""

    __slots__ = ("id",)

    def __init__(self, id: int) -> None:  # noqa: A002
        self.id = id


class Failure:
    """The engine failed on this one message (``error`` on the wire)."""

    __slots__ = ("id", "reason")

    def __init__(self, id: int, reason: str) -> None:  # noqa: A002
        self.id = id
        self.reason = reason


class Ping:
    """Are you there? Sent by a gateway."""

    __slots__ = ("id",)

    def __init__(self, id: int) -> None:  # noqa: A002
        self.id = id


class Pong:
    """Yes; carries the ping's id and, if the engine likes, its licence state."""

    __slots__ = ("id", "license")

    def __init__(self, id: int, license: str = "") -> None:  # noqa: A002
        self.id = id
        self.license = license


class Draining:
    """The engine is going away: answers what it has, wants nothing new."""

    __slots__ = ()


FromGateway = Hello | Request | Ping
FromEngine = Hello | Verdict | Busy | Failure | Pong | Draining
Answer = Verdict | Busy | Failure
