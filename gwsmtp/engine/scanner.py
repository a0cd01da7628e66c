"""Looks for the rules' strings in a message, in plain and inside base64 and quoted-printable.

The order is one of cost. A string of 68 octets is found or not at 5 GB/s, so plain text comes
first. Only where the header says ``Content-...`` and an encoding is named somewhere are the
encodings looked at, and still without parsing: every base64 run holds a given string in one of
three spellings once all that is no base64 is deleted, and quoted-printable can be decoded as a
whole. Only when that finds something is the message parsed (36 µs for 4 KB, 169 µs for average
mail), to tell an encoded part from a letter that merely quotes one. What the parser cannot take
(any exception, endless nesting) is judged by the search alone.

Contract: pure computation on octets; a Scanner has no state, so threads may share it. ``scan`` of
a long body works in portions of 1 MiB, between which other threads run.

Limits: a test-string rule, no virus scanner: one layer of encoding, no archives.
"""

import logging
from base64 import b64encode
from binascii import a2b_qp
from collections.abc import Callable, Iterable
from email import message_from_bytes
from email.message import Message
from itertools import product

from gwsmtp.engine.rules import BUILT_IN, Rule

log = logging.getLogger(__name__)

_PORTION = 1024 * 1024
_OVERLAP = 4096  # more than any rule's string takes up when encoded
_MAX_HEADER = 256 * 1024
_MAX_PARSED = 64 * 1024 * 1024
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64 = bytes(octet for octet in range(256) if octet not in _BASE64)
_ENCODINGS = (b"base64", b"quoted-printable")


class Scanner:
    """See the module."""

    def __init__(self, rules: Iterable[Rule] = BUILT_IN) -> None:
        self._rules = tuple(rules)
        self._plain = tuple((rule.needle, rule) for rule in self._rules)
        self._encoded = tuple(
            (base64_spelling(rule.needle, offset), rule)
            for rule, offset in product(self._rules, range(3))
        )

    def scan(self, body: bytes) -> Rule | None:
        """The rule that ``body`` meets, the first of the list if several."""
        if len(body) > _PORTION + _OVERLAP:
            return self.scan_portions(lambda offset, size: body[offset : offset + size], len(body))
        for needle, rule in self._plain:
            if needle in body:
                return rule
        if not _has_mime(body):
            return None
        suspect = self._suspect(body, _encodings(body))
        return None if suspect is None else self._confirm(body, suspect)

    def scan_portions(self, read: Callable[[int, int], bytes], size: int) -> Rule | None:
        """The same for ``size`` octets that ``read(offset, size)`` gives piece by piece."""
        suspect: Rule | None = None
        has_mime = False
        encodings: frozenset[bytes] = frozenset()
        for offset in range(0, size, _PORTION):
            portion = read(offset, min(_PORTION + _OVERLAP, size - offset))
            for needle, rule in self._plain:
                if needle in portion:
                    return rule
            if not offset:
                has_mime = _has_mime(portion)
            if has_mime and suspect is None:
                encodings |= _encodings(portion)
                suspect = self._suspect(portion, encodings)
        if suspect is None or size > _MAX_PARSED:
            return suspect
        return self._confirm(read(0, size), suspect)

    def _suspect(self, text: bytes, encodings: frozenset[bytes]) -> Rule | None:
        if b"base64" in encodings:
            squeezed = text.translate(None, _NOT_BASE64)
            for needle, rule in self._encoded:
                if needle in squeezed:
                    return rule
        if b"quoted-printable" in encodings:
            decoded = a2b_qp(text)
            for needle, rule in self._plain:
                if needle in decoded:
                    return rule
        return None

    def _confirm(self, body: bytes, suspect: Rule) -> Rule | None:
        try:
            return self._search_parts(message_from_bytes(body), suspect)
        except Exception as error:  # the standard library's parser promises nothing on bad input
            log.info("event=mime_unparsable error=%s rule=%s", type(error).__name__, suspect.name)
            return suspect

    def _search_parts(self, message: Message, suspect: Rule) -> Rule | None:
        for part in message.walk():
            encoding = str(part.get("content-transfer-encoding", "")).strip().lower()
            if encoding.encode("ascii", "replace") not in _ENCODINGS:
                continue
            if part.is_multipart():
                # RFC 2045 6.4 forbids it, mail programs decode it, the parser does not.
                return suspect
            payload = part.get_payload(decode=True)
            if not isinstance(payload, bytes):
                continue
            for needle, rule in self._plain:
                if needle in payload:
                    return rule
        return None


def base64_spelling(needle: bytes, offset: int) -> bytes:
    """What every base64 text has in common that contains ``needle`` ``offset`` octets (0 to 2)
    behind a multiple of three: the characters that depend on nothing else.
    """
    first = -(-offset * 8 // 6)
    behind_last = (offset + len(needle)) * 8 // 6
    return b64encode(bytes(offset) + needle)[first:behind_last]


def _encodings(text: bytes) -> frozenset[bytes]:
    """The encodings that are named anywhere in ``text``, most often none."""
    lowered = text.lower()
    return frozenset([name for name in _ENCODINGS if name in lowered])


def _has_mime(start: bytes) -> bool:
    end = start.find(b"\r\n\r\n", 0, _MAX_HEADER)
    return b"content-" in start[: end if end >= 0 else _MAX_HEADER].lower()
