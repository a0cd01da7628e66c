"""Organisations and their domains: who is hosted here, and where their mail goes.

A domain is hosted where it stands in the tree. There may be 100,000 of them, so the common form of
a domain (name and ``smtp_host``) is kept small: equal hosts are one shared object.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from gwsmtp.base.netmatch import parse_pattern
from gwsmtp.config.setting import Group, setting
from gwsmtp.config.smtptarget import SmtpHost
from gwsmtp.config.types import DomainName, OuName, Switch, Text, split_lines

_RULES = ("callout", "any")
_FILE = "file:"


def _pattern(text: str) -> str:
    return str(parse_pattern(text))


def _recipients(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str):
        return value
    if value in _RULES:
        return value
    if value.startswith(_FILE) and len(value) > len(_FILE) and "\0" not in value:
        base = (info.context or {}).get("directory", Path.cwd())
        return f"{_FILE}{Path(base) / value[len(_FILE) :]}"
    raise ValueError("must be callout, any or file:PATH")


def _host_row(text: Any, info: ValidationInfo) -> Any:
    """The row that ``smtp_host: text`` stands for; equal texts of one file share it."""
    shared: dict[str, SmtpHost] = (info.context or {}).get("hosts", {})
    if not isinstance(text, str):
        return {"host": text}
    if text not in shared:
        try:
            shared[text] = SmtpHost.model_validate({"host": text})
        except ValidationError:
            return {"host": text}  # validated again in its place, so that the problem is told
    return shared[text]


class Domain(Group):
    """A hosted domain. ``smtp_host`` in the file is short for one row of ``smtp_hosts``."""

    short_forms = ("smtp_host",)

    name: DomainName = setting(
        title="Domain",
        description="The domain's name; international names are kept in A-label form.",
        enforced=True,
    )
    smtp_hosts: tuple[SmtpHost, ...] = setting(
        title="SMTP hosts",
        description="Where the domain's mail goes: rows as external_delivery.relay_targets, or "
        "smtp_host: HOST[:PORT] for a single one. Required.",
        enforced=True,
        min_length=1,
        max_length=64,
    )
    recipients: Annotated[Text, BeforeValidator(_recipients)] = setting(
        "callout",
        title="Recipient validation",
        description="callout: the SMTP host is asked at RCPT. file:PATH: a list of addresses, one "
        "a line; while it cannot be read, delivery.recipients_unavailable holds. any: every "
        "address is taken.",
        enforced=True,
    )
    require_auth: Switch = setting(
        False,
        title="Require AUTH",
        description="Senders of this domain must authenticate (530 5.7.0 at MAIL).",
    )
    auth_exceptions: Annotated[
        tuple[Annotated[Text, AfterValidator(_pattern)], ...], BeforeValidator(split_lines)
    ] = setting(
        (),
        title="AUTH exceptions",
        description="Client addresses (patterns) that need not authenticate.",
    )

    @model_validator(mode="before")
    @classmethod
    def _one_host(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, dict) or "smtp_host" not in value:
            return value
        if "smtp_hosts" in value:
            raise ValueError("takes smtp_host or smtp_hosts, not both")
        value = dict(value)
        value["smtp_hosts"] = (_host_row(value.pop("smtp_host"), info),)
        return value

    @property
    def recipients_file(self) -> Path | None:
        """The list behind ``recipients: file:PATH``, None for the other rules."""
        if self.recipients.startswith(_FILE):
            return Path(self.recipients[len(_FILE) :])
        return None


class Organization(Group):
    """An organisational unit with its domains and the units below it."""

    name: OuName = setting(
        title="Organisation",
        description="Name of the organisation; different from every other one's.",
        enforced=True,
    )
    domains: tuple[Domain, ...] = Field(())
    children: tuple["Organization", ...] = Field(())
