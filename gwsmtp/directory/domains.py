"""Hosted domains by name. Plain values, no I/O; built once per worker from the configuration.

A domain is hosted where it stands in the tree of organisations (SETTINGS 2.19). Names compare in
lower case; a trailing dot does not occur (the grammar refuses it).
"""

from collections.abc import Iterable
from enum import StrEnum


class SmtpHost:
    """One SMTP host of a domain: where its mail goes. ``priority`` 1 is tried first; ``name`` is
    host and port, the same for the same next hop.
    """

    __slots__ = ("host", "name", "port", "priority")

    def __init__(self, host: str, port: int, priority: int = 1) -> None:
        self.host = host
        self.port = port
        self.priority = priority
        self.name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def __str__(self) -> str:
        return self.name


class RecipientRule(StrEnum):
    """How a recipient of a hosted domain is validated."""

    CALLOUT = "callout"
    LIST = "list"
    ANY = "any"


class HostedDomain:
    """A domain that is served here. ``known`` holds ``Mailbox.key`` strings under rule LIST,
    None where the list cannot be read.
    """

    __slots__ = ("hosts", "known", "name", "organization", "rule")

    def __init__(
        self,
        name: str,
        organization: str,
        hosts: tuple[SmtpHost, ...],
        rule: RecipientRule,
        known: frozenset[str] | None = frozenset(),
    ) -> None:
        self.name = name
        self.organization = organization
        self.hosts = hosts
        self.rule = rule
        self.known = known


class Directory:
    """All hosted domains of one interface."""

    __slots__ = ("_domains",)

    def __init__(self, domains: Iterable[HostedDomain]) -> None:
        self._domains = {domain.name.lower(): domain for domain in domains}

    def __len__(self) -> int:
        return len(self._domains)

    def hosted(self, domain: str) -> HostedDomain | None:
        """The domain of that name (lower case) if it is hosted here."""
        return self._domains.get(domain)
