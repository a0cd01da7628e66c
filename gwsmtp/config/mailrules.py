"""Rules about the dialogue, delivery and scanning (SETTINGS rows 5, 16-24, 46-55, 87)."""

import re
from collections.abc import Iterator

from gwsmtp.base.endpoint import is_host_name
from gwsmtp.config.finding import Finding, Rule, error, warning
from gwsmtp.config.listenrules import all_listeners, listens_on, unreadable
from gwsmtp.config.root import Config, served_domains
from gwsmtp.config.smtptarget import SmtpTarget
from gwsmtp.config.yamltext import Path

EMBEDDED_ENGINE = "embedded"
MAX_EHLO_LINE = 200
_EHLO_LINE = re.compile(r"(?P<keyword>[A-Za-z0-9][A-Za-z0-9-]*)(?: [\x21-\x7e]+)*\Z")
# fmt: off
_IMPLEMENTED = frozenset((
    "SIZE", "STARTTLS", "AUTH", "8BITMIME", "PIPELINING", "CHUNKING", "ENHANCEDSTATUSCODES", "DSN",
    "SMTPUTF8", "HELP",
))
# A client would use what these announce, and its mail would fail
_CHANGES_PROTOCOL = frozenset((
    "BINARYMIME", "BURL", "XCLIENT", "XFORWARD", "ETRN", "ATRN", "TURN", "VERB", "DELIVERBY",
    "MT-PRIORITY", "FUTURERELEASE", "REQUIRETLS", "LIMITS",
))
# fmt: on


def target_findings(path: Path, target: SmtpTarget) -> Iterator[Finding]:
    """Rows 20-23 of one target."""
    if target.authentication == "none":
        if target.username or target.password:
            yield warning((*path, "authentication"), "is none: the username is not used")
        return
    if not target.username:
        yield error((*path, "username"), "is required where authentication is not none")
    if target.authentication in ("plain", "login") and target.security in ("none", "auto"):
        word = "crosses" if target.security == "none" else "may cross"
        yield warning((*path, "authentication"), f"the password {word} the network in clear")


def _relays(config: Config) -> Iterator[Finding]:
    group = config.external_delivery
    if group.use_relay_server and not group.relay_targets:
        yield error("external_delivery.use_relay_server", "needs relay_targets")
    if group.relay_targets and not group.use_relay_server:
        yield warning("external_delivery.relay_targets", "not used while use_relay_server is off")
    for index, target in enumerate(group.relay_targets):
        yield from target_findings(("external_delivery", "relay_targets", index), target)


def _relay_loops(config: Config) -> Iterator[Finding]:
    own = all_listeners(config)
    for index, target in enumerate(config.external_delivery.relay_targets):
        if listens_on(target.endpoint, own):
            path = ("external_delivery", "relay_targets", index, "host")
            yield error(path, "is an address this interface listens on: mail would loop")


def _names(config: Config) -> Iterator[Finding]:
    group = config.protocol
    first = group.banner.split(" ", 1)[0]
    if first and not ("." in first and is_host_name(first)):
        yield warning("protocol.banner", "the first word should be a full host name")
    if group.host_domain and "." not in group.host_domain:
        yield warning("protocol.host_domain", "is no full host name")


def _postmaster(config: Config) -> Iterator[Finding]:
    address = config.protocol.postmaster_email
    domain = address.rpartition("@")[2].lower()
    if address and all(domain != served.name for served in served_domains(config)):
        text = f"{domain} is not hosted here: mail to Postmaster is deferred until it can be queued"
        yield warning("protocol.postmaster_email", text)


def _ehlo(config: Config) -> Iterator[Finding]:
    for index, line in enumerate(config.protocol.custom_ehlo_responses):
        path = ("protocol", "custom_ehlo_responses", index)
        match = _EHLO_LINE.match(line)
        if match is None or len(line) > MAX_EHLO_LINE:
            text = f"must be a keyword and parameters, printable ASCII, {MAX_EHLO_LINE} at most"
            yield error(path, text)
            continue
        keyword = match["keyword"].upper()
        if keyword in _IMPLEMENTED:
            yield error(path, f"{keyword} is an extension we implement; it cannot be announced so")
        elif keyword in _CHANGES_PROTOCOL:
            yield error(path, f"{keyword} changes the protocol and is not implemented")


def _authentication(config: Config) -> Iterator[Finding]:
    group = config.protocol
    if not group.smtp_authentication:
        return
    if not (config.ssl.enable_tls or config.ssl.enabled):
        yield warning("protocol.smtp_authentication", "AUTH is offered under TLS only: enable it")
    if config.auth.backend == "file":
        if config.auth.file is None:
            yield error("auth.file", "is required for smtp_authentication with backend file")
        elif unreadable(config.auth.file):
            yield warning("auth.file", unreadable(config.auth.file))


def _scan(config: Config) -> Iterator[Finding]:
    names: set[str] = set()
    for index, engine in enumerate(config.scan.engines):
        if engine.name in names:
            yield error(("scan", "engines", index, "name"), "is another engine's name already")
        names.add(engine.name)
    if not config.scan.engines and not config.scan.embedded:
        text = "no engine at all: every message meets interface.scan_failure_action"
        yield warning("scan.embedded", text)
    if config.scan.rules_file is not None and config.scan.runs_embedded:
        problem = unreadable(config.scan.rules_file)
        if problem:
            yield error("scan.rules_file", problem)


def _influence(config: Config) -> Iterator[Finding]:
    known = {engine.name for engine in config.scan.engines} or {EMBEDDED_ENGINE}
    seen: set[str] = set()
    for index, row in enumerate(config.scanner_fault_tolerance.priority_influence):
        path = ("scanner_fault_tolerance", "priority_influence", index, "engine")
        if row.engine not in known:
            yield error(path, "is no engine of scan.engines")
        elif row.engine in seen:
            yield error(path, "has a row already")
        seen.add(row.engine)


def _failure(config: Config) -> Iterator[Finding]:
    for name in ("scan_failure_action", "license_failsafe_mode"):
        if getattr(config.interface, name) == "reject":
            yield warning(f"interface.{name}", "reject loses mail for as long as an outage lasts")


def _patience(config: Config) -> Iterator[Finding]:
    delivery = config.delivery
    if config.scan.deadline >= delivery.inline_patience:
        text = "should be more than scan.deadline, or delivery in line has no time left"
        yield warning("delivery.inline_patience", text)
    if delivery.delay_notice_after >= delivery.give_up_after:
        yield warning("delivery.delay_notice_after", "is not before give_up_after: never sent")


MAIL_RULES = (
    Rule(_relays, "external_delivery"),
    Rule(_relay_loops, "external_delivery", "server", "ssl"),
    Rule(_names, "protocol"),
    Rule(_postmaster, "protocol", "interface", "organizations"),
    Rule(_ehlo, "protocol"),
    Rule(_authentication, "protocol", "ssl", "auth"),
    Rule(_scan, "scan"),
    Rule(_influence, "scan", "scanner_fault_tolerance"),
    Rule(_failure, "interface"),
    Rule(_patience, "delivery", "scan"),
)
