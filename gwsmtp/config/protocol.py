"""Protocol, rows 36-56 of the manual: timers, names, limits of the dialogue."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

from gwsmtp.base.endpoint import is_host_name
from gwsmtp.config.setting import Group, setting
from gwsmtp.config.types import HostName, Switch, Text, TextLines, Whole

# RFC 5321 4.1.2, without quoted local parts: nobody's postmaster has one
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@(?P<domain>[^@]+)\Z")
_LITERAL = re.compile(r"\[[0-9A-Za-z:.]+\]\Z")
CLIENT_NAME = "%client%"
MAX_TIMER = 86400
# RFC 5321 4.5.3.2 where it names a figure; the handshake has none there
_RELAXED_NOTE = "With timeout_profile relaxed {} unless set here."


def by_profile(manual: int, relaxed: int) -> Callable[[dict[str, Any]], int]:
    """A timer's default, which depends on ``timeout_profile``; an explicit value always wins."""

    def default(before: dict[str, Any]) -> int:
        return relaxed if before.get("timeout_profile") == "relaxed" else manual

    return default


def timer(row: int, title: str, description: str, manual: int, relaxed: int, enforced: bool) -> Any:
    """A timer of rows 37-46 in seconds."""
    note = f" Seconds; {_RELAXED_NOTE.format(relaxed)}" if relaxed != manual else " Seconds."
    return setting(
        factory=by_profile(manual, relaxed),
        default_text=str(manual),
        row=row,
        title=title,
        description=description + note,
        enforced=enforced,
        ge=1,
        le=MAX_TIMER,
    )


def _banner(text: Any) -> Any:
    # Row 47: control characters are stripped, not refused
    if isinstance(text, str):
        return re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", text).strip()
    return text


def _ascii(text: str) -> str:
    if not text.isascii():
        raise ValueError("must be ASCII")
    return text


def _postmaster(text: str) -> str:
    match = _ADDRESS.match(text)
    if text and (match is None or not is_host_name(match["domain"])):
        raise ValueError("must be an address, such as postmaster@example.com")
    return text


def _helo_name(text: str) -> str:
    if not text or text == CLIENT_NAME or _LITERAL.match(text):
        return text
    if not is_host_name(text):
        raise ValueError(f"must be a host name, an address literal or {CLIENT_NAME}")
    return text.lower().rstrip(".")


