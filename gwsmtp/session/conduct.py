"""How a client behaves in its session, and what that costs it: offences, rates, delays, the end.

The session tells what it saw; the table's guard keeps the score, over all workers and sessions.
With a score come delays of replies, 1 to 4 s by chance, for at most a tenth of the listener's
places; a ban ends the session with 421 as well. A client that is exempt (row 64, allow list), or
that the table has no row for, costs nothing and is told nothing.

Used by the session's greenlet; the lock may make it wait a few ms. ``delay`` waits on purpose.
"""

from collections.abc import Sequence
from typing import Final

import gevent

from gwsmtp.base import replies
from gwsmtp.base.audit import Decided, MessageEnded
from gwsmtp.base.decision import Action, Reason
from gwsmtp.base.reply import Reply
from gwsmtp.limits.entrance import Entrance
from gwsmtp.limits.guards import Charge
from gwsmtp.limits.policy import Offence
from gwsmtp.protocol.state import Verb
from gwsmtp.session.defence import Defence

LEAST_DELAY_S: Final = 1.0
MOST_DELAY_S: Final = 4.0
_FREE_IDLE_COMMANDS: Final = 20
_SPOKEN: Final = {"malware": Offence.MALWARE, "spam": Offence.SPAM}


class Conduct:
    """One session's; ``place`` is its place in the table."""

    __slots__ = (
        "_defence",
        "_idle",
        "_is_hidden",
        "_is_reported",
        "_offences",
        "_peer_ip",
        "_place",
        "_reserved",
        "_row",
        "_session_id",
        "score",
    )

    def __init__(self, defence: Defence, place: Entrance, session_id: str, peer_ip: str) -> None:
        self._defence = defence
        self._place = place
        self._row = place.row
        self._session_id = session_id
        self._peer_ip = peer_ip
        self._idle: dict[Verb, int] = {}
        self._offences = 0
        self._reserved = 0
        self._is_reported = False
        self._is_hidden = False
        self.score = place.score
        """Thousandths of a point, as of the last offence or pardon."""

    @property
    def is_watched(self) -> bool:
        """Whether replies are delayed, or the session is to end."""
        return self.score >= self._defence.delay_at

    # What the session saw ------------------------------------------------------------------

    def offend(self, offence: Offence) -> None:
        """One offence."""
        self._offences += 1
        if self._row >= 0:
            self.score = self._defence.guard.offend(self._row, offence, self._defence.now_ms())

    def idle_command(self, verb: Verb) -> None:
        """NOOP, RSET or VRFY: free up to twenty of each, then an offence each."""
        count = self._idle.get(verb, 0) + 1
        self._idle[verb] = count
        if count > _FREE_IDLE_COMMANDS:
            self.offend(Offence.IDLE_COMMAND)

    def begin_message(self) -> Reply | None:
        """MAIL: charges the message, and a recipient ahead; the refusal where that is too much."""
        defence = self._defence
        message, recipient = defence.guard.charge_message(
            self._row, defence.now_ms(), ahead=not self._reserved
        )
        refusal = self._refuse(message) if message.hit else None
        if refusal is None:
            self._reserved = 1
            if recipient.hit:
                refusal = self._refuse(recipient)
        return refusal

    def begin_recipient(self) -> Reply | None:
        """RCPT: charges it, unless MAIL has; the refusal where that is too much."""
        if self._reserved:
            self._reserved = 0
            return None
        return self._charge(Reason.RECIPIENT_RATE)

    def begin_handshake(self) -> Reply | None:
        """A TLS handshake is to begin; the refusal where that is too much."""
        return self._charge(Reason.HANDSHAKE_RATE)

    def accept_recipient(self) -> None:
        """A recipient was accepted."""
        self._place.accepted += 1

    def bad_recipient(self, key: str) -> None:
        """A mailbox was refused as unknown for good; counted when it is a new one."""
        if self._row < 0:
            return
        defence = self._defence
        fingerprint = defence.placement.fingerprint(key.encode("utf-8"))
        if defence.dictionary.note(self._row, fingerprint, defence.now_ms()):
            self.offend(Offence.BAD_RECIPIENT)

    def note_hidden(self, keys: Sequence[str]) -> None:
        """Unknown mailboxes that a client tried while it was told nothing: they keep it hidden, but
        cost no points. A delay or a ban that came of them would tell it something.
        """
        defence = self._defence
        for key in keys:
            fingerprint = defence.placement.fingerprint(key.encode("utf-8"))
            defence.dictionary.note(self._row, fingerprint, defence.now_ms())

    def end_message(self, event: MessageEnded) -> None:
        """A message was answered: verdicts and bare newlines count, a clean one pardons."""
        if "bare-newlines" in event.notes:
            self.offend(Offence.BARE_NEWLINE)
        offence = _SPOKEN.get(event.category)
        if offence is not None:
            self.offend(offence)
        elif (event.outcome, event.verdict) == ("accepted", "accept") and not self._is_hidden:
            self._place.was_clean = not self._offences
            if self.score:
                defence = self._defence
                self.score = defence.guard.pardon(self._row, defence.now_ms())

    def hides(self) -> bool:
        """Whether this client is told nothing about mailboxes, by what it has tried in the window,
        in whichever session, on whichever worker.
        """
        if self._is_hidden:
            return True
        defence = self._defence
        if self._row < 0 or not defence.dictionary.hides(
            self._row, self._place.accepted, defence.now_ms()
        ):
            return False
        self._is_hidden = True
        bad = defence.dictionary.count(self._row, defence.now_ms())
        self._report(
            Reason.DICTIONARY_ATTACK, Action.HIDDEN, bad, defence.bad_recipients, defence.window_s
        )
        return True

    # What comes of it ----------------------------------------------------------------------

    def ban(self) -> Reply | None:
        """The reply that ends the session of a client that is banned by now."""
        defence = self._defence
        if self.score < defence.ban_at or not defence.is_acting:
            return None
        self._report(
            Reason.SCORE, Action.BANNED, round(self.score / 1000), round(defence.ban_at / 1000)
        )
        return replies.penalised(self._session_id)

    def delay(self) -> None:
        """Waits 1 to 4 s, unless a tenth of the listener's places does already, or places are
        scarce.
        """
        defence = self._defence
        if (
            not defence.is_acting
            or defence.is_pressed
            or not defence.may_delay(self._place.listener)
        ):
            return
        if not self._is_reported:
            self._is_reported = True
            self._report(
                Reason.SCORE,
                Action.DELAYED,
                round(self.score / 1000),
                round(defence.delay_at / 1000),
            )
        defence.delayed += 1
        defence.show_delayed()
        try:
            gevent.sleep(LEAST_DELAY_S + (MOST_DELAY_S - LEAST_DELAY_S) * defence.random())
        finally:
            defence.delayed -= 1
            defence.show_delayed()

    def make_room(self, waited_s: float) -> Reply:
        """The session is to end for another client, as its own has done nothing for ``waited_s``;
        what it is told.
        """
        self._report(Reason.PRESSURE, Action.ENDED, int(waited_s), 0)
        return replies.making_room(self._session_id)

    def _charge(self, reason: Reason) -> Reply | None:
        if self._row < 0:
            return None
        defence = self._defence
        charge = defence.guard.charge(self._row, reason, 1, defence.now_ms())
        if not charge.hit:
            return None
        return self._refuse(charge)

    def _refuse(self, charge: Charge) -> Reply | None:
        action = Action.REFUSED if charge.refuses else Action.WOULD_REFUSE
        self._report(charge.hit, action, charge.counter, charge.threshold, 60)
        return replies.rate_exceeded(self._session_id) if charge.refuses else None

    def _report(
        self, reason: Reason, action: Action, counter: int, threshold: int, window_s: int = 0
    ) -> None:
        event = Decided(self._session_id, self._peer_ip, self._place.listener, reason, action)
        event.counter, event.threshold, event.window_s = counter, threshold, window_s
        self._defence.audit.emit(event)
