"""Session ids: ten letters, made at accept, the one name of a session everywhere.

The id stands in the log, in references inside replies and in tracking, so it must not repeat
within the life of a log and must not tell a client how many sessions there were: ten random
consonants (43 bits), without vowels so that no id spells a word.
"""

import random
from typing import Final

_LETTERS = "bcdfghjklmnpqrstvwxz"
ID_LENGTH = 10
_COUNT: Final = len(_LETTERS) ** ID_LENGTH
_BITS: Final = _COUNT.bit_length()


class SessionIds:
    """Makes ids from a generator that the process seeds after its fork."""

    __slots__ = ("_bits",)

    def __init__(self, rng: random.Random) -> None:
        self._bits = rng.getrandbits

    def make(self) -> str:
        """A new id."""
        number = _COUNT
        while number >= _COUNT:  # so that all are equally likely; twice in three it is the first
            number = self._bits(_BITS)
        return id_text(number)


def id_number(session_id: str) -> int:
    """A session id as a number below 2 ** 44, for places that hold numbers only; ValueError for
    what is no id.
    """
    number = 0
    for letter in session_id:
        number = number * len(_LETTERS) + _LETTERS.index(letter)
    return number


def id_text(number: int) -> str:
    """The session id that ``id_number`` made ``number`` of."""
    letters = []
    for _ in range(ID_LENGTH):
        number, letter = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[letter])
    return "".join(reversed(letters))
