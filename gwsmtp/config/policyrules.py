"""Rules about relaying, tests of the client, tracking and diagnostics (SETTINGS rows 61-93)."""

import re
from collections.abc import Iterator

from gwsmtp.base.netmatch import AddressPattern, parse_pattern
from gwsmtp.config.finding import Finding, Rule, error, warning
from gwsmtp.config.root import Config
from gwsmtp.config.yamltext import Path

_GROUP_REFERENCE = re.compile(r"%([1-9])")


def _relay_protection(config: Config) -> Iterator[Finding]:
    group = config.relay_protection
    if not group.restrict_relaying:
        yield warning("relay_protection.restrict_relaying", "off: this is an open relay")
    seen: dict[AddressPattern, int] = {}
    for index, row in enumerate(group.allowed_sources):
        path: Path = ("relay_protection", "allowed_sources", index)
        pattern = parse_pattern(row.pattern, everybody=True)
        if pattern.notice:
            yield warning(path, pattern.notice)
        if pattern in seen:
            yield warning(path, f"row {seen[pattern]} has the same clients and wins")
        seen.setdefault(pattern, index)
        if pattern.covers_everybody and row.allow_relay and row.any_sender:
            yield warning(path, "covers everybody: this is an open relay")


def _authenticated_relay(config: Config) -> Iterator[Finding]:
    if (
        config.relay_protection.allow_relay_if_authenticated
        and not config.protocol.smtp_authentication
    ):
        text = "has no effect while protocol.smtp_authentication is off"
        yield warning("relay_protection.allow_relay_if_authenticated", text)


def _connection_drop(config: Config) -> Iterator[Finding]:
    group = config.connection_drop
    if group.spf.softfail_as_fail and not group.spf.enabled:
        yield warning("connection_drop.spf.softfail_as_fail", "has no effect while SPF is off")
    if group.rbl.enabled and not group.rbl.servers:
        yield warning("connection_drop.rbl.servers", "is empty: no list is asked")
    if not group.report_rejections:
        text = "off: senders see a network fault, retry for days and bounce late"
        yield warning("connection_drop.report_rejections", text)
    zones: set[str] = set()
    for index, row in enumerate(group.rbl.servers):
        if row.zone in zones:
            yield error(("connection_drop", "rbl", "servers", index), "is given twice")
        zones.add(row.zone)


def _tenants(config: Config) -> Iterator[Finding]:
    drop = config.connection_drop
    if drop.delayed_rejection_state == "data":
        return
    if len(config.organizations) > 1 and config.message_tracking.enabled:
        text = "should be data with several organisations, or tracking misses recipients"
        yield warning("connection_drop.delayed_rejection_state", text)


def _tracking(config: Config) -> Iterator[Finding]:
    group = config.message_tracking
    if group.enabled and not (group.store_in_default_ou or group.store_in_owning_ou):
        text = "a storage location must be selected: store_in_default_ou or store_in_owning_ou"
        yield error("message_tracking.enabled", text)


def _tracking_needs_data(config: Config) -> Iterator[Finding]:
    group = config.message_tracking
    late = config.connection_drop.delayed_rejection_state == "data"
    if group.enabled and group.store_in_owning_ou and not late:
        text = "wants connection_drop.delayed_rejection_state data, to know all recipients"
        yield warning("message_tracking.store_in_owning_ou", text)


def _dos(config: Config) -> Iterator[Finding]:
    group = config.dos_protection.offences
    if not group.delay_at <= group.restrict_at <= group.ban_at:
        yield error("dos_protection.offences", "needs delay_at <= restrict_at <= ban_at")
    if group.ban_time > group.ban_time_max:
        yield error("dos_protection.offences.ban_time", "is longer than ban_time_max")


def _transformation(config: Config) -> Iterator[Finding]:
    group = config.address_transformation
    known: dict[str, bool] = {}
    for index, rule in enumerate(group.definitions):
        path: Path = ("address_transformation", "definitions", index)
        if rule.name in known:
            yield error((*path, "name"), "is another rule's name already")
        known.setdefault(rule.name, rule.enabled)
        groups = len(re.findall(r"[*?]", rule.match))
        references = [int(digit) for digit in _GROUP_REFERENCE.findall(rule.replace)]
        if max([rule.replace.count("*"), *references]) > groups:
            yield error((*path, "replace"), "refers to more groups than match has")
        if "?" in rule.replace:
            yield error((*path, "replace"), "cannot hold ?; use %1 to %9")
    chosen: set[str] = set()
    for index, row in enumerate(group.rules):
        path = ("address_transformation", "rules", index)
        if row.name not in known:
            yield error(path, "is no rule of definitions")
        elif not known[row.name] and row.enabled:
            yield warning(path, "the rule is switched off in definitions")
        if row.name in chosen:
            yield error(path, "is chosen twice")
        chosen.add(row.name)


def _diagnostic(config: Config) -> Iterator[Finding]:
    group = config.diagnostic
    if group.client_ip_override:
        if not group.client_ip_override_address:
            yield error("diagnostic.client_ip_override_address", "is required with the override on")
        yield warning("diagnostic.client_ip_override", "on: tests see one made-up client")
    for name in ("retain_decoded_messages", "retain_raw_messages"):
        if getattr(group, name):
            yield warning(f"diagnostic.{name}", "on: fills the disk if left so")


def _spool_files(config: Config) -> Iterator[Finding]:
    if config.server.keep_spool_files:
        yield warning("server.keep_spool_files", "on: nothing is ever cleaned up")


POLICY_RULES = (
    Rule(_relay_protection, "relay_protection"),
    Rule(_authenticated_relay, "relay_protection", "protocol"),
    Rule(_connection_drop, "connection_drop"),
    Rule(_tenants, "connection_drop", "organizations", "message_tracking"),
    Rule(_tracking, "message_tracking"),
    Rule(_tracking_needs_data, "message_tracking", "connection_drop"),
    Rule(_dos, "dos_protection"),
    Rule(_transformation, "address_transformation"),
    Rule(_diagnostic, "diagnostic"),
    Rule(_spool_files, "server"),
)
