"""What a client does in its sessions: charged to its rates, or written on its slate as offences.

A score is in thousandths of a point and halves every ``half_life``; penalties, strikes and passes
are derived from it as DEFENCE's ladder says. The row is the client's own: a session that was let in
holds it (its live count keeps it), so row numbers stay good for a session's life. A client without
a row (exempt, or its bucket is full) is charged nothing.

Called in workers. Each charge is one hold of the admission lock, which may sleep before it; an
ordinary command comes nowhere near here. What a limit in mode shadow counts is charged without the
lock: of two charges that meet in one microsecond one may be lost, and the client is told nothing
either way. Time is an argument, ms of CLOCK_BOOTTIME.
"""

from typing import Final

from gwsmtp.base.decision import Reason
from gwsmtp.limits import layout
from gwsmtp.limits.arena import Table
from gwsmtp.limits.layout import CLIENT_WORDS, Client
from gwsmtp.limits.peaks import Peak, exceeds_peak, note_peak
from gwsmtp.limits.policy import WIDER, Limit, Mode, Offence, Policy, RatePolicy
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.limits.rate import Rate
from gwsmtp.limits.shadow import effective
from gwsmtp.limits.undo import done, keep

CAP: Final = 19_000
"""Verdicts alone, and what a client with a pass does, never raise a score above this."""

_VERDICTS: Final = frozenset({Offence.MALWARE, Offence.SPAM})
_COUNT_WITH_PASS: Final = frozenset(
    {Offence.EARLY_TALK, Offence.AUTH_FAILURE, Offence.RELAY_ATTEMPT}
)
_FREE_HITS: Final = 10
_HITS_WINDOW_MS: Final = 600_000
_HIT_POINTS: Final = 1_000
_MOST_STRIKES: Final = 20


class Charge:
    """What charging found: ``hit`` is the limit's reason or NONE; it refuses where ``refuses``."""

    __slots__ = ("counter", "hit", "refuses", "threshold")

    def __init__(
        self,
        hit: Reason = Reason.NONE,
        counter: int = 0,
        threshold: int = 0,
        *,
        refuses: bool = False,
    ) -> None:
        self.hit = hit
        self.refuses = refuses
        self.counter = counter
        self.threshold = threshold


FREE: Final = Charge()

_RATES: Final = {
    Reason.MESSAGE_RATE: Client.TAT_MESSAGES,
    Reason.RECIPIENT_RATE: Client.TAT_RECIPIENTS,
    Reason.HANDSHAKE_RATE: Client.TAT_HANDSHAKES,
}
_PEAKS: Final = {
    Reason.MESSAGE_RATE: Peak.MESSAGES,
    Reason.RECIPIENT_RATE: Peak.RECIPIENTS,
}


