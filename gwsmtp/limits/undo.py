"""Changes of several words that are made whole or not at all, whoever is killed in between.

What takes one store needs none of this, and most of the table is made so. A change of several words
that mean something together (a ban: strikes, pass, penalty; a score and its time) copies the words
as they are into the control page first (``keep``), then stores, then says that it is through
(``done``). Who takes the admission lock next (``rangelock``) puts back what it finds there: a copy
that is still there belongs to somebody who died in between, or was stopped by an error.

All of it wants the admission lock; nobody else may write those words. Two changes cannot be under
way at one time. Blocks on nothing.
"""

from typing import Final

from gwsmtp.limits.layout import CLIENT_WORDS, CONTROL, FILE_SIZE, WORD, Control

MOST_WORDS: Final = CLIENT_WORDS
_COUNT: Final = CONTROL + Control.KEPT_COUNT
_PLACE: Final = CONTROL + Control.KEPT_PLACE
_KEPT: Final = CONTROL + Control.KEPT
_CHANGES: Final = CONTROL + Control.ALLOW_CHANGES
_END: Final = FILE_SIZE // WORD


def keep(words: memoryview, place: int, count: int) -> None:
    """From here to ``done`` the ``count`` words from ``place`` on are changed together."""
    words[_KEPT : _KEPT + count] = words[place : place + count]
    words[_PLACE] = place
    words[_COUNT] = count


def done(words: memoryview) -> None:
    """The change is whole."""
    words[_COUNT] = 0


def is_half_made(words: memoryview) -> bool:
    """Whether somebody died in the middle of a change: one load."""
    count: int = words[_COUNT]
    return count != 0


def undo(words: memoryview) -> None:
    """Makes it as if the change had not begun; interrupted, it can be done again."""
    place, count = int(words[_PLACE]), int(words[_COUNT])
    if count <= MOST_WORDS and CONTROL <= place <= _END - count:  # else it is damage: let it be
        words[place : place + count] = words[_KEPT : _KEPT + count]
        words[_CHANGES] += 1  # it may have been the allow list, and a worker has read it meanwhile
    words[_COUNT] = 0
