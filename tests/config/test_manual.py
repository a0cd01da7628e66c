"""The manual's labels and defaults, row by row: nobody changes one without changing this table.

Rows 1 (an action: ``gwsmtp interface add``), 25 (a rule) and 94, 95 (figures to read) are no keys.
The labels are the manual's own, units included; a title may leave the unit out, for the
description says it. Row 89 is described there in a sentence, not by a label.
"""

from typing import Any

import pytest

from gwsmtp.config.relay import RelayProtectionGroup
from gwsmtp.config.root import Config
from gwsmtp.config.setting import mark_of, settings_of
from gwsmtp.config.show import plain

REQUIRED = object()
NO_KEYS = {1, 25, 94, 95}

# fmt: off
ROWS: list[tuple[int, str, str, Any]] = [
    (2, "interface.host_server", "Host server", ""),
    (3, "interface.stats_module", "Stats module", []),
    (4, "interface.serviced_ou_set", "Serviced OU set", []),
    (5, "interface.scan_failure_action", "Scan failure action", "delay"),
    (6, "interface.license_failsafe_mode", "License Failsafe mode", "delay"),
    (7, "interface.notes", "Notes", ""),
    (8, "server.enabled", "Enable SMTP server (plain)", True),
    (9, "server.listen", "SMTP server listen address", ["0.0.0.0:25"]),
    (10, "server.source_bind_address", "SMTP source bind address", []),
    (11, "server.max_inbound_connections", "Max inbound connections", 256),
    (12, "server.dsn_template_file", "DSN template file", None),
    (13, "server.keep_spool_files", "Keep spool files", False),
    (14, "external_delivery.connection_security", "Connection Security", "none"),
    (15, "external_delivery.line_limit", "Line Limit", 1000),
    (16, "external_delivery.use_relay_server", "Use relay server", False),
    (17, "external_delivery.relay_targets", "Relay targets", []),
    (18, "external_delivery.relay_targets[].host", "SMTP Host Server", REQUIRED),
    (19, "external_delivery.relay_targets[].priority", "Priority", 1),
    (20, "external_delivery.relay_targets[].security", "Security", "none"),
    (21, "external_delivery.relay_targets[].authentication", "Authentication", "none"),
    (22, "external_delivery.relay_targets[].username", "Username", ""),
    (23, "external_delivery.relay_targets[].password", "Password", ""),
    (24, "external_delivery.relay_targets[].line_limit", "Line Limit", 1000),
    (26, "ssl.enable_tls", "Enable TLS", False),
    (27, "ssl.enabled", "Enable SMTP server (SSL)", False),
    (28, "ssl.listen", "SMTP server listen address (SSL)", ["0.0.0.0:465"]),
    (29, "ssl.max_inbound_connections", "Max inbound connections", 256),
    (30, "ssl.certificate_file", "SSL certificate file", None),
    (31, "ssl.chain_file", "SSL certificate chain file", None),
    (32, "ssl.key_file", "SSL key file", None),
    (33, "ssl.cipher_list", "SSL cipher list", "DEFAULT:!aNULL:!eNULL:!RC4:!3DES"),
    (34, "ssl.disable_protocols", "SSL protocol disable", ["SSLv2", "SSLv3", "TLSv1"]),
    (35, "ssl.pass_phrase", "SSL pass phrase", ""),
    (36, "protocol.inbound_timeouts", "Enable inbound timeouts", True),
    (37, "protocol.client_connection_timeout", "Client connection timeout (sec)", 15),
    (38, "protocol.client_protocol_timeout", "Client protocol timeout (sec)", 5),
    (39, "protocol.client_data_command_timeout", "Client DATA command timeout (sec)", 10),
    (40, "protocol.client_data_payload_timeout", "Client DATA payload timeout (sec)", 10),
    (41, "protocol.tls_negotiation_timeout", "TLS negotiation timeout (sec)", 15),
    (42, "protocol.tls_fail_recovery_timeout", "TLS fail recovery timeout (sec)", 2),
    (43, "protocol.outbound_timeouts", "Enable outbound timeouts", True),
    (44, "protocol.server_connection_timeout", "Server connection timeout (sec)", 60),
    (45, "protocol.server_protocol_timeout", "Server protocol timeout (sec)", 60),
    (46, "protocol.server_data_timeout", "Server DATA timeout (sec)", 60),
    (47, "protocol.banner", "SMTP banner", ""),
    (48, "protocol.host_domain", "SMTP host domain", ""),
    (49, "protocol.postmaster_email", "Postmaster email", ""),
    (50, "protocol.custom_ehlo_responses", "Custom EHLO responses", []),
    (51, "protocol.forwarded_helo_domain", "Forwarded EHLO/HELO domain", ""),
    (52, "protocol.disable_a_record_fallback", "Disable A-record fallback", False),
    (53, "protocol.smtp_authentication", "SMTP Authentication", False),
    (54, "protocol.enable_size_limit", "Enable SIZE limit", True),
    (55, "protocol.size_limit_bytes", "SIZE limit (bytes)", 40000000),
    (56, "protocol.noop_interval", "NOOP interval (sec)", 30),
    (57, "exploit_detection.drop_on_invalid_commands", "Enable drop on invalid commands", True),
    (58, "exploit_detection.max_invalid_commands", "Max allowable invalid commands", 5),
    (59, "exploit_detection.hide_addresses", "Enable address hiding on dictionary attack", True),
    (60, "exploit_detection.max_failed_addresses", "Max failed addresses before hiding", 3),
    (61, "relay_protection.restrict_relaying", "Restrict relaying", True),
    (62, "relay_protection.allowed_sources", "Allowed relay sources",
     ["127.0.0.1", "10.*", "172.16.0.0/12", "192.168.*"]),
    (63, "relay_protection.allowed_sources[].allow_relay", "Allow Relay", True),
    (64, "relay_protection.allowed_sources[].skip_connection_tests", "Skip Connection Tests", True),
    (65, "relay_protection.allow_relay_if_authenticated", "Allow relay if authenticated", False),
    (66, "connection_drop.delayed_rejection_state", "Delayed rejection state", "no-delay"),
    (67, "connection_drop.report_rejections", "Report rejections to SMTP", True),
    (68, "connection_drop.rbl.enabled", "Enable RBL", True),
    (69, "connection_drop.rbl.servers", "RBL server configuration",
     ["sbl-xbl.spamhaus.org", "bl.spamcop.net"]),
    (70, "connection_drop.rbl.servers[].zone", "RBL Server", REQUIRED),
    (71, "connection_drop.rbl.skip_local_ip", "Skip Local IP", True),
    (72, "connection_drop.rbl.hit_action", "RBL hit action", "delay"),
    (73, "connection_drop.ip_reputation.enabled", "Enable IP reputation service", True),
    (74, "connection_drop.ip_reputation.reject_match", "Reject IP reputation match", True),
    (75, "connection_drop.ip_reputation.tempfail_4xx", "4xx on IP reputation tmpfail", True),
    (76, "connection_drop.ip_reputation.host_address", "IP reputation host address", "127.0.0.1"),
    (77, "connection_drop.spf.enabled", "Enable SPF", False),
    (78, "connection_drop.spf.softfail_as_fail", "Treat ~all as -all", False),
    (79, "connection_drop.rejected_addresses", "IP address rejection", []),
    (80, "message_tracking.enabled", "Enable message tracking", False),
    (81, "message_tracking.store_in_default_ou", "Store in default OU", False),
    (82, "message_tracking.default_ou", "Default OU for message tracking", "root"),
    (83, "message_tracking.store_in_owning_ou", "Store in owning OU", False),
    (84, "message_tracking.only_if_not_tracked_by_engine",
     "Track only if NOT tracked by the scan engine", False),
    (85, "message_tracking.only_if_dropped", "Track only if connection dropped", False),
    (86, "dos_protection.enabled", "Enable DoS functionality", True),
    (87, "scanner_fault_tolerance.priority_influence", "Priority influence", []),
    (88, "address_transformation.rules", "Available transformation rules", []),
    (89, "address_transformation.rules[].override", "Override direction and address",
     {"inbound": None, "outbound": None, "sender": None, "recipient": None}),
    (90, "diagnostic.client_ip_override", "Enable client IP address override", False),
    (91, "diagnostic.client_ip_override_address", "Client override IP address", ""),
    (92, "diagnostic.retain_decoded_messages", "Retain decoded message files", False),
    (93, "diagnostic.retain_raw_messages", "Retain raw message files", False),
]
# fmt: on
SETTINGS = dict(settings_of(Config))


