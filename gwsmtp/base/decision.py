"""What the defence decides about a client, and why: the vocabulary of log, rings and commands.

Numbers stand in the shared table: they are never changed, only appended.
"""

from enum import IntEnum


class Reason(IntEnum):
    """Which rule decided. 0 is "nothing"."""

    NONE = 0
    LISTENER_FULL = 1
    PENALTY = 2
    CONCURRENCY = 3
    CONNECTION_RATE = 4
    NETWORK_CONCURRENCY = 5
    NETWORK_RATE = 6
    RESTRICTED = 7  # a score that leaves one connection at a time
    LEDGER_FULL = 8  # of this worker: more connections than a process may have
    RESERVED = 9  # under pressure the last places are kept for known clients
    MESSAGE_RATE = 10
    RECIPIENT_RATE = 11
    HANDSHAKE_RATE = 12
    AUTH_FAILURES = 13
    DICTIONARY_ATTACK = 14
    SCORE = 15
    PRESSURE = 16  # the slowest session ended for a new client
    UNNAMED = 17  # proxies have too many connections open without having named their clients

    @property
    def word(self) -> str:
        """As logs and commands write it: ``listener-full``."""
        return self.name.lower().replace("_", "-")


class Action(IntEnum):
    """What was done."""

    NONE = 0
    REFUSED = 1
    WOULD_REFUSE = 2  # a limit in mode shadow, or row 86 off
    DELAYED = 3
    HIDDEN = 4
    BANNED = 5
    ENDED = 6

    @property
    def word(self) -> str:
        """As logs and commands write it: ``would-refuse``."""
        return self.name.lower().replace("_", "-")
