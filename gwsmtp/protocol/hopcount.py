"""How many hosts a message has passed: its Received fields, counted while it comes in (RFC 5321
6.3).

Stands in protocol/ beside ``data``, whose content it reads: a pure rule over octets that come in
pieces, cut anywhere, the same for DATA and BDAT. Counting pieces as they come needs neither the
memory nor the file that the content goes to.

A field counts in the header section only, that is up to the first empty line, whatever the case of
its name; a folded line is none. In bulk, without a loop over lines; a header too short to hold
more fields than the limit costs one search for its end, one of fewer lines their count besides.

Limits: only the first MiB of a header section is looked at: each hop puts its field on top, so
that a loop shows there. More than 40 blanks between name and colon (RFC 5322 4.5 lets there be
some) are not a field's.
"""

import re
from typing import Final

MAX_HOPS: Final = 100
"""RFC 5321 6.3 wants at least 100."""
MAX_HEADER_OCTETS: Final = 1 << 20

_SHORTEST: Final = (MAX_HOPS + 1) * len("Received:\r\n") - len("\r\n")
_MOST_BLANKS: Final = 40
_WITH_BLANKS: Final = re.compile(rb"\r\nreceived[ \t]{1,%d}:" % _MOST_BLANKS)
_LONGEST: Final = len("\r\nReceived:") + _MOST_BLANKS


class HopCounter:
    """One message's hops; ``feed`` it content until ``is_done``."""

    __slots__ = ("_hops", "_octets", "_tail", "is_done")

    def __init__(self) -> None:
        # A header begins with a line: a CRLF that nobody sent stands before it.
        self._tail = b"\r\n"
        self._octets = 0
        self._hops = 0
        self.is_done = False

    @property
    def is_loop(self) -> bool:
        """Whether no message needs that many hops."""
        return self._hops > MAX_HOPS

    def feed(self, content: bytes) -> None:
        """Takes the next piece of content, CRLF line ends; none after ``is_done``."""
        if not self._octets:
            end = 0 if content.startswith(b"\r\n") else content.find(b"\r\n\r\n")
            # Too few octets, or too few lines, to matter.
            if end >= 0 and (end < _SHORTEST or content.count(b"\n", 0, end) < MAX_HOPS):
                self.is_done = True
                return
        self._octets += len(content)
        data = self._tail + content
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            self.is_done = True
            self._count(data[:end])
            return
        # The last line may go on: what could be the beginning of a field, or the first half of an
        # empty line, is looked at with the next piece, and only then.
        end = data.rfind(b"\r\n", -_LONGEST)
        if end < 0:
            end = len(data) - data.endswith(b"\r")
        self._tail = data[end:]
        self._count(data[:end])
        if self._octets > MAX_HEADER_OCTETS:
            self.is_done = True

    def _count(self, lines: bytes) -> None:
        lines = lines.lower()
        self._hops += lines.count(b"\r\nreceived:")
        if b"\r\nreceived " in lines or b"\r\nreceived\t" in lines:
            self._hops += len(_WITH_BLANKS.findall(lines))
