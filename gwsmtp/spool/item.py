"""One message on disk: its envelope, its content, and what became of each recipient. Pure.

    gwsmtp-item 1 ENVELOPE TRACE BODY CRC    octets of the three parts, CRC-32 of the first
    {"session_id": ...}                      the envelope, JSON in ASCII
    trace field and body                     as they are sent, without dot-stuffing
                                             an empty line's end
    CRC {"mark": "delivered", ...}           appended: one line an event, each with its CRC-32

What is above the lines never changes. A line that was torn by a crash, or spoiled, is ignored: a
recipient whose "delivered" is unreadable gets the message again, none loses it.
"""

import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from gwsmtp.base.errors import SpoolError

MAX_HEAD_OCTETS: Final = 128
MAX_ENVELOPE_OCTETS: Final = 64 * 1024 * 1024
MAX_TEXT: Final = 400
_HEAD: Final = re.compile(rb"gwsmtp-item 1 (\d{1,9}) (\d{1,9}) (\d{1,18}) ([0-9a-f]{8})\n")
_NO_PARAMETERS: Final[Mapping[str, str]] = {}


class ItemDamaged(SpoolError):
    """A file that is no item, or not a whole one."""


class RecipientState(StrEnum):
    """Where a recipient stands. All but PENDING are final until the item is released."""

    PENDING = "pending"
    DELIVERED = "delivered"
    REFUSED = "refused"
    EXPIRED = "expired"


class Mark(StrEnum):
    """What an appended line says happened: to the recipients it names, or to the whole item."""

    DEFERRED = "deferred"
    DELIVERED = "delivered"
    REFUSED = "refused"
    EXPIRED = "expired"
    HELD = "held"
    RELEASED = "released"


_FINAL: Final = {
    Mark.DELIVERED: RecipientState.DELIVERED,
    Mark.REFUSED: RecipientState.REFUSED,
    Mark.EXPIRED: RecipientState.EXPIRED,
}


@dataclass(slots=True)
class RecipientEntry:
    """One recipient. ``attempts`` counts the tries that failed for now; the next one is due at
    ``next_at``, seconds since the epoch; ``tried_at``, ``hop`` and ``reply`` are the last try's.
    """

    address: str
    state: RecipientState = RecipientState.PENDING
    attempts: int = 0
    tried_at: float = 0.0
    next_at: float = 0.0
    hop: str = ""
    reply: str = ""


@dataclass(slots=True, kw_only=True)
class Envelope:
    """What is known of a message beside its content. Times are seconds since the epoch.

    ``number`` counts the session's messages; ``is_8bit``, ``is_utf8``, ``mail_dsn`` and
    ``rcpt_dsn`` are as ``delivery.attempt.Letter`` wants them. ``reason`` and ``held_at`` are of an
    item in the hold, ``is_headers_only`` of one whose body was not kept. ``queued_at`` is when it
    came into the queue, the last time if more than once.
    """

    session_id: str
    number: int
    client_ip: str
    helo: str
    sender: str
    recipients: tuple[RecipientEntry, ...]
    received_at: float
    is_8bit: bool = False
    is_utf8: bool = False
    mail_dsn: str = ""
    rcpt_dsn: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    is_headers_only: bool = False
    held_at: float = 0.0
    queued_at: float = 0.0

    def pending(self) -> list[int]:
        """The places of the recipients that nothing final is known about."""
        return self.in_state(RecipientState.PENDING)

    def in_state(self, *states: RecipientState) -> list[int]:
        """The places of the recipients in one of ``states``."""
        return [n for n, one in enumerate(self.recipients) if one.state in states]

    def apply(self, line: "StateLine") -> None:
        """Brings the envelope up to date with one line."""
        if line.mark is Mark.HELD:
            self.reason, self.held_at = line.text, line.at
        elif line.mark is Mark.RELEASED:
            self.queued_at = line.at
            for recipient in self.recipients:
                if recipient.state is not RecipientState.DELIVERED:
                    recipient.state = RecipientState.PENDING
                    recipient.attempts, recipient.next_at = 0, 0.0
        for place in line.recipients:
            if 0 <= place < len(self.recipients):
                _apply(self.recipients[place], line)


@dataclass(slots=True)
class StateLine:
    """One appended line: at ``at`` this happened to ``recipients`` (their places; none for what
    concerns the whole item). ``text`` is the reply, the cause or the reason.
    """

    at: float
    mark: Mark
    recipients: Sequence[int] = ()
    next_at: float = 0.0
    hop: str = ""
    text: str = ""


