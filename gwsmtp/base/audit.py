"""The one vocabulary of events: what the log line, the counters and tracking are readers of.

An event is a plain object that its session fills and emits once; readers must not keep it
without copying and must not block. Emission is a loop over a tuple of callables.
"""

from collections.abc import Callable

from gwsmtp.base.decision import Action, Reason


class SessionEnded:
    """One session, from accept to close. ``after`` is the last stage, ``reason`` why it
    ended, ``tls`` version and cipher, "" in clear, ``sni`` the server name asked for, ``is_check``
    whether it was a proxy's own, to see whether we are there.
    """

    __slots__ = (
        "after",
        "bytes_in",
        "bytes_out",
        "commands",
        "duration_s",
        "errors",
        "helo",
        "is_check",
        "listener",
        "messages",
        "peer_ip",
        "peer_port",
        "reason",
        "session_id",
        "sni",
        "tls",
    )

    def __init__(self, session_id: str, listener: str, peer_ip: str, peer_port: int) -> None:
        self.session_id = session_id
        self.listener = listener
        self.peer_ip = peer_ip
        self.peer_port = peer_port
        self.helo = ""
        self.after = "CONNECT"
        self.reason = ""
        self.messages = 0
        self.commands = 0
        self.errors = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.duration_s = 0.0
        self.tls = ""
        self.sni = ""
        self.is_check = False


class MessageEnded:
    """One message, from MAIL to the reply to its end of data (or to its loss before that).

    ``outcome`` is one of accepted, rejected, deferred, discarded, lost; ``reply`` what the client
    was told; ``category`` is what a verdict against it says it is, malware, spam or ""; times in
    seconds. ``number`` counts the session's messages from 1.
    """

    __slots__ = (
        "category",
        "cause",
        "delivery_s",
        "helo",
        "hop",
        "notes",
        "number",
        "outcome",
        "peer_ip",
        "recipients",
        "reply",
        "scan_s",
        "sender",
        "session_id",
        "size_bytes",
        "verdict",
    )

    def __init__(self, session_id: str, number: int, peer_ip: str, helo: str) -> None:
        self.session_id = session_id
        self.number = number
        self.peer_ip = peer_ip
        self.helo = helo
        self.sender = ""
        self.recipients: tuple[str, ...] = ()
        self.size_bytes = 0
        self.outcome = "lost"
        self.reply = ""
        self.verdict = ""
        self.category = ""
        self.hop = ""
        self.cause = ""
        self.notes = ""
        self.scan_s = -1.0
        self.delivery_s = -1.0


class Decided:
    """One decision of the defence about a client. ``listener`` is 0 for the plain one, 1 for SSL;
    ``counter`` reached ``threshold`` in ``window_s`` seconds (0: at one time); of a penalty the
    counter is its rest in seconds.
    """

    __slots__ = (
        "action",
        "counter",
        "listener",
        "peer_ip",
        "reason",
        "session_id",
        "threshold",
        "window_s",
    )

    def __init__(
        self, session_id: str, peer_ip: str, listener: int, reason: Reason, action: Action
    ) -> None:
        self.session_id = session_id
        self.peer_ip = peer_ip
        self.listener = listener
        self.reason = reason
        self.action = action
        self.counter = 0
        self.threshold = 0
        self.window_s = 0


AuditEvent = SessionEnded | MessageEnded | Decided
AuditReader = Callable[[AuditEvent], None]


class Audit:
    """Hands each event to every reader, in order; built once per worker."""

    __slots__ = ("_readers",)

    def __init__(self, *readers: AuditReader) -> None:
        self._readers = readers

    def emit(self, event: AuditEvent) -> None:
        """Gives ``event`` to all readers; does not block."""
        for reader in self._readers:
            reader(event)
