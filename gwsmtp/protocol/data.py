"""The payload of DATA and BDAT: its end, its dots, its line ends (RFC 5321 4.5.2, RFC 3030,
SETTINGS 2.20).

Only CRLF.CRLF ends data. Everything is done in bulk (``find``, ``replace``, ``count``): a loop
over lines in Python is thirty times slower than any of them. The decoder holds back at most four
octets, those that may be the beginning of CRLF.CRLF, so no decision depends on how the network
cut the bytes.

Bare newlines: a bare LF becomes CRLF, a stray CR or a NUL one space. The dot of a line that only
begins after a bare LF is content: at the wire's level it stood inside a line. ``DotStuffer``
stuffs what comes out afresh, so one message in is one message out.
"""

import re
from typing import Final

_END: Final = b"\r\n.\r\n"
_HELD_BACK: Final = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_STRAY: Final = re.compile(rb"\r(?!\n)|\0")


class _Content:
    """What both decoders do with content that is certain: count, normalise, measure.

    ``size`` counts content octets as the client sent them (after un-dot-stuffing, before any
    normalising), ``bare_newlines`` what was normalised. ``longest_line`` is the longest line seen
    that crossed pieces: a line inside one piece is no longer than a read, and only limits far above
    that are set on lines.
    """

    __slots__ = ("_line_octets", "bare_newlines", "longest_line", "size")

    def __init__(self) -> None:
        self._line_octets = 0
        self.size = 0
        self.bare_newlines = 0
        self.longest_line = 0

    def _admit(self, content: bytes) -> bytes:
        # A segment never ends between CR and LF: a CR at its end was held back. So a LF at its
        # beginning is bare and a CR at its end is stray.
        self.size += len(content)
        # Two passes tell whether every CR, LF and NUL is half of a CRLF.
        if len(content) - len(content.translate(None, b"\r\n\0")) != 2 * content.count(b"\r\n"):
            content, bare = _BARE_LF.subn(b"\r\n", content)
            content, stray = _STRAY.subn(b" ", content)
            self.bare_newlines += bare + stray
        # Lines that cross pieces show at a piece's ends; looking at the others costs a loop.
        first = content.find(b"\n")
        if first < 0:
            self._line_octets += len(content)
        else:
            self.longest_line = max(self.longest_line, self._line_octets + first - 1)
            self._line_octets = len(content) - content.rfind(b"\n") - 1
        self.longest_line = max(self.longest_line, self._line_octets)
        return content


class DataDecoder(_Content):
    """Turns the payload of DATA into content; one object per message.

    ``feed`` gives content as it comes; once ``reached_end()``, ``rest`` holds what followed.
    """

    __slots__ = ("_ended", "_held", "_virtual", "rest")

    def __init__(self) -> None:
        super().__init__()
        # The payload begins at the beginning of a line: a CRLF that nobody sent stands before it.
        self._held = b"\r\n"
        self._virtual = 2
        self.rest = b""
        self._ended = False

    def reached_end(self) -> bool:
        """Whether CRLF.CRLF was read."""
        return self._ended

    def feed(self, data: bytes) -> bytes:
        """Takes octets from the wire and returns the content that is certain by now."""
        data = self._held + data
        # Most pieces hold no dot at the beginning of a line but the last one's: one search finds
        # that, and spares the search for the end and the replacing.
        dot = data.find(b"\r\n.")
        end = dot if dot < 0 or data.startswith(_END, dot) else data.find(_END, dot)
        if end >= 0:
            self._ended = True
            self.rest = data[end + 5 :]
            self._held = b""
            content = data[: end + 2]
        else:
            held = 0
            for suffix in _HELD_BACK:
                if data.endswith(suffix):
                    held = len(suffix)
                    break
            self._held = data[len(data) - held :]
            content = data[: len(data) - held]
        if dot != end:
            # A dot that begins a line is taken away if anything follows it (RFC 5321 4.5.2).
            content = content.replace(b"\r\n.", b"\r\n")
        if self._virtual and content:
            content = content[self._virtual :]
            self._virtual = 0
        return self._admit(content) if content else content


class ChunkDecoder(_Content):
    """Turns the octets of BDAT into content; one object per message, over all its chunks.

    There are no dots to take away and no end to find: sizes say where it ends. A CR at the end of
    a chunk may have its LF in the next one, so it is held back.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        super().__init__()
        self._held = b""

    def feed(self, data: bytes, *, is_last: bool) -> bytes:
        """Takes octets of a chunk and returns the content that is certain by now: all of it with
        ``is_last``.
        """
        if self._held:
            data = self._held + data
            self._held = b""
        if data[-1:] == b"\r" and not is_last:
            self._held = b"\r"
            data = data[:-1]
        return self._admit(data) if data else data


def dot_stuffed(content: bytes) -> bytes:
    """``content``, which begins a line, with its dots stuffed; without the end of data."""
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed[:1] == b"." else stuffed


class DotStuffer:
    """Stuffs content that comes in pieces; one object per message."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"

    def feed(self, content: bytes) -> bytes:
        """The next piece, ready for the wire."""
        tail = self._tail
        self._tail = (tail + content)[-2:] if len(content) < 2 else content[-2:]
        return (tail + content).replace(b"\r\n.", b"\r\n..")[len(tail) :]

    def finish(self) -> bytes:
        """The end of data; completes an unfinished last line."""
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"
