"""The 250 real messages of tests/corpus, and what happens to octets on their way.

Everything here is written for the tests alone, apart from gwsmtp's own code.
"""

import hashlib
import re
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent.parent / "corpus"
_NEWLINES = re.compile(rb"\r\n|[\r\n\x00]")


class CorpusMessage:
    """One file: ``name`` without suffix, ``octets`` as stored (LF), ``wire`` with CRLF."""

    __slots__ = ("name", "octets", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.stem
        self.octets = path.read_bytes()

    @property
    def wire(self) -> bytes:
        """The message as content of SMTP: each LF is CRLF; a bare CR stays one."""
        return self.octets.replace(b"\n", b"\r\n")

    def __repr__(self) -> str:
        return f"CorpusMessage({self.name})"


@cache
def corpus() -> tuple[CorpusMessage, ...]:
    """All messages in the order of their names; fails unless all 250 are there."""
    found = sorted((*_FOLDER.glob("ham/*.eml"), *_FOLDER.glob("spam/*.eml")))
    assert len(found) == 250, f"{len(found)} messages under {_FOLDER} instead of 250"
    return tuple(CorpusMessage(path) for path in found)


def normalised(content: bytes) -> bytes:
    """``content`` by the rule of SETTINGS 2.20: a bare LF becomes CRLF, a stray CR or a NUL one
    blank.
    """
    return _NEWLINES.sub(_normal, content)


def _normal(found: re.Match[bytes]) -> bytes:
    return b"\r\n" if found[0] in (b"\r\n", b"\n") else b" "


def stuffed(content: bytes) -> bytes:
    """``content`` as it goes over the wire, final dot included (RFC 5321 4.5.2); what does not end
    with CRLF gets one.
    """
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    return (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"


def digest(content: bytes) -> str:
    """Enough of SHA-256 to tell two messages apart in a message of failure."""
    return f"{hashlib.sha256(content).hexdigest()[:16]}({len(content)})"


def without_trace(content: bytes) -> tuple[bytes, bytes]:
    """The one Received field a gateway has put first, and the rest; ("", content) if there is
    none. Read loosely: the field's first line and the lines after it that begin with a blank.
    """
    field = re.match(rb"Received:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", content)
    if field is None:
        return b"", content
    return field[0], content[field.end() :]


def first_difference(one: bytes, other: bytes) -> str:
    """Where two contents part, for a message of failure."""
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    if at is None:
        at = min(len(one), len(other))
    around = slice(max(0, at - 40), at + 40)
    return f"lengths {len(one)} and {len(other)}, at {at}: {one[around]!r} / {other[around]!r}"
