"""Rules about organisations and their domains (SETTINGS 2.19, rows 4, 82, 88). Reads no names."""

from collections.abc import Iterator
from pathlib import Path

from gwsmtp.config.finding import Finding, Rule, error, warning
from gwsmtp.config.listenrules import all_listeners, listens_on, not_utf8, unreadable
from gwsmtp.config.mailrules import target_findings
from gwsmtp.config.root import Config, walk_organizations
from gwsmtp.config.smtptarget import SmtpHost


def _tree(config: Config) -> Iterator[Finding]:
    if not config.organizations:
        text = "no organisation: everything that is no relay source is refused"
        yield warning("organizations", text)
    names: set[str] = set()
    domains: dict[str, str] = {}
    for path, unit in walk_organizations(config.organizations):
        if unit.name in names:
            yield error((*path, "name"), f"{unit.name} is another organisation's name already")
        names.add(unit.name)
        for index, domain in enumerate(unit.domains):
            if domain.name in domains:
                text = f"{domain.name} is a domain of {domains[domain.name]} already"
                yield error((*path, "domains", index, "name"), text)
            domains.setdefault(domain.name, unit.name)


def _hosts(config: Config) -> Iterator[Finding]:
    seen: set[int] = set()
    files: set[Path] = set()
    for path, unit in walk_organizations(config.organizations):
        for index, domain in enumerate(unit.domains):
            for row, host in enumerate(domain.smtp_hosts):
                if id(host) not in seen:
                    seen.add(id(host))
                    yield from target_findings((*path, "domains", index, "smtp_hosts", row), host)
            file = domain.recipients_file
            if file is not None and file not in files:
                files.add(file)
                problem = unreadable(file) or not_utf8(file)
                if problem:
                    yield warning((*path, "domains", index, "recipients"), problem)


def _loops(config: Config) -> Iterator[Finding]:
    own = all_listeners(config)
    known: dict[int, tuple[SmtpHost, bool]] = {}
    for path, unit in walk_organizations(config.organizations):
        for index, domain in enumerate(unit.domains):
            for host in domain.smtp_hosts:
                if id(host) not in known:
                    known[id(host)] = host, listens_on(host.endpoint, own)
                if known[id(host)][1]:
                    key = (*path, "domains", index, "smtp_host")
                    yield error(key, "is an address this interface listens on: mail would loop")


def _serviced(config: Config) -> Iterator[Finding]:
    known = _names(config)
    for index, name in enumerate(config.interface.serviced_ou_set):
        if name not in known:
            yield error(("interface", "serviced_ou_set", index), f"{name} is no organisation here")


def _tracking(config: Config) -> Iterator[Finding]:
    group = config.message_tracking
    if group.enabled and group.store_in_default_ou and group.default_ou not in _names(config):
        text = f"{group.default_ou} is no organisation here; required by store_in_default_ou"
        yield error("message_tracking.default_ou", text)


def _names(config: Config) -> set[str]:
    return {unit.name for _, unit in walk_organizations(config.organizations)}


def _required_auth(config: Config) -> Iterator[Finding]:
    if config.protocol.smtp_authentication:
        return
    for path, unit in walk_organizations(config.organizations):
        for index, domain in enumerate(unit.domains):
            if domain.require_auth:
                text = "cannot be met while protocol.smtp_authentication is off"
                yield warning((*path, "domains", index, "require_auth"), text)


def _transformation(config: Config) -> Iterator[Finding]:
    hosted = {d.name for _, unit in walk_organizations(config.organizations) for d in unit.domains}
    for index, rule in enumerate(config.address_transformation.definitions):
        target = rule.replace.rpartition("@")[2].lower()
        if rule.match in ("*@*", "*") and "*" not in target and target not in hosted:
            path = ("address_transformation", "definitions", index, "replace")
            yield warning(path, "sends every address to a domain that is not hosted here")


OU_RULES = (
    Rule(_tree, "organizations"),
    Rule(_hosts, "organizations"),
    Rule(_loops, "organizations", "server", "ssl"),
    Rule(_serviced, "organizations", "interface"),
    Rule(_tracking, "organizations", "message_tracking"),
    Rule(_required_auth, "organizations", "protocol"),
    Rule(_transformation, "organizations", "address_transformation"),
)
