"""What a client's octets must have led to, read from those octets and the codes of the replies.

Independent of gwsmtp: the only line end is CRLF, every line has one reply, in order; after a 354
everything up to CRLF.CRLF is payload; after ``BDAT n`` (RFC 3030) n octets are, taken or dropped
before its reply. Which replies are right for a command is not judged here (the dialogs do), only
that what was granted was asked for.
"""

import re
from typing import NamedTuple

from tests.fuzz.reference import normal, payload

LONGEST_LINE = 1200
"""No extension makes a longer command line legal, so no server may keep one."""

_BDAT = re.compile(rb"BDAT +([0-9]{1,18})( +LAST)? *", re.IGNORECASE)
_READ = frozenset({250, 554})
"""A chunk was taken; 554 is how this policy refuses a message it has read to its end."""
_FORGETS = frozenset({b"EHLO", b"HELO", b"RSET"})


class Message(NamedTuple):
    """What was taken for a message: its number of recipients and its content."""

    recipients: int
    content: bytes


class Dialogue:
    """One reading; ``messages`` are those whose end was read, whatever was answered to it."""

    def __init__(self, octets: bytes, codes: list[int], *, is_closed: bool) -> None:
        self.messages: list[Message] = []
        self._rest = octets
        self._codes = codes
        self._next = 0
        self._is_closed = is_closed
        self._has_sender = False
        self._recipients = 0
        self._chunks: list[bytes] = []
        self._read()

    def _read(self) -> None:
        while True:
            line, end, rest = self._rest.partition(b"\r\n")
            if not end:
                self._unfinished_line(line)
                break
            if self._has_ended():
                break
            bdat = _BDAT.fullmatch(line)
            if bdat and len(rest) < int(bdat[1]) and self._next == len(self._codes):
                break  # a chunk is answered when it is whole
            self._rest = rest
            code = self._take(line)
            is_broken = b"\n" in line or b"\r" in line or len(line) > LONGEST_LINE
            if line[:4].upper() == b"BDAT" and not bdat:
                # Nobody knows which octets behind it are a chunk's.
                assert code == 421 and self._is_closed, f"{code} to {line[:100]!r}"
            elif is_broken:
                assert code == 500, f"{code} to the broken line {line[:100]!r}"
            elif code == 354:
                assert line.strip().upper() == b"DATA", f"354 to {line!r}"
                assert self._has_sender, "354 without a sender"
                assert self._recipients, "354 without a recipient"
                assert not self._chunks, "354 between chunks"
                if not self._payload():
                    break
            elif bdat:
                if not self._chunk(code, int(bdat[1]), is_last=bool(bdat[2])):
                    break
            else:
                self._note(line[:4].upper(), code)
        left = self._codes[self._next :]
        assert not left, f"replies that nobody asked for: {left}"

    def _take(self, asked: bytes) -> int:
        assert self._next < len(self._codes), f"no reply to {asked[:100]!r}"
        self._next += 1
        return self._codes[self._next - 1]

    def _has_ended(self) -> bool:
        """A server that has closed owes nothing; what it said last was said before."""
        return self._is_closed and self._next == len(self._codes)

    def _unfinished_line(self, line: bytes) -> None:
        # A broken line may be answered before it ends; one that must not be kept has to be.
        if self._next < len(self._codes):
            code = self._take(line)
            is_broken = b"\n" in line or len(line) > 512
            assert self._is_closed or (code == 500 and is_broken), f"{code} to a part of {line!r}"
        else:
            is_kept = len(line) > LONGEST_LINE and not self._is_closed
            assert not is_kept, f"{len(line)} octets without a line end are waited on"

    def _note(self, verb: bytes, code: int) -> None:
        if code == 250 and verb in _FORGETS:
            self._forget()
        elif code == 250 and verb == b"MAIL":
            assert not self._has_sender, "a second sender in one transaction"
            self._has_sender = True
        elif code == 250 and verb == b"RCPT":
            assert self._has_sender, "a recipient without a sender"
            assert not self._chunks, "a recipient between chunks"
            self._recipients += 1

    def _forget(self) -> None:
        self._has_sender, self._recipients, self._chunks = False, 0, []

    def _payload(self) -> bool:
        found = payload(self._rest)
        if found is None:
            return False
        self._take(b"the end of data")
        self.messages.append(Message(self._recipients, found.content))
        self._rest = found.rest
        self._forget()
        return True

    def _chunk(self, code: int, size: int, *, is_last: bool) -> bool:
        """False when nothing is read any more."""
        if code == 421:
            assert self._is_closed, "421 and still open"
            return False
        chunk, self._rest = self._rest[:size], self._rest[size:]
        assert len(chunk) == size, f"{code} to {len(chunk)} octets of a chunk of {size}"
        if code not in _READ:
            if self._recipients:
                self._forget()  # what was sent before a refused chunk is worthless
            return True
        assert self._recipients, "a chunk taken without a recipient"
        self._chunks.append(chunk)
        if is_last:
            content = normal(b"".join(self._chunks))
            self.messages.append(Message(self._recipients, content))
            self._forget()
        else:
            assert code == 250, "a message refused before its end"
        return True
