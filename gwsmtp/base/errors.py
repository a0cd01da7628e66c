"""The tree of errors.

An expected outcome (a refusal, a limit, a verdict) is a return value, never one of these. What is
raised here either ends the session or says that a duty could not be done now. The text of an
exception goes to the log; what a peer hears is always a constant of ``base.replies``.
"""

from gwsmtp.base.reply import Reply


class GatewayError(Exception):
    """Root of everything gwsmtp raises on purpose."""


class ConfigError(GatewayError):
    """A configuration file cannot be used; ``problems`` names every reason, one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class ProtocolError(GatewayError):
    """The SMTP dialogue was broken by one of its two sides."""


class LocalProtocolError(ProtocolError):
    """We broke the rules: a bug of ours. The session is ended and logged as ERROR."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the rules beyond repair; ``reply`` is what a server says before it closes."""

    def __init__(self, reason: str, reply: Reply | None = None) -> None:
        super().__init__(reason)
        self.reply = reply


class PeerGone(GatewayError):
    """The connection was reset, or closed where more had to come; ``phase`` names the place."""

    def __init__(self, phase: str) -> None:
        super().__init__(f"connection lost in {phase}")
        self.phase = phase


class PeerTimeout(GatewayError):
    """A timer ran out; ``phase`` names which."""

    def __init__(self, phase: str) -> None:
        super().__init__(f"timeout in {phase}")
        self.phase = phase


class ScanUnavailable(GatewayError):
    """No engine gave a verdict (down, too late, nonsense): SETTINGS row 5 decides."""


class SpoolError(GatewayError):
    """The spool cannot take the message now (full, read-only, I/O error)."""


class TableError(GatewayError):
    """The shared table's file is foreign, damaged or of another layout."""


class HaltMaster(BaseException):
    """Ends the master's loop with an exit code; BaseException so that no boundary swallows it."""

    def __init__(self, exit_code: int, reason: str) -> None:
        super().__init__(reason)
        self.exit_code = exit_code
        self.reason = reason