def default_of(key: str) -> Any:
    field = SETTINGS[key]
    if field.is_required():
        return REQUIRED
    default = field.get_default(call_default_factory=True, validated_data={})
    # rows that have a short form in the file are compared by it
    if key == "relay_protection.allowed_sources":
        return [row.pattern for row in default]
    if key == "connection_drop.rbl.servers":
        return [row.zone for row in default]
    return plain(default)


@pytest.mark.parametrize(("row", "key", "label", "default"), ROWS)
def test_row_is_the_manuals(row: int, key: str, label: str, default: Any) -> None:
    field = SETTINGS[key]
    mark = mark_of(field)
    assert mark is not None
    assert mark.row == row
    assert field.title in (label, label.removesuffix(" (sec)"))
    assert default_of(key) == default


def test_every_row_is_there() -> None:
    assert {row for row, *_ in ROWS} == set(range(1, 96)) - NO_KEYS


def test_no_other_setting_claims_a_row() -> None:
    known = {(row, key) for row, key, *_ in ROWS}
    shared = "organizations[].domains[].smtp_hosts[]."  # one shape with rows 18-24
    for key, field in SETTINGS.items():
        mark = mark_of(field)
        if mark is not None and mark.row is not None and not key.startswith(shared):
            assert (mark.row, key) in known


