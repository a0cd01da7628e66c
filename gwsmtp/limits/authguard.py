"""Failed authentications: so many per client and user name, so many per client, in ten minutes.

Both are GCRA stamps, so no edge of a window lets twice as many through. Of user names a row keeps
four at a time, as keyed fingerprints: with the client's own limit at four times the user's, that is
as many as can be over theirs. Over a limit AUTH is answered 454 4.7.0, right password or wrong, and
nothing else changes: mail without AUTH goes on.

``is_blocked`` takes no lock; ``fail`` wants it and may sleep before. Time is an argument, ms of
CLOCK_BOOTTIME. Called by workers.
"""

from typing import Final

from gwsmtp.base.decision import Reason
from gwsmtp.limits import layout
from gwsmtp.limits.arena import Table
from gwsmtp.limits.guards import FREE, Charge
from gwsmtp.limits.layout import AUTH_USER_COUNT, CLIENT_WORDS, Client
from gwsmtp.limits.policy import Mode, Policy
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.limits.rate import Rate
from gwsmtp.limits.undo import done, keep

WINDOW_S: Final = 600
# A user's word: 24 bits of the fingerprint, 40 of the stamp in units of 10 ms.
_STAMP_BITS: Final = 40
_STAMP_MASK: Final = (1 << _STAMP_BITS) - 1
_NAME_MASK: Final = (1 << 24) - 1
_UNIT_US: Final = 10_000


class AuthGuard:
    """One for each worker; see the module."""

    __slots__ = ("_client", "_lock", "_policy", "_user", "_words")

    def __init__(self, table: Table, lock: RangeLock, policy: Policy) -> None:
        self._words = table.words
        self._lock = lock
        self._policy = policy
        self._user = Rate(policy.auth_per_user, policy.auth_per_user, WINDOW_S)
        self._client = Rate(policy.auth_per_client, policy.auth_per_client, WINDOW_S)

    def is_blocked(self, row: int, user: int, now_ms: int) -> Charge:
        """Whether one failure more would be too many; asked before a password is looked at.

        ``user`` is the name's fingerprint (``identity.Placement``).
        """
        policy = self._policy
        if row < 0 or not policy.auth_mode:
            return FREE
        refuses = policy.auth_mode is Mode.ENFORCE and policy.is_acting
        place, now_us = layout.client_row(row), now_ms * 1000
        stamp: int = self._words[place + Client.TAT_AUTH]
        if self._client.next_stamp(stamp, now_us) < 0:
            most = policy.auth_per_client
            return Charge(Reason.AUTH_FAILURES, most, most, refuses=refuses)
        way = self._way(place, user)
        if way >= 0 and self._user.next_stamp(self._stamp(way), now_us) < 0:
            most = policy.auth_per_user
            return Charge(Reason.AUTH_FAILURES, most, most, refuses=refuses)
        return FREE

    def fail(self, row: int, user: int, now_ms: int) -> None:
        """A name or password was wrong."""
        if row < 0 or not self._policy.auth_mode:
            return
        words, place, now_us = self._words, layout.client_row(row), now_ms * 1000
        with self._lock:
            keep(words, place, CLIENT_WORDS)
            after = self._client.next_stamp(words[place + Client.TAT_AUTH], now_us)
            if after >= 0:
                words[place + Client.TAT_AUTH] = after
            way = self._way(place, user)
            stamp = self._stamp(way) if way >= 0 else 0
            if way < 0:
                ways = range(place + Client.AUTH_USER, place + Client.AUTH_USER + AUTH_USER_COUNT)
                way = min(ways, key=self._stamp)
            after = self._user.next_stamp(stamp, now_us)
            if after >= 0:
                name = user & _NAME_MASK
                # Rounded up: rounding down would forgive a little with each failure.
                words[way] = name << _STAMP_BITS | -(-after // _UNIT_US) & _STAMP_MASK
            done(words)

    def _way(self, place: int, user: int) -> int:
        """The word of a user name in the row at ``place``, -1 where it has none."""
        first = place + Client.AUTH_USER
        for way in range(first, first + AUTH_USER_COUNT):
            word: int = self._words[way]
            if word and word >> _STAMP_BITS == user & _NAME_MASK:
                return way
        return -1

    def _stamp(self, way: int) -> int:
        return int(self._words[way] & _STAMP_MASK) * _UNIT_US
