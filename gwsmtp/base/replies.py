"""The catalogue: every reply text that is our own (architecture rule 4).

Constants are shared and immutable in practice; factories are for what carries a name or a number.
Text is short, plain, without humour, software version or names of our hosts beyond the banner.
"""

from collections.abc import Iterable

from gwsmtp.base.reply import Reply

# Greeting and session ------------------------------------------------------------------------


def greeting(banner: str) -> Reply:
    """220 with a text that is never empty: GWIA fails on a bare 220 (SETTINGS row 47)."""
    return Reply(220, "", banner)


def helo(host_domain: str) -> Reply:
    """RFC 5321 4.1.1.1: HELO and EHLO replies begin with our domain and have no enhanced code."""
    return Reply(250, "", host_domain)


def ehlo(host_domain: str, keywords: Iterable[str]) -> Reply:
    """The EHLO reply: our domain, then one line a keyword."""
    return Reply(250, "", host_domain, *keywords)


BYE = Reply(221, "2.0.0", "Bye", closes=True)
SHUTTING_DOWN = Reply(421, "4.3.2", "Service closing, try again later", closes=True)
TIMEOUT = Reply(421, "4.4.2", "Timeout, closing connection", closes=True)
DATA_TOO_SLOW = Reply(421, "4.4.2", "Message data too slow, closing connection", closes=True)
TRANSACTION_TOO_LONG = Reply(
    421, "4.4.2", "Transaction took too long, closing connection", closes=True
)
INTERNAL_ERROR = Reply(421, "4.3.0", "Internal error, closing connection", closes=True)
TOO_MUCH_DATA = Reply(421, "4.7.0", "Far more data than allowed, closing connection", closes=True)
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many invalid commands, closing connection", closes=True)
USELESS_COMMANDS = Reply(
    421, "4.7.0", "Too many commands without a message, closing connection", closes=True
)


def too_many_connections(reference: str) -> Reply:
    """Instead of the greeting: a listener is full (rows 11 and 29)."""
    return Reply(421, "4.3.2", f"Too many connections, try again later [{reference}]", closes=True)


def making_room(reference: str) -> Reply:
    """In a session that has been idle for long: its place is given to another client."""
    text = f"Idle too long while places are scarce, try again later [{reference}]"
    return Reply(421, "4.3.2", text, closes=True)


def over_limit(reference: str) -> Reply:
    """Instead of the greeting: too many connections of this client or its network."""
    text = f"Too many connections from your address, try again later [{reference}]"
    return Reply(421, "4.7.0", text, closes=True)


def penalised(reference: str) -> Reply:
    """Instead of the greeting, or in a session: the client is banned for a while."""
    text = f"Refused for a while after misbehaviour [{reference}]"
    return Reply(421, "4.7.0", text, closes=True)


def rate_exceeded(reference: str) -> Reply:
    """MAIL, RCPT or STARTTLS: more of them than the client's rate allows."""
    return Reply(450, "4.7.1", f"Too fast, try again later [{reference}]")


def handshakes_exceeded(reference: str) -> Reply:
    """STARTTLS: more handshakes than the client's rate allows (RFC 3207 4: 454)."""
    return Reply(454, "4.7.0", f"Too many handshakes, try again later [{reference}]")


# Commands ------------------------------------------------------------------------------------

RESET = Reply(250, "2.0.0", "Reset")
NOOP = Reply(250, "2.0.0", "Ok")
VRFY = Reply(252, "2.5.2", "Cannot verify, but will accept mail and try to deliver")
HELP = Reply(214, "2.0.0", "Commands: HELO EHLO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT")
SENDER_OK = Reply(250, "2.1.0", "Sender ok")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient ok")
START_MAIL = Reply(354, "", "End data with <CR><LF>.<CR><LF>")
CHUNK_OK = Reply(250, "2.0.0", "Chunk received")
START_TLS = Reply(220, "2.0.0", "Ready to start TLS")

# Errors of form (SETTINGS 2.3) ---------------------------------------------------------------

