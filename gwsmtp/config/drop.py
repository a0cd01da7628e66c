"""Connection Drop Services, rows 66-79 of the manual: tests of a client and their refusals."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from gwsmtp.base.endpoint import parse_service_address
from gwsmtp.base.netmatch import parse_pattern
from gwsmtp.config.setting import Group, setting
from gwsmtp.config.types import DomainName, Switch, Text, Whole, split_lines

REPUTATION_PORT = 8080
LOCAL_REPUTATION = "127.0.0.1"
DelayState = Literal["no-delay", "helo", "starttls", "mail", "rcpt", "data"]


def _ipv4_pattern(text: str) -> str:
    pattern = parse_pattern(text)
    if pattern.version != 4 or not str(pattern).startswith("127."):
        raise ValueError("must be an address or network in 127.0.0.0/8")
    return str(pattern)


def _rejected(text: str) -> str:
    return str(parse_pattern(text))


def _reputation(text: str) -> str:
    if text == LOCAL_REPUTATION:
        return text
    return str(parse_service_address(text, REPUTATION_PORT))


def _zone_row(value: Any) -> Any:
    return {"zone": value} if isinstance(value, str) else value


class RblServer(Group):
    """A list; a plain text in the file is a row with only its zone."""

    zone: DomainName = setting(row=70, title="RBL Server", description="DNS zone of the list.")
    weight: Whole = setting(
        1,
        title="Weight",
        description="Weight of a hit; 1 suffices for rbl.hit_action, 0 is only noted.",
        ge=0,
        le=100,
    )
    answers: Annotated[
        tuple[Annotated[Text, AfterValidator(_ipv4_pattern)], ...], BeforeValidator(split_lines)
    ] = setting(
        (),
        title="Answers",
        description="Answers in 127.0.0.0/8 that count as a hit; empty: all but 127.0.0.1 and "
        "127.255.255.*, which are errors.",
    )


class RblGroup(Group):
    """DNS lists of client addresses."""

    enabled: Switch = setting(
        True,
        row=68,
        title="Enable RBL",
        description="Ask DNS lists about the client's address.",
    )
    servers: Annotated[
        tuple[Annotated[RblServer, BeforeValidator(_zone_row)], ...], BeforeValidator(split_lines)
    ] = setting(
        (RblServer(zone="sbl-xbl.spamhaus.org"), RblServer(zone="bl.spamcop.net")),
        row=69,
        title="RBL server configuration",
        description="Rows of the setting RBL Server (70): a zone, or {zone, weight, answers}. "
        "Spamhaus now promotes zen.spamhaus.org; it refuses queries through public resolvers.",
        max_length=32,
    )
    skip_local_ip: Switch = setting(
        True,
        row=71,
        title="Skip Local IP",
        description="No query for loopback, private, link-local and own addresses.",
    )
    hit_action: Literal["reject", "delay"] = setting(
        "delay",
        row=72,
        title="RBL hit action",
        description="reject: 554 5.7.1 and close. delay: 421 4.7.1 and close.",
    )


class IpReputationGroup(Group):
    """A service that answers accept, tempfail or permfail; no answer counts as accept."""

    enabled: Switch = setting(
        True,
        row=73,
        title="Enable IP reputation service",
        description="Ask the reputation service about the client's address.",
    )
    reject_match: Switch = setting(
        True,
        row=74,
        title="Reject IP reputation match",
        description="permfail: 554 5.7.1 and close. Off: only noted.",
    )
    tempfail_4xx: Switch = setting(
        True,
        row=75,
        title="4xx on IP reputation tmpfail",
        description="tempfail: 421 4.7.1 and close. Off: 554 with reject_match, else accepted.",
    )
    host_address: Annotated[Text, AfterValidator(_reputation)] = setting(
        LOCAL_REPUTATION,
        row=76,
        title="IP reputation host address",
        description="HOST[:PORT] (8080) or unix:/PATH of the service. Left at 127.0.0.1 the worker "
        "answers from local files itself.",
    )


class SpfGroup(Group):
    """SPF of the MAIL FROM identity."""

    enabled: Switch = setting(
        False,
        row=77,
        title="Enable SPF",
        description="fail: 550 5.7.23 and close; every other result is accepted and noted.",
    )
    softfail_as_fail: Switch = setting(
        False,
        row=78,
        title="Treat ~all as -all",
        description="The result softfail is handled as fail. Needs spf.enabled.",
    )


class ConnectionDropGroup(Group):
    """Tests of a client, and when a refusal is spoken."""

    delayed_rejection_state: DelayState = setting(
        "no-delay",
        row=66,
        title="Delayed rejection state",
        description="Reply that speaks a refusal of the tests below: no-delay (the greeting), "
        "helo, starttls, mail, rcpt or data. With several organisations: data.",
    )
    report_rejections: Switch = setting(
        True,
        row=67,
        title="Report rejections to SMTP",
        description="The client gets code, address and reason. Off: close without a reply; senders "
        "see a network fault and bounce late.",
    )
    rbl: RblGroup = Field(default_factory=RblGroup)
    ip_reputation: IpReputationGroup = Field(default_factory=IpReputationGroup)
    spf: SpfGroup = Field(default_factory=SpfGroup)
    rejected_addresses: Annotated[
        tuple[Annotated[Text, AfterValidator(_rejected)], ...], BeforeValidator(split_lines)
    ] = setting(
        (),
        row=79,
        title="IP address rejection",
        description="Client addresses (patterns) that get 554 5.7.1, one per line, # comments "
        "allowed; wins over every exemption.",
        max_length=100000,
    )
    budget: Whole = setting(
        5,
        title="Time for all tests",
        description="Seconds that all tests of a client may take together; unknown by then is "
        "accepted.",
        ge=1,
        le=60,
    )