def test_every_setting_says_what_it_is() -> None:
    for key, field in SETTINGS.items():
        assert field.title, key
        assert field.description, key
        assert field.description.endswith((".", ")")), key


def test_shipped_relay_sources_are_tied_to_hosted_senders() -> None:
    for row in RelayProtectionGroup().allowed_sources:
        assert row.allow_relay
        assert row.skip_connection_tests
        assert not row.any_sender


OWN_DEFAULTS: dict[str, Any] = {
    "server.proxy_protocol": [],
    "protocol.timeout_profile": "manual",
    "protocol.bare_newline": "normalize",
    "protocol.data_min_rate": 500,
    "protocol.max_recipients": 1000,
    "exploit_detection.hiding_mode": "accept-hold",
    "exploit_detection.hiding_window": 3600,
    "exploit_detection.hiding_min_ratio": 0.3,
    "connection_drop.budget": 5,
    "relay_protection.allowed_sources[].any_sender": True,
    "dos_protection.kernel_shedding": True,
    "external_delivery.relay_targets[].in_line": False,
    "organizations[].domains[].recipients": "callout",
    "organizations[].domains[].smtp_hosts[].line_limit": 0,
    "scan.embedded": True,
    "scan.deadline": 120,
    "scan.engines": [],
    "scan.engines[].priority": 1,
    "workers.count": 0,
    "workers.hang_timeout": 30,
    "workers.drain_timeout": 60,
    "workers.draft_memory": 67108864,
    "delivery.on_unavailable": "queue",
    "delivery.recipients_unavailable": "defer",
    "delivery.inline_patience": 240,
    "delivery.max_connections": 16,
    "delivery.give_up_after": 345600,
    "delivery.delay_notice_after": 14400,
    "hold.keep_for": 2592000,
    "hold.max_share": 0.05,
    "hold.max_items": 20000,
    "auth.backend": "file",
    "logging.format": "kv",
    "dos_protection.limits.connections.limit": 300,
    "dos_protection.limits.connections.burst": 100,
    "dos_protection.limits.connections.mode": "shadow",
    "dos_protection.limits.recipients.limit": 1200,
    "dos_protection.limits.recipients.burst": 400,
    "dos_protection.limits.concurrency.mode": "enforce",
    "dos_protection.limits.auth_failures.mode": "enforce",
}


@pytest.mark.parametrize(("key", "default"), OWN_DEFAULTS.items())
def test_our_own_defaults(key: str, default: Any) -> None:
    assert default_of(key) == default
