"""Readers of what an SMTP client has put on the wire: the strict one, and those that were fooled.

``STRICT`` ends lines and DATA by CRLF alone, as RFC 5321 2.3.8 wants. Each of ``LENIENT`` does what
some receiver is known to do, or to have done. Octets that all of them read alike can smuggle
nothing behind any of them.

Limits: every command is taken to be granted, DATA above all; BDAT is read by the strict one as
by the others. Standard library only and nothing of gwsmtp.
"""

import re
from typing import Final


class Content(bytes):
    """A message's content among the commands: dots unstuffed, line ends as CRLF."""

    __slots__ = ()


class View:
    """``steps`` are command lines and contents as they came, ``rest`` what was left unfinished."""

    __slots__ = ("rest", "steps")

    def __init__(self, steps: list[bytes], rest: bytes) -> None:
        self.steps = steps
        self.rest = rest

    @property
    def contents(self) -> list[bytes]:
        """The contents alone."""
        return [bytes(step) for step in self.steps if isinstance(step, Content)]

    @property
    def commands(self) -> list[bytes]:
        """The command lines alone."""
        return [step for step in self.steps if not isinstance(step, Content)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, View) and (self.steps, self.rest) == (other.steps, other.rest)

    def __hash__(self) -> int:
        return hash((tuple(self.steps), self.rest))

    def __repr__(self) -> str:
        return f"View({self.steps}, {self.rest!r})"


class Reader:
    """``line_end`` and ``last_line`` are regular expressions of what ends a line, and of the line
    that ends DATA; ``dropped`` are octets it never sees.
    """

    __slots__ = ("_dropped", "_last_line", "_line_end", "name")

    def __init__(
        self, name: str, line_end: bytes, last_line: bytes = rb"\.", dropped: bytes = b""
    ) -> None:
        self.name = name
        self._line_end = re.compile(line_end)
        self._last_line = re.compile(last_line, re.DOTALL)
        self._dropped = dropped

    def __repr__(self) -> str:
        return f"Reader({self.name})"

    def read(self, octets: bytes) -> View:
        """All that stands in ``octets``, which begin with a command."""
        if self._dropped:
            octets = octets.translate(None, self._dropped)
        steps: list[bytes] = []
        chunks = b""
        at = 0
        while (found := self._line_end.search(octets, at)) is not None:
            line = octets[at : found.start()]
            at = found.end()
            steps.append(line)
            verb = line[:4].upper()
            if verb == b"DATA":
                content, at = self._content(octets, at)
                if content is None:
                    break
                steps.append(content)
            elif verb == b"BDAT":
                size, *last = line[5:].split()
                chunks += octets[at : at + int(size)]
                at += int(size)
                if last:
                    steps.append(Content(chunks))
                    chunks = b""
        return View(steps, octets[at:])

    def _content(self, octets: bytes, at: int) -> tuple[Content | None, int]:
        """The content that begins at ``at`` and where it ends; None where it has no end."""
        lines: list[bytes] = []
        begin = at
        while (found := self._line_end.search(octets, at)) is not None:
            line = octets[at : found.start()]
            at = found.end()
            if self._last_line.fullmatch(line):
                return Content(b"".join(line + b"\r\n" for line in lines)), at
            lines.append(line.removeprefix(b"."))
        return None, begin


STRICT: Final = Reader("strict", rb"\r\n")

LENIENT: Final = (
    Reader("LF is a line end as well", rb"\r?\n"),
    Reader("any of CR, LF and CRLF", rb"\r\n|\r|\n"),
    Reader("CR alone, LF is deleted", rb"\r", dropped=b"\n"),
    Reader("LF alone, CR is deleted", rb"\n", dropped=b"\r"),
    Reader("all CRs before a LF", rb"\r*\n"),
    Reader("LF CR too", rb"\r\n|\n\r|\r|\n"),
    Reader("NUL is deleted", rb"\r?\n", dropped=b"\0"),
    Reader("NUL is deleted, CR is a line end", rb"\r\n|\r|\n", dropped=b"\0"),
    Reader("NUL is a line end", rb"\r\n|[\r\n\0]"),
    Reader("NUL ends what is seen of a line", rb"\r?\n", rb"\.(?:\0.*)?"),
    Reader("NULs around a dot do not count", rb"\r\n|\r|\n", rb"\0*\.\0*"),
    Reader("white space behind a dot does not count", rb"\r?\n", rb"\.[ \t\r\0]*"),
    Reader("CRs behind a dot do not count", rb"\r\n", rb"\.\r*"),
    Reader("the end of data stands anywhere", rb"\r\n", rb"(?:.*[\r\n\0])?\.(?:[\r\n\0].*)?"),
)


def disagreements(octets: bytes) -> list[str]:
    """Names of the lenient readers that read ``octets`` in another way than the strict one."""
    strict = STRICT.read(octets)
    return [reader.name for reader in LENIENT if reader.read(octets) != strict]
