"""Recipients of a client that is told nothing about mailboxes (SETTINGS 2.2, ``accept-hold``).

Whatever the mailbox, the same calls are made in the same order and the same octets are sent:
RCPT starts a look-up in a greenlet of its own and answers after a time that depends on chance only;
the end of data waits for the look-ups, writes **one** item into the spool, and answers not before a
floor. In the item each recipient is marked as good or as unknown; the queue process delivers to the
good and moves the rest into the hold. So nothing of a good message is lost, and a harvester learns
nothing, not from words and not from time.

Used by the greenlet of one session.
"""

from typing import Final

import gevent

from gwsmtp.base import replies
from gwsmtp.base.address import Mailbox
from gwsmtp.base.reply import Reply
from gwsmtp.delivery.recipients import RecipientVerifier
from gwsmtp.directory.domains import HostedDomain
from gwsmtp.session.defence import Defence
from gwsmtp.spool.hold import HoldReason

ANSWER_S: Final = 0.25
JITTER_S: Final = 0.1
FLOOR_S: Final = 0.3
REASON: Final = HoldReason.DICTIONARY_ATTACK


class HiddenRecipients:
    """The recipients of one transaction that were accepted unseen, with their look-ups."""

    __slots__ = ("_defence", "_lookups", "_verifier", "refused")

    def __init__(self, verifier: RecipientVerifier, defence: Defence) -> None:
        self._verifier = verifier
        self._defence = defence
        self._lookups: dict[str, tuple[Mailbox, gevent.Greenlet[..., Reply]]] = {}
        # By the mailbox's text, once ``join`` has returned
        self.refused: dict[str, Reply] = {}

    def add(self, mailbox: Mailbox, domain: HostedDomain) -> None:
        """Takes a recipient; waits a quarter of a second, give or take by chance."""
        if mailbox.key not in self._lookups:
            lookup = gevent.spawn(self._look_up, mailbox, domain)
            self._lookups[mailbox.key] = (mailbox, lookup)
        gevent.sleep(ANSWER_S + JITTER_S * (self._defence.random() - 0.5))

    def join(self) -> bool:
        """Waits for all look-ups; False when one of them has failed for now."""
        is_whole = True
        for mailbox, lookup in self._lookups.values():
            reply = lookup.get()
            if reply.is_temporary:
                is_whole = False
            elif not reply.is_positive:
                self.refused[mailbox.text] = reply
        return is_whole

    def unknown(self) -> list[str]:
        """Keys of the mailboxes that do not exist, once ``join`` has returned."""
        found = self.refused.items()
        keys = {mailbox.text: key for key, (mailbox, _) in self._lookups.items()}
        return [keys[text] for text, reply in found if reply is replies.UNKNOWN_MAILBOX]

    def close(self) -> None:
        """Ends look-ups nobody waits for any more; may be called again."""
        for _, lookup in self._lookups.values():
            lookup.kill(block=False)

    def _look_up(self, mailbox: Mailbox, domain: HostedDomain) -> Reply:
        reply = self._verifier.cached(domain, mailbox)
        return reply if reply is not None else self._verifier.ask(domain, mailbox)
