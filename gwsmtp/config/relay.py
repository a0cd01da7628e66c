"""Relay/Host Protection, rows 61-65 of the manual: who may send to domains not hosted here."""

from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from gwsmtp.base.netmatch import AddressPattern, parse_pattern
from gwsmtp.config.setting import Group, setting
from gwsmtp.config.types import Switch, Text, split_lines

SHIPPED_SOURCES = ("127.0.0.1", "10.*", "172.16.0.0/12", "192.168.*")


class RelaySource(Group):
    """A row of allowed sources; a plain text in the file is a row with only its pattern."""

    pattern: Text = setting(
        title="Allowed relay source",
        description="Address, network (10.0.0.0/8) or 10.*; the most specific row wins.",
    )
    allow_relay: Switch = setting(
        True,
        row=63,
        title="Allow Relay",
        description="Clients of this row may send to domains that are not hosted here.",
    )
    skip_connection_tests: Switch = setting(
        True,
        row=64,
        title="Skip Connection Tests",
        description="Clients of this row skip RBL, IP reputation, SPF, DoS protection and address "
        "hiding; never rejected_addresses, SIZE or the scan.",
    )
    any_sender: Switch = setting(
        True,
        title="Any sender",
        description="Relaying is not tied to a hosted sender domain (or the null sender). Off in "
        "the shipped default rows, since behind NAT every client looks local.",
    )
    everybody: Switch = setting(
        False,
        title="Everybody confirmed",
        description="Confirms that a pattern which covers every client (* or /0) is meant.",
    )

    @model_validator(mode="after")
    def _good_pattern(self) -> "RelaySource":
        parse_pattern(self.pattern, everybody=self.everybody)
        return self

    @property
    def parsed(self) -> AddressPattern:
        """The pattern as a value."""
        return parse_pattern(self.pattern, everybody=True)


def _row(value: Any) -> Any:
    return {"pattern": value} if isinstance(value, str) else value


class RelayProtectionGroup(Group):
    """Without a right here a recipient that is not hosted gets 550 5.7.1."""

    restrict_relaying: Switch = setting(
        True,
        row=61,
        title="Restrict relaying",
        description="Off makes an open relay: anybody may send to anywhere.",
    )
    allowed_sources: Annotated[
        tuple[Annotated[RelaySource, BeforeValidator(_row)], ...], BeforeValidator(split_lines)
    ] = setting(
        tuple(RelaySource(pattern=pattern, any_sender=False) for pattern in SHIPPED_SOURCES),
        row=62,
        title="Allowed relay sources",
        description="Client addresses with rights of their own, a pattern or the keys below each.",
        max_length=10000,
    )
    allow_relay_if_authenticated: Switch = setting(
        False,
        row=65,
        title="Allow relay if authenticated",
        description="Authenticated clients may relay; their pending IP verdicts are forgotten. "
        "Needs protocol.smtp_authentication.",
    )
