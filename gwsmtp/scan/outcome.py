"""What a session asks of the scan and what it is told: plain values, no I/O.

Contract: a session fills one ScanRequest per message, hands it to ``pool.ScanPool.scan`` and gets
one ScanOutcome; "no verdict" is not an outcome but ``ScanUnavailable`` (SETTINGS row 5 decides).
"""

from enum import StrEnum

from gwsmtp.base.seams import MessageBody


class Action(StrEnum):
    """What an engine wants to be done with a message, spelled as on the wire."""

    ACCEPT = "accept"
    REJECT = "reject"
    DEFER = "defer"
    DISCARD = "discard"


class ScanRequest:
    """One message as an engine sees it; ``received`` is the trace field we prepend (or b"")."""

    __slots__ = (
        "body",
        "client_ip",
        "client_port",
        "helo",
        "interface",
        "number",
        "received",
        "recipients",
        "sender",
        "session_id",
    )

    def __init__(
        self,
        session_id: str,
        number: int,
        interface: str,
        client_ip: str,
        client_port: int,
        helo: str,
        sender: str,
        recipients: tuple[str, ...],
        body: MessageBody,
        received: bytes = b"",
    ) -> None:
        self.session_id = session_id
        self.number = number
        self.interface = interface
        self.client_ip = client_ip
        self.client_port = client_port
        self.helo = helo
        self.sender = sender
        self.recipients = recipients
        self.body = body
        self.received = received


class ScanOutcome:
    """A verdict. ``text`` is printable and fit for the reply; ``engine`` names who gave it,
    ``category`` is malware, spam, or what else the engine calls it.
    """

    __slots__ = ("action", "category", "engine", "headers", "rule", "text")

    def __init__(
        self,
        action: Action,
        text: str = "",
        rule: str = "",
        headers: tuple[tuple[str, str], ...] = (),
        engine: str = "",
        category: str = "",
    ) -> None:
        self.action = action
        self.category = category
        self.text = text
        self.rule = rule
        self.headers = headers
        self.engine = engine

    def __repr__(self) -> str:
        return f"ScanOutcome({self.action.value}, rule={self.rule!r}, engine={self.engine!r})"
