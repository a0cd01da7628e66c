"""What a stage may see and do of its session: the seam between stages and the pump."""

from typing import Protocol

from gwsmtp.base.audit import SessionEnded
from gwsmtp.base.peer import Peer
from gwsmtp.base.reply import Reply
from gwsmtp.base.stage import Stage
from gwsmtp.protocol.server import ServerProtocol
from gwsmtp.session.conduct import Conduct
from gwsmtp.session.services import Services
from gwsmtp.session.transaction import Transaction


class Conversation(Protocol):
    """One client's dialogue; ``session.Session`` is the one there is."""

    conduct: Conduct
    dropped_octets: int
    ehlo: Reply
    helo: str
    is_extended: bool
    peer: Peer
    protocol: ServerProtocol
    services: Services
    session_id: str
    stage: Stage
    summary: SessionEnded
    trace: str
    transaction: Transaction | None

    def begin_waiting(self) -> None:
        """A handler begins to wait: replies already queued go out when it takes a second."""
        ...

    def end_waiting(self) -> None:
        """The handler's wait is over."""
        ...

    def is_client_gone(self) -> bool:
        """Whether the client's side is reset, or closed in both directions."""
        ...

    def commit(self) -> None:
        """A message was answered: reports it and forgets its transaction."""
        ...

    def roll_back(self) -> None:
        """Forgets the transaction."""
        ...