def _apply(recipient: RecipientEntry, line: StateLine) -> None:
    if recipient.state is RecipientState.DELIVERED:
        return  # nothing takes that back
    recipient.tried_at, recipient.hop, recipient.reply = line.at, line.hop, line.text
    if line.mark is Mark.DEFERRED:
        recipient.attempts += 1
        recipient.next_at = line.next_at
    elif line.mark in _FINAL:
        recipient.state = _FINAL[line.mark]


# Octets ------------------------------------------------------------------------------------------


def encode_front(envelope: Envelope, trace_octets: int, body_octets: int) -> bytes:
    """Everything that stands before the trace field."""
    values = {
        "session_id": envelope.session_id,
        "number": envelope.number,
        "client_ip": envelope.client_ip,
        "helo": envelope.helo,
        "sender": envelope.sender,
        "recipients": [[one.address, one.state] for one in envelope.recipients],
        "received_at": envelope.received_at,
        "is_8bit": envelope.is_8bit,
        "is_utf8": envelope.is_utf8,
        "mail_dsn": envelope.mail_dsn,
        "rcpt_dsn": dict(envelope.rcpt_dsn),
        "reason": envelope.reason,
        "is_headers_only": envelope.is_headers_only,
        "held_at": envelope.held_at,
        "queued_at": envelope.queued_at or envelope.received_at,
    }
    packed = json.dumps(values, separators=(",", ":")).encode("ascii") + b"\n"
    crc = zlib.crc32(packed)
    return b"gwsmtp-item 1 %d %d %d %08x\n%b" % (
        len(packed),
        trace_octets,
        body_octets,
        crc,
        packed,
    )


@dataclass(slots=True)
class Head:
    """The first line: how long the parts are, and where they begin."""

    envelope_at: int
    envelope_octets: int
    trace_octets: int
    body_octets: int
    crc: int

    @property
    def trace_at(self) -> int:
        """Where the trace field begins."""
        return self.envelope_at + self.envelope_octets

    @property
    def body_at(self) -> int:
        """Where the body begins."""
        return self.trace_at + self.trace_octets

    @property
    def lines_at(self) -> int:
        """Where the appended lines begin."""
        return self.body_at + self.body_octets + 1


def parse_head(start: bytes) -> Head:
    """The first line of a file; ``start`` is at least MAX_HEAD_OCTETS or all of it. Raises
    ItemDamaged.
    """
    match = _HEAD.match(start)
    if match is None:
        raise ItemDamaged("no item begins so")
    envelope, trace, body = (int(number) for number in match.groups()[:3])
    if envelope > MAX_ENVELOPE_OCTETS:
        raise ItemDamaged("the envelope is too long")
    return Head(match.end(), envelope, trace, body, int(match.group(4), 16))


def parse_envelope(head: Head, packed: bytes) -> Envelope:
    """The envelope as it was written; raises ItemDamaged."""
    if len(packed) != head.envelope_octets or zlib.crc32(packed) != head.crc:
        raise ItemDamaged("the envelope is not what was written")
    try:
        values: dict[str, Any] = json.loads(packed)
        recipients = tuple(
            RecipientEntry(str(address), RecipientState(state))
            for address, state in values.pop("recipients")
        )
        return Envelope(recipients=recipients, **values)
    except (ValueError, TypeError, KeyError, AttributeError) as e:
        raise ItemDamaged(f"the envelope cannot be understood: {e}") from e


def encode_lines(lines: Iterable[StateLine]) -> bytes:
    """Lines ready to be appended."""
    return b"".join(map(_encode_line, lines))


def _encode_line(line: StateLine) -> bytes:
    values: dict[str, object] = {"at": line.at, "mark": line.mark}
    if line.recipients:
        values["n"] = list(line.recipients)
    if line.next_at:
        values["next_at"] = line.next_at
    if line.hop:
        values["hop"] = line.hop
    if line.text:
        values["text"] = line.text[:MAX_TEXT]
    packed = json.dumps(values, separators=(",", ":")).encode("ascii")
    return b"%08x %b\n" % (zlib.crc32(packed), packed)


def parse_lines(data: bytes) -> list[StateLine]:
    """The lines that are whole; torn and spoiled ones are left out."""
    found = []
    for text in data.split(b"\n")[:-1]:
        line = _parse_line(text)
        if line is not None:
            found.append(line)
    return found


def _parse_line(text: bytes) -> StateLine | None:
    crc, _, packed = text.partition(b" ")
    if crc != b"%08x" % zlib.crc32(packed):
        return None
    try:
        values = json.loads(packed)
        return StateLine(
            at=float(values["at"]),
            mark=Mark(values["mark"]),
            recipients=tuple(int(place) for place in values.get("n", ())),
            next_at=float(values.get("next_at", 0)),
            hop=str(values.get("hop", "")),
            text=str(values.get("text", "")),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # a newer version's
