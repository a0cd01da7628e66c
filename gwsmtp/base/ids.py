"""Session ids: ten letters, made at accept, the one name of a session everywhere.

The id stands in the log, in references inside replies and in tracking, so it must not repeat
within the life of a log and must not tell a client how many sessions there were: ten random
consonants (43 bits), without vowels so that no id spells a word.
"""

import random

_LETTERS = "bcdfghjklmnpqrstvwxz"


class SessionIds:
    """Makes ids from a generator that the process seeds after its fork."""

    __slots__ = ("_choices",)

    def __init__(self, rng: random.Random) -> None:
        self._choices = rng.choices

    def make(self) -> str:
        """A new id."""
        return "".join(self._choices(_LETTERS, k=10))