UNKNOWN_COMMAND = Reply(500, "5.5.2", "Command not recognized")
LINE_TOO_LONG = Reply(500, "5.5.2", "Command line too long")
BARE_NEWLINE_IN_COMMAND = Reply(500, "5.5.2", "Bare CR or LF; a line ends with <CR><LF>")
NOT_OFFERED = Reply(502, "5.5.1", "Command not offered")
BAD_ARGUMENTS = Reply(501, "5.5.4", "Syntax error in arguments")
NO_ARGUMENTS = Reply(501, "5.5.4", "No arguments allowed")
BAD_HELO = Reply(501, "5.5.4", "Domain or address literal required")
BAD_SENDER = Reply(501, "5.5.4", "Syntax: MAIL FROM:<address> [parameters]")
BAD_RECIPIENT = Reply(501, "5.5.4", "Syntax: RCPT TO:<address> [parameters]")
BAD_PARAMETER = Reply(501, "5.5.4", "Bad value of a parameter")
UNKNOWN_PARAMETER = Reply(555, "5.5.4", "Parameter not recognized or not offered")
SEND_HELO_FIRST = Reply(503, "5.5.1", "Send HELO or EHLO first")
SENDER_ALREADY_GIVEN = Reply(503, "5.5.1", "Sender already given")
NEED_MAIL = Reply(503, "5.5.1", "MAIL needed first")
NEED_RCPT = Reply(503, "5.5.1", "RCPT needed first")
CHUNKS_BEGUN = Reply(503, "5.5.1", "BDAT has begun, send more of it or RSET")
CHUNK_LOST = Reply(503, "5.5.1", "An earlier BDAT was refused, send RSET")
UTF8_NOT_ASKED = Reply(553, "5.6.7", "Address is not ASCII, and MAIL had no SMTPUTF8")
BDAT_UNREADABLE = Reply(
    421, "4.5.4", "Syntax: BDAT size [LAST]; cannot go on without a size", closes=True
)

# TLS (RFC 3207, SETTINGS rows 26 and 42) ------------------------------------------------------

TLS_ACTIVE = Reply(503, "5.5.1", "TLS is active already")
TLS_UNAVAILABLE = Reply(454, "4.7.0", "TLS not available now")
TLS_FAILED = Reply(454, "4.7.0", "TLS handshake failed, try again on a new connection")

# Limits of a message -------------------------------------------------------------------------

MESSAGE_TOO_BIG = Reply(552, "5.3.4", "Message larger than the limit")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients, send the rest in another message")
OTHER_NEXT_HOP = Reply(452, "4.5.3", "Another next hop, send to this recipient separately")
SPOOL_FULL = Reply(452, "4.3.1", "Insufficient system storage, try again later")
BARE_NEWLINE_IN_DATA = Reply(554, "5.6.0", "Message contains bare CR or LF")
MAIL_LOOP = Reply(554, "5.4.6", "Too many hops, mail loop suspected")
DATA_LINE_TOO_LONG = Reply(554, "5.6.0", "Message contains a line that is too long")

# Recipients ----------------------------------------------------------------------------------

HIDDEN_DEFERRED = Reply(450, "4.7.1", "Not now, try again later")
HIDDEN_CLOSED = Reply(421, "4.7.0", "Closing connection", closes=True)
QUEUED = Reply(250, "2.0.0", "Message accepted")
"""We have it on disk and answer for it; always these octets, whoever the recipients are."""
UNKNOWN_MAILBOX = Reply(550, "5.1.1", "Mailbox unknown")
NON_ASCII_ADDRESS = Reply(553, "5.6.7", "Address is not ASCII, and SMTPUTF8 is not possible here")
RECIPIENTS_UNAVAILABLE = Reply(451, "4.4.3", "Recipient cannot be verified now, try again later")


def relay_denied(reference: str) -> Reply:
    """RCPT to a domain that is not hosted, by a client that may not relay (row 61)."""
    return Reply(550, "5.7.1", f"Relaying denied [{reference}]")


# The built-in next hop ------------------------------------------------------------------------


def trial_greeting(host_domain: str) -> Reply:
    """What ``gwsmtp/trial`` greets with: nobody shall take it for a mail server."""
    return Reply(220, "", f"{host_domain} ESMTP gwsmtp trial, for trying out only")


TRIAL_BUSY = Reply(421, "4.3.2", "Too many connections, try again later", closes=True)
FILED = Reply(250, "2.0.0", "Message filed")

# Scanning (rows 5 and the verdicts) ----------------------------------------------------------

SCAN_DELAYED = Reply(451, "4.3.0", "Message cannot be scanned now, try again later")
SCAN_FAILED = Reply(554, "5.3.0", "Message cannot be scanned")
DISCARDED = Reply(250, "2.0.0", "Ok")
"""An engine's verdict "discard": the sender is told nothing else (only an engine asks for it)."""


def content_rejected(text: str, reference: str) -> Reply:
    """An engine's verdict "reject"; ``text`` is already printable."""
    return Reply(554, "5.7.1", f"{text or 'Message refused by content'} [{reference}]")


def content_deferred(text: str, reference: str) -> Reply:
    """An engine's verdict "defer"; ``text`` is already printable."""
    return Reply(451, "4.7.1", f"{text or 'Message deferred by content'} [{reference}]")


# Delivery ------------------------------------------------------------------------------------

DELIVERY_MIXED = Reply(451, "4.3.0", "Recipients answered differently, try again later")
DELIVERY_UNAVAILABLE = Reply(451, "4.3.0", "Next hop not available, try again later")
DELIVERY_LOST = Reply(451, "4.4.2", "Next hop lost, try again later")
DELIVERY_BUSY = Reply(451, "4.4.5", "Next hop busy, try again later")
UTF8_HEADER = Reply(554, "5.6.9", "Header is not ASCII, and the next hop offers no SMTPUTF8")
