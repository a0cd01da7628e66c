"""A host that mail is handed to, rows 18-24 of the manual: relay targets and the organisations'
own SMTP hosts have this one shape.
"""

from typing import Literal

from gwsmtp.base.endpoint import Endpoint, parse_endpoint
from gwsmtp.config.secret import Secret, SecretText
from gwsmtp.config.setting import Group, setting
from gwsmtp.config.types import (
    SMTP_PORT,
    SMTPS_PORT,
    LineLimit,
    Switch,
    TargetHost,
    Text,
    Whole,
)

Security = Literal["none", "auto", "tls", "ssl"]
Authentication = Literal["none", "auto", "plain", "login", "cram-md5"]


class SmtpTarget(Group):
    """Rows 18-23: where, in which order, how protected, as whom."""

    host: TargetHost = setting(
        row=18,
        title="SMTP Host Server",
        description="Address or host name, with :PORT where it is not 25 (465 with security ssl). "
        "Addresses are looked up, MX records are not.",
    )
    priority: Whole = setting(
        1,
        row=19,
        title="Priority",
        description="1 is tried first; hosts of equal priority take turns.",
        ge=1,
        le=1000,
    )
    security: Security = setting(
        "none",
        row=20,
        title="Security",
        description="none: never TLS. auto: STARTTLS if offered, else in clear. tls: STARTTLS or "
        "defer. ssl: TLS from the first byte.",
    )
    authentication: Authentication = setting(
        "none",
        row=21,
        title="Authentication",
        description="auto: CRAM-MD5, PLAIN, LOGIN in this order as offered, without TLS only "
        "CRAM-MD5. A refused login defers mail, it never bounces it.",
    )
    username: Text = setting(
        "", row=22, title="Username", description="User name to authenticate with."
    )
    password: SecretText = setting(
        Secret(""),
        row=23,
        title="Password",
        description="Password, or file:PATH (first line) or env:NAME to read it from. Never shown "
        "or logged.",
    )

    @property
    def endpoint(self) -> Endpoint:
        """The host with its port, 465 or 25 where none is written."""
        default = SMTPS_PORT if self.security == "ssl" else SMTP_PORT
        return parse_endpoint(self.host, default, names=True)


class RelayTarget(SmtpTarget):
    """A relay for external mail, rows 18-24."""

    line_limit: LineLimit = setting(
        1000,
        row=24,
        title="Line Limit",
        description="Octets per line, CRLF included, sent to this target; longer lines are split. "
        "0: off. Overrides external_delivery.line_limit.",
        ge=0,
        le=1048576,
    )
    in_line: Switch = setting(
        False,
        title="Deliver in line",
        description="Hand mail to this target while the client waits and answer with its reply, "
        "as for hosts of our own. Off: through the queue.",
    )


class SmtpHost(SmtpTarget):
    """An organisation's own SMTP host: as a relay target, but lines pass whole by default."""

    host: TargetHost = setting(
        title="SMTP host",
        description="Address or host name, with :PORT where it is not 25 (465 with security ssl).",
        enforced=True,
    )
    line_limit: LineLimit = setting(
        0,
        title="Line Limit",
        description="Octets per line, CRLF included, sent to this host; 0: off, what goes to our "
        "own hosts arrives byte for byte.",
        ge=0,
        le=1048576,
    )
