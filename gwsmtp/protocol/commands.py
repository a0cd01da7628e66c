"""One command line becomes one event: the verb's syntax, and whether its place is right.

Pure functions of the line, the state and what is offered; the machine that calls them is
``server.ServerProtocol``. RFC 5321 4.1.1 and 4.1.4, RFC 3030 2 (BDAT), RFC 6531 3 (SMTPUTF8).
"""

from collections.abc import Callable
from typing import Final

from gwsmtp.base import replies
from gwsmtp.base.reply import Reply
from gwsmtp.protocol import events
from gwsmtp.protocol.abnf import parse_forward_path, parse_helo_name, parse_reverse_path
from gwsmtp.protocol.events import Event
from gwsmtp.protocol.extensions import HOPELESS_FACTOR, Offer, StartTls
from gwsmtp.protocol.params import mail_event, recipient_event
from gwsmtp.protocol.state import State

CLIENT_HELLO: Final = b"\x16\x03"
"""How TLS begins: a handshake record of any version (RFC 8446 5.1)."""

_Parser = Callable[[str, State, Offer], Event | Reply]
_AFTER_VERB: Final = frozenset({b" ", b""})
_HTTP_VERBS: Final = frozenset((b"GET", b"POST", b"CONNECT"))
_CHUNK_DIGITS: Final = 18
_MOST_OCTETS_DROPPED: Final = 1 << 30
"""A chunk out of place of more octets is not read to its end where there is no SIZE."""
_NO_PARSER: Final[tuple[_Parser | None, int]] = (None, 0)
_IN_CHUNKS: Final = frozenset((State.CHUNKS, State.FAILED))


def parse_command(line: bytes, state: State, offer: Offer, is_utf8: bool) -> Event:
    """The event of a command line without its CRLF; ``is_utf8`` says that the transaction's MAIL
    had SMTPUTF8.
    """
    # Nearly all verbs have four letters; one glued to its argument is no verb.
    parse, start = (_COMMANDS.get(line[:4].upper()), 5) if line[4:5] in _AFTER_VERB else _NO_PARSER
    if parse is None:
        verb = line.partition(b" ")[0]
        parse, start = _LONG_VERBS.get(verb.upper()), len(verb) + 1
    if parse is None:
        return _no_command(line)
    try:
        argument = line[start:].decode("ascii")
    except UnicodeDecodeError:
        return _beyond_ascii(line, state, offer, is_utf8)
    result = parse(argument.strip(" "), state, offer)
    return result if isinstance(result, Event) else events.Invalid(result)


def is_bdat(line: bytes) -> bool:
    """Whether ``line``, be it a command or none, may have meant to announce octets."""
    return line[:4].upper() == b"BDAT"


def _no_command(line: bytes) -> Event:
    verb = line.partition(b" ")[0].upper()
    if verb in _HTTP_VERBS:
        return events.Foreign("HTTP")
    if line.startswith(CLIENT_HELLO):
        return events.Foreign("TLS")
    if is_bdat(line):
        return events.Invalid(replies.BDAT_UNREADABLE)
    if verb in _NOT_OFFERED:
        return events.Invalid(replies.NOT_OFFERED)
    return events.Invalid(replies.UNKNOWN_COMMAND)


def _beyond_ascii(line: bytes, state: State, offer: Offer, is_utf8: bool) -> Event:
    """A command that holds octets above 127: legal in addresses, once SMTPUTF8 was asked for
    (RFC 6531 3.2 and 3.4).
    """
    parse = _INTERNATIONAL.get(line[:4].upper())
    try:
        argument = line[5:].decode("utf-8")
    except UnicodeDecodeError:
        parse = None
    if parse is None:
        return events.Invalid(replies.BDAT_UNREADABLE if is_bdat(line) else replies.BAD_ARGUMENTS)
    result = parse(argument.strip(" "), state, offer)
    if not isinstance(result, Event):
        return events.Invalid(result)
    is_allowed = result.is_utf8 if isinstance(result, events.Mail) else is_utf8
    if not is_allowed and not isinstance(result, events.Verify):
        return events.Invalid(replies.UTF8_NOT_ASKED)
    return result


def _out_of_sequence(state: State) -> Reply:
    """What must come before a command of a transaction (RFC 5321 4.1.4)."""
    if state is State.CONNECTED:
        return replies.SEND_HELO_FIRST
    if state in _IN_CHUNKS:
        return replies.CHUNKS_BEGUN
    return replies.NEED_RCPT if state is State.MAIL else replies.NEED_MAIL