class ProtocolGroup(Group):
    """How the dialogue is led, with clients and with next hops."""

    timeout_profile: Literal["manual", "relaxed"] = setting(
        "manual",
        title="Timeout profile",
        description="manual: the manual's short timers. relaxed: values like those of RFC 5321 "
        "4.5.3.2 for every timer that is not set in this file.",
        enforced=True,
    )
    inbound_timeouts: Switch = setting(
        True,
        row=36,
        title="Enable inbound timeouts",
        description="Off: the client and TLS timers below are ignored; a limit of one hour "
        "remains.",
        enforced=True,
    )
    client_connection_timeout: Whole = timer(
        37,
        "Client connection timeout",
        "From the greeting to the first complete command; then 421 4.4.2 and close.",
        15,
        300,
        True,
    )
    client_protocol_timeout: Whole = timer(
        38,
        "Client protocol timeout",
        "From our reply to the next complete command line; then 421 4.4.2 and close.",
        5,
        300,
        True,
    )
    client_data_command_timeout: Whole = timer(
        39,
        "Client DATA command timeout",
        "From the last RCPT's reply to DATA, and from 354 to the first payload byte; then "
        "421 4.4.2 and close.",
        10,
        300,
        True,
    )
    client_data_payload_timeout: Whole = timer(
        40,
        "Client DATA payload timeout",
        "Silence between payload bytes; the message is discarded, 421 4.4.2 and close.",
        10,
        180,
        True,
    )
    tls_negotiation_timeout: Whole = timer(
        41, "TLS negotiation timeout", "The whole TLS handshake of a client.", 15, 60, True
    )
    tls_fail_recovery_timeout: Whole = timer(
        42,
        "TLS fail recovery timeout",
        "After a failed STARTTLS handshake: how long QUIT is still answered before we close.",
        2,
        10,
        True,
    )
    outbound_timeouts: Switch = setting(
        True,
        row=43,
        title="Enable outbound timeouts",
        description="Off: the server timers below are ignored; a limit of 10 minutes a phase "
        "remains.",
        enforced=True,
    )
    server_connection_timeout: Whole = timer(
        44,
        "Server connection timeout",
        "Connect and greeting of a next hop, per address; then the next address, then defer.",
        60,
        300,
        True,
    )
    server_protocol_timeout: Whole = timer(
        45,
        "Server protocol timeout",
        "Each reply of a next hop to a command before DATA; then defer.",
        60,
        300,
        True,
    )
    server_data_timeout: Whole = timer(
        46,
        "Server DATA timeout",
        "The next hop's 354, each write and the final reply; the final reply is given 600 seconds "
        "at least, since giving up early delivers twice.",
        60,
        600,
        True,
    )
    banner: Annotated[Text, BeforeValidator(_banner), AfterValidator(_ascii)] = setting(
        "",
        row=47,
        title="SMTP banner",
        description="Text after 220, best begun with the external host name; blank: host name and "
        "ESMTP.",
        enforced=True,
        max_length=400,
    )
    host_domain: HostName = setting(
        "",
        row=48,
        title="SMTP host domain",
        default_text="the first served domain, else the machine's name",
        description="Our name in replies to EHLO, in our own EHLO, in Received fields and DSNs.",
        enforced=True,
    )
    postmaster_email: Annotated[Text, AfterValidator(_postmaster)] = setting(
        "",
        row=49,
        title="Postmaster email",
        description="Mail to Postmaster without a domain and to postmaster of a hosted domain goes "
        "here and is always accepted; From of DSNs. Blank: postmaster@host_domain if hosted.",
        enforced=True,
    )
    custom_ehlo_responses: TextLines = setting(
        (),
        row=50,
        title="Custom EHLO responses",
        description="Further lines of the reply to EHLO, each a keyword and its parameters; at "
        "most 20 of 200 octets. Keywords we implement, or that change the protocol, are refused.",
        enforced=True,
        max_length=20,
    )
    forwarded_helo_domain: Annotated[Text, AfterValidator(_helo_name)] = setting(
        "",
        row=51,
        title="Forwarded EHLO/HELO domain",
        description="Name we give in EHLO on onward connections; blank: host_domain; %client%: "
        "what the client itself said, where that is a domain or an address literal (connections "
        "are then shared by clients of one name only). Recipients are always asked as host_domain.",
        enforced=True,
    )
    disable_a_record_fallback: Switch = setting(
        False,
        row=52,
        title="Disable A-record fallback",
        description="On: a domain without MX bounces (5.1.2). Off: its address is used, as RFC "
        "5321 5.1 says.",
    )
    smtp_authentication: Switch = setting(
        False,
        row=53,
        title="SMTP Authentication",
        description="Offer AUTH PLAIN and LOGIN, under TLS only; users as in the group auth.",
    )
    enable_size_limit: Switch = setting(
        True,
        row=54,
        title="Enable SIZE limit",
        description="Advertise and enforce size_limit_bytes. Off: only the disk limits.",
        enforced=True,
    )
    size_limit_bytes: Whole = setting(
        40000000,
        row=55,
        title="SIZE limit (bytes)",
        description="Largest message in octets, dots unstuffed; more gets 552 5.3.4. 0: no limit, "
        "the keyword stays.",
        enforced=True,
        ge=0,
        le=2**40,
    )
    noop_interval: Whole = setting(
        30,
        row=56,
        title="NOOP interval",
        description="Seconds between keep-alives on an idle connection to a next hop, at most 10 "
        "in a row; 0: no keep-alive, closed after 5 seconds.",
        ge=0,
        le=3600,
    )
    bare_newline: Literal["normalize", "reject"] = setting(
        "normalize",
        title="Bare newlines",
        description="What a bare LF, CR or NUL in a message becomes. normalize: CRLF, blank, "
        "blank. reject: 554 5.6.0 after the real end.",
        enforced=True,
    )
    data_min_rate: Whole = setting(
        500,
        title="Minimum rate of DATA",
        description="Octets a second below which, over three windows of 30 seconds, a message is "
        "given up with 421 4.4.2; 0: off.",
        enforced=True,
        ge=0,
        le=10**6,
    )
    max_recipients: Whole = setting(
        1000,
        title="Maximum recipients",
        description="Recipients of one message; more get 452 4.5.3. RFC 5321 wants 100 at least.",
        enforced=True,
        ge=100,
        le=100000,
    )
