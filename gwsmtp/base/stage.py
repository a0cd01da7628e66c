"""The places of a session, spelled as the log's ``after=`` and as SETTINGS row 66 spells them."""

from enum import StrEnum


class Stage(StrEnum):
    """The last thing a client did; members are in the order of a session's life."""

    CONNECT = "CONNECT"
    HELO = "HELO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    END_OF_DATA = "END-OF-DATA"
    RSET = "RSET"
    QUIT = "QUIT"