class Guard:
    """One for each worker; see the module."""

    __slots__ = ("_lock", "_words", "policy")

    def __init__(self, table: Table, lock: RangeLock, policy: Policy) -> None:
        self._words = table.words
        self._lock = lock
        self.policy = policy

    def score(self, row: int, now_ms: int) -> int:
        """The score of a row now. Takes no lock."""
        return 0 if row < 0 else decayed(self._words, layout.client_row(row), self.policy, now_ms)

    def offend(self, row: int, offence: Offence, now_ms: int) -> int:
        """Writes one offence down; returns the score after it."""
        points = self.policy.points[offence] * 1000
        if row < 0 or not points:
            return self.score(row, now_ms)
        place = layout.client_row(row)
        with self._lock:
            keep(self._words, place, CLIENT_WORDS)
            score = self._raise(place, points, offence, now_ms)
            done(self._words)
            return score

    def pardon(self, row: int, now_ms: int) -> int:
        """A clean message was accepted; returns the score after it."""
        if row < 0:
            return 0
        place = layout.client_row(row)
        if not self._words[place + Client.SCORE]:
            return 0
        with self._lock:
            score = decayed(self._words, place, self.policy, now_ms)
            score = max(score - self.policy.clean_message * 1000, 0)
            keep(self._words, place, CLIENT_WORDS)
            self._store(place, score, now_ms)
            done(self._words)
            return score

    def charge(self, row: int, reason: Reason, times: int, now_ms: int) -> Charge:
        """Charges ``times`` messages, recipients or handshakes, whichever ``reason`` limits."""
        limit, policy = self._rate(reason)
        mode = effective(self._words, limit, policy.mode)
        if row < 0 or not mode:
            return FREE
        place = layout.client_row(row)
        if mode is not Mode.ENFORCE:
            return self._charge(place, reason, policy.rate, mode, times, now_ms)
        with self._lock:
            return self._charge(place, reason, policy.rate, mode, times, now_ms)

    def charge_message(self, row: int, now_ms: int, *, ahead: bool) -> tuple[Charge, Charge]:
        """Charges a message and, ``ahead``, its first recipient unless the message is refused: one
        hold of the lock for both, and none where neither limit refuses anybody.
        """
        words, policy = self._words, self.policy
        messages = effective(words, Limit.MESSAGES, policy.messages.mode)
        recipients = effective(words, Limit.RECIPIENTS, policy.recipients.mode)
        if not ahead:
            recipients = Mode.OFF
        if row < 0 or not (messages or recipients):
            return FREE, FREE
        place = layout.client_row(row)
        if messages is not Mode.ENFORCE and recipients is not Mode.ENFORCE:
            return self._charge_both(place, messages, recipients, now_ms)
        with self._lock:
            return self._charge_both(place, messages, recipients, now_ms)

    def _charge_both(
        self, place: int, messages: Mode, recipients: Mode, now_ms: int
    ) -> tuple[Charge, Charge]:
        policy = self.policy
        message = recipient = FREE
        if messages:
            rate = policy.messages.rate
            message = self._charge(place, Reason.MESSAGE_RATE, rate, messages, 1, now_ms)
        if recipients and not message.refuses:
            rate = policy.recipients.rate
            recipient = self._charge(place, Reason.RECIPIENT_RATE, rate, recipients, 1, now_ms)
        return message, recipient

    def _charge(
        self, place: int, reason: Reason, rate: Rate, mode: Mode, times: int, now_ms: int
    ) -> Charge:
        # Under the lock where ``mode`` is ENFORCE.
        words, now_us = self._words, now_ms * 1000
        word = place + _RATES[reason]
        factor = WIDER if words[place + Client.PASS_UNTIL] > now_ms else 1
        stamp: int = words[word]
        after = rate.next_stamp(stamp, now_us, times, factor)
        if after >= 0:
            words[word] = after
            peak = _PEAKS.get(reason)
            if peak is not None:
                self._note_peak(place, peak, rate.used(after, now_us), mode)
            return FREE
        refuses = mode is Mode.ENFORCE and self.policy.is_acting
        if mode is Mode.ENFORCE:
            self._note_hit(place, now_ms)
        used = rate.used(stamp, now_us, factor)
        return Charge(reason, used, rate.burst * factor, refuses=refuses)

    def _note_peak(self, place: int, peak: Peak, used: int, mode: Mode) -> None:
        words = self._words
        if not exceeds_peak(words, place, peak, used):
            return
        if mode is Mode.ENFORCE:
            note_peak(words, place, peak, used)
            return
        with self._lock:  # its word holds other peaks as well
            note_peak(words, place, peak, used)

    def _note_hit(self, place: int, now_ms: int) -> None:
        """Volume alone is no offence, but to go on for long after having been told is."""
        words = self._words
        keep(words, place, CLIENT_WORDS)
        began: int = words[place + Client.OVER_LIMIT_MS]
        if not 0 <= now_ms - began < _HITS_WINDOW_MS:
            words[place + Client.OVER_LIMIT_MS] = now_ms
            words[place + Client.OVER_LIMIT] = 0
        words[place + Client.OVER_LIMIT] += 1
        if words[place + Client.OVER_LIMIT] > _FREE_HITS:
            self._raise(place, _HIT_POINTS, Offence.LIMIT_HIT, now_ms)
        done(words)

    def _rate(self, reason: Reason) -> tuple[Limit, RatePolicy]:
        if reason is Reason.MESSAGE_RATE:
            return Limit.MESSAGES, self.policy.messages
        if reason is Reason.RECIPIENT_RATE:
            return Limit.RECIPIENTS, self.policy.recipients
        return Limit.HANDSHAKES, self.policy.handshakes

    def _raise(self, place: int, points: int, offence: Offence, now_ms: int) -> int:
        words, policy = self._words, self.policy
        score = before = decayed(words, place, policy, now_ms)
        score += points
        has_pass = words[place + Client.PASS_UNTIL] > now_ms
        is_capped = offence in _VERDICTS or (has_pass and offence not in _COUNT_WITH_PASS)
        if is_capped:
            score = max(before, min(score, CAP))
        self._store(place, score, now_ms)
        words[place + Client.LAST_SEEN] = now_ms
        if score >= threshold(policy.ban_at) and words[place + Client.PENALTY_UNTIL] <= now_ms:
            self._ban(place, now_ms)
        return score

    def _ban(self, place: int, now_ms: int) -> None:
        words, policy = self._words, self.policy
        strikes = standing_strikes(words, place, policy, now_ms)
        lasts_ms = min(policy.ban_ms << strikes, policy.longest_penalty_ms)
        words[place + Client.STRIKES] = min(strikes + 1, _MOST_STRIKES)
        words[place + Client.STRIKE_MS] = now_ms
        words[place + Client.PASS_UNTIL] = 0
        words[place + Client.CLEAN_SESSIONS] = 0
        words[place + Client.PENALTY_UNTIL] = now_ms + lasts_ms

    def _store(self, place: int, score: int, now_ms: int) -> None:
        self._words[place + Client.SCORE_MS] = now_ms
        self._words[place + Client.SCORE] = score


def threshold(points: int) -> int:
    """The least score that is ``points`` when rounded to whole ones: two offences of 20 reach 40,
    though the first has decayed a little by the second.
    """
    return points * 1000 - 500


def decayed(words: memoryview, place: int, policy: Policy, now_ms: int) -> int:
    """The score in the row at word ``place``, in thousandths of a point."""
    score: int = words[place + Client.SCORE]
    if not score:
        return 0
    age_ms = max(now_ms - words[place + Client.SCORE_MS], 0)
    return int(score * 0.5 ** (age_ms / policy.half_life_ms))


def standing_strikes(words: memoryview, place: int, policy: Policy, now_ms: int) -> int:
    """Strikes that have not faded yet."""
    strikes: int = words[place + Client.STRIKES]
    faded = max(now_ms - words[place + Client.STRIKE_MS], 0) // policy.strike_fade_ms
    return max(strikes - faded, 0)
