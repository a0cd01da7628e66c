"""The hosted domains of a configuration, with their lists of recipients read.

Called once by each worker and queue at its start; blocks on the disk.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from typing import Final

from gwsmtp.base.quoting import quoted
from gwsmtp.config.organizations import Domain, Organization
from gwsmtp.directory.domains import HostedDomain, RecipientRule, SmtpHost
from gwsmtp.protocol.abnf import parse_forward_path

log = logging.getLogger(__name__)

_COMMENT: Final = re.compile(r"(?:^|\s)#")
_HAS_DOMAIN: Final = re.compile(r'@[^"]*$')
_PLAIN_ADDRESS: Final = re.compile(r"[\w.+=&'/~-]+@[A-Za-z0-9.-]+", re.ASCII)


def hosted_domains(
    organizations: Sequence[Organization], above: str = "", *, with_lists: bool = True
) -> Iterator[HostedDomain]:
    """All domains of a tree of organisations; reads their lists of recipients, or takes any
    recipient for good where only hosts are wanted.
    """
    for organization in organizations:
        path = f"{above}/{organization.name}" if above else organization.name
        for domain in organization.domains:
            yield _hosted_domain(domain, path, with_lists=with_lists)
        yield from hosted_domains(organization.children, path, with_lists=with_lists)


def _hosted_domain(domain: Domain, organization: str, *, with_lists: bool) -> HostedDomain:
    hosts = tuple(
        SmtpHost(row.endpoint.host, row.endpoint.port, row.priority) for row in domain.smtp_hosts
    )
    if not with_lists:
        return HostedDomain(domain.name, organization, hosts, RecipientRule.ANY)
    if domain.recipients_file is not None:
        known = _addresses(domain)
        return HostedDomain(domain.name, organization, hosts, RecipientRule.LIST, known)
    return HostedDomain(domain.name, organization, hosts, RecipientRule(domain.recipients))


def _addresses(domain: Domain) -> frozenset[str] | None:
    """The list behind ``recipients: file:PATH``; None where it cannot be read: one domain's list
    must not keep all others' mail out.
    """
    path = domain.recipients_file
    if path is None:
        return frozenset()
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        log.error("event=recipients_unreadable domain=%s cause=%s", domain.name, quoted(str(e)))
        return None
    known, bad = recipients_of(text, domain.name)
    if bad:
        log.warning("event=recipients_ignored domain=%s lines=%d", domain.name, bad)
    return known


def recipients_of(text: str, domain: str) -> tuple[frozenset[str], int]:
    """The keys of a list of recipients, and how many lines are no address.

    One address, or local part, a line; ``#`` begins a comment at the beginning of a line and
    behind a blank: it is legal in a local part.
    """
    known: set[str] = set()
    bad = 0
    for line in text.split("\n"):
        word = _COMMENT.split(line, 1)[0].strip()
        if not word:
            continue
        address = word if _HAS_DOMAIN.search(word) else f"{word}@{domain}"
        if _PLAIN_ADDRESS.fullmatch(address):  # 100,000 of them are read at a start
            known.add(address.lower())
        elif parsed := parse_forward_path(f"TO:<{address}>"):
            known.add(parsed[0].key)
        else:
            bad += 1
    return frozenset(known), bad
