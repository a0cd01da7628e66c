"""Denial of Service Protection, row 86 of the manual, with the thresholds behind its one switch."""

from typing import Annotated, Literal

from pydantic import Field

from gwsmtp.config.setting import Group, setting
from gwsmtp.config.types import Ratio, Switch, Whole

Mode = Literal["enforce", "shadow", "off"]
_MODE = "enforce: refuse. shadow: count and report what would have been refused. off: neither."
_MOST = 10**6


def _limit(default: int, what: str, least: int = 1, *, enforced: bool = True) -> int:
    value: int = setting(
        default, title="Limit", description=what, enforced=enforced, ge=least, le=_MOST
    )
    return value


def _burst(default: int, what: str = "How many may come at once.", *, enforced: bool = True) -> int:
    value: int = setting(
        default, title="Burst", description=what, enforced=enforced, ge=0, le=_MOST
    )
    return value


def _mode(default: Mode, *, enforced: bool = True) -> Mode:
    value: Mode = setting(default, title="Mode", description=_MODE, enforced=enforced)
    return value


class ConcurrencyLimit(Group):
    """Connections of one client at one time."""

    limit: Whole = _limit(0, "At one time; 0: a tenth of the listener's, at least 10.", 0)
    burst: Whole = _burst(0, "Not used: concurrency has no rate.")
    mode: Mode = _mode("enforce")


class RateLimit(Group):
    """Connections, messages or TLS handshakes of one client."""

    limit: Whole = _limit(300, "How many a minute.")
    burst: Whole = _burst(100)
    mode: Mode = _mode("shadow")


class RecipientLimit(Group):
    """Recipients of one client."""

    limit: Whole = _limit(1200, "How many a minute.")
    burst: Whole = _burst(400)
    mode: Mode = _mode("shadow")


class AuthFailureLimit(Group):
    """Failed authentications; over it AUTH answers 454 4.7.0, nothing else changes."""

    limit: Whole = _limit(5, "Failures in 10 minutes per client and user name.", enforced=False)
    burst: Whole = _burst(
        20, "Failures in 10 minutes per client, all user names together.", enforced=False
    )
    mode: Mode = _mode("enforce", enforced=False)


class LimitsGroup(Group):
    """Per client (IPv4 address, IPv6 /64); four times as much for networks and known senders."""

    concurrency: ConcurrencyLimit = Field(default_factory=ConcurrencyLimit)
    connections: RateLimit = Field(default_factory=RateLimit)
    messages: RateLimit = Field(default_factory=RateLimit)
    recipients: RecipientLimit = Field(default_factory=RecipientLimit)
    tls_handshakes: RateLimit = Field(default_factory=RateLimit)
    auth_failures: AuthFailureLimit = Field(default_factory=AuthFailureLimit)


def _points(default: int, what: str, *, enforced: bool = True) -> int:
    value: int = setting(
        default, title=f"Points: {what}", description="Points.", enforced=enforced, ge=0, le=100
    )
    return value


def _score(default: int, title: str, effect: str) -> int:
    value: int = setting(default, title=title, description=effect, enforced=True, ge=1, le=1000)
    return value


class OffencesGroup(Group):
    """What a client's misbehaviour costs it, and from which score on what happens."""

    early_talk: Whole = _points(10, "talks before the greeting")
    foreign_protocol: Whole = _points(20, "HTTP or TLS on the plain port")
    unknown_command: Whole = _points(2, "unknown command")
    syntax_error: Whole = _points(1, "syntax or sequence error")
    idle_command: Whole = _points(1, "NOOP, RSET or VRFY beyond 20 each")
    relay_attempt: Whole = _points(3, "relay attempt")
    bad_recipient: Whole = _points(2, "new distinct unknown recipient")
    auth_failure: Whole = _points(4, "failed authentication", enforced=False)
    bare_newline: Whole = _points(1, "bare LF or CR")
    unasked_pipelining: Whole = _points(5, "bytes after the end of data without PIPELINING")
    failed_handshake: Whole = _points(1, "failed TLS handshake")
    slow_data: Whole = _points(3, "DATA too slow")
    malware: Whole = _points(10, "malware verdict")
    spam: Whole = _points(2, "spam verdict")
    clean_message: Whole = _points(3, "taken off for an accepted clean message")
    half_life: Whole = setting(
        600,
        title="Half-life of the score",
        description="Seconds in which a score falls to its half.",
        enforced=True,
        ge=10,
        le=86400,
    )
    delay_at: Whole = _score(10, "Delay from", "Score from which replies are delayed 1-4 s.")
    restrict_at: Whole = _score(
        20, "Restrict from", "Score from which one connection at a time is left."
    )
    ban_at: Whole = _score(40, "Ban from", "Score from which connections get 421 4.7.0.")
    ban_time: Whole = setting(
        600,
        title="First ban",
        description="Seconds of the first ban; each further one lasts twice as long.",
        enforced=True,
        ge=10,
        le=86400,
    )
    ban_time_max: Whole = setting(
        86400,
        title="Longest ban",
        description="Seconds of the longest ban.",
        enforced=True,
        ge=10,
        le=604800,
    )
    strike_fade: Whole = setting(
        21600,
        title="Strike fades after",
        description="Seconds without a new one after which a strike is forgotten.",
        enforced=True,
        ge=60,
        le=2592000,
    )


class DosProtectionGroup(Group):
    """The manual's one switch, and what it switches."""

    enabled: Switch = setting(
        True,
        row=86,
        title="Enable DoS functionality",
        description="Act on limits and offences. Off: counting goes on, nothing acts.",
        enforced=True,
    )
    limits: LimitsGroup = Field(default_factory=LimitsGroup)
    offences: OffencesGroup = Field(default_factory=OffencesGroup)
    kernel_shedding: Switch = setting(
        True,
        title="Kernel shedding",
        description="Drop the packets of clients with two bans or more that go on while banned, 10 "
        "connections in a minute; not with PROXY protocol sources, and off where the kernel "
        "refuses it (the master is not root).",
        enforced=True,
    )
    reserve: Annotated[Ratio, Field(ge=0, le=0.5)] = setting(
        0.1,
        title="Reserve",
        description="Share of the connections kept, under pressure, for relay sources and known "
        "senders; at least 4, at most half; 0: none.",
        enforced=True,
    )