# One function a verb -------------------------------------------------------------------------


def _hello(argument: str, *, is_extended: bool) -> Event | Reply:
    name = parse_helo_name(argument)
    return replies.BAD_HELO if name is None else events.Hello(name, is_extended=is_extended)


def _ehlo(argument: str, state: State, offer: Offer) -> Event | Reply:
    return _hello(argument, is_extended=True)


def _helo(argument: str, state: State, offer: Offer) -> Event | Reply:
    return _hello(argument, is_extended=False)


def _mail(argument: str, state: State, offer: Offer) -> Event | Reply:
    if state is not State.READY and state is not State.FAILED:
        is_early = state is State.CONNECTED
        return replies.SEND_HELO_FIRST if is_early else replies.SENDER_ALREADY_GIVEN
    parsed = parse_reverse_path(argument)
    if parsed is None:
        return replies.BAD_SENDER
    return mail_event(parsed[0], parsed[1], offer)


def _rcpt(argument: str, state: State, offer: Offer) -> Event | Reply:
    if state is not State.MAIL and state is not State.RCPT:
        return _out_of_sequence(state)
    parsed = parse_forward_path(argument)
    if parsed is None:
        return replies.BAD_RECIPIENT
    return recipient_event(parsed[0], parsed[1], offer)


def _data(argument: str, state: State, offer: Offer) -> Event | Reply:
    if argument:
        return replies.NO_ARGUMENTS
    return events.DATA if state is State.RCPT else _out_of_sequence(state)


def _bdat(argument: str, state: State, offer: Offer) -> Event | Reply:
    size, _, mark = argument.partition(" ")
    mark = mark.strip(" ").upper()
    if not size.isdecimal() or len(size) > _CHUNK_DIGITS or mark not in ("", "LAST"):
        return replies.BDAT_UNREADABLE
    octets, limit = int(size), offer.size_limit
    if 0 < HOPELESS_FACTOR * limit < octets:
        return replies.TOO_MUCH_DATA
    if state is State.RCPT or state is State.CHUNKS:
        return events.Bdat(octets, is_last=bool(mark))
    if octets > _MOST_OCTETS_DROPPED and limit <= 0:
        return replies.TOO_MUCH_DATA
    if state is State.FAILED:
        return events.Bdat(octets, is_last=bool(mark))
    return events.Invalid(_out_of_sequence(state), octets)


def _rset(argument: str, state: State, offer: Offer) -> Event | Reply:
    return replies.NO_ARGUMENTS if argument else events.RESET


def _noop(argument: str, state: State, offer: Offer) -> Event | Reply:
    return events.NOOP  # RFC 5321 4.1.1.9: an argument is ignored


def _vrfy(argument: str, state: State, offer: Offer) -> Event | Reply:
    return events.Verify(argument) if argument else replies.BAD_ARGUMENTS


def _help(argument: str, state: State, offer: Offer) -> Event | Reply:
    return events.HELP  # one text, whatever was asked about


def _starttls(argument: str, state: State, offer: Offer) -> Event | Reply:
    if offer.starttls is StartTls.OFF:
        return replies.NOT_OFFERED
    if argument:
        return replies.NO_ARGUMENTS
    if offer.starttls is StartTls.ACTIVE:
        return replies.TLS_ACTIVE
    return replies.SEND_HELO_FIRST if state is State.CONNECTED else events.START_TLS


def _quit(argument: str, state: State, offer: Offer) -> Event | Reply:
    return replies.NO_ARGUMENTS if argument else events.QUIT


_COMMANDS: Final[dict[bytes, _Parser]] = {
    b"EHLO": _ehlo,
    b"HELO": _helo,
    b"MAIL": _mail,
    b"RCPT": _rcpt,
    b"DATA": _data,
    b"BDAT": _bdat,
    b"RSET": _rset,
    b"NOOP": _noop,
    b"VRFY": _vrfy,
    b"HELP": _help,
    b"QUIT": _quit,
}

_INTERNATIONAL: Final = {verb: _COMMANDS[verb] for verb in (b"MAIL", b"RCPT", b"VRFY")}
"""Commands whose arguments may go beyond ASCII."""

_LONG_VERBS: Final[dict[bytes, _Parser]] = {b"STARTTLS": _starttls}

_NOT_OFFERED: Final = frozenset((b"EXPN", b"AUTH", b"ETRN", b"TURN", b"SEND", b"SOML", b"SAML"))
"""Commands of SMTP and its extensions that we know and do not offer (RFC 5321 4.2.4)."""
