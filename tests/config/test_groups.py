"""The other groups: what their own validators accept, normalise and refuse."""

from pathlib import Path
from typing import Any

import pytest

from gwsmtp.base.endpoint import Endpoint
from gwsmtp.config.root import Config
from gwsmtp.config.setting import Applies, mark_of, settings_of
from tests.config.helpers import config_of, problem, problems


def value_of(directory: Path, text: str, key: str) -> Any:
    value: Any = config_of(directory, text + "\n")
    for step in key.split("."):
        value = value[int(step)] if step.isdigit() else getattr(value, step)
    return value


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        (
            "server: {listen: 'localhost, x'}".replace("localhost, x", "127.0.0.1, [::1]:26"),
            "server.listen",
            (Endpoint("127.0.0.1", 25), Endpoint("::1", 26)),
        ),
        (
            "server:\n  listen: |\n    127.0.0.1:1 # one\n    # none\n    127.0.0.2:2\n",
            "server.listen",
            (Endpoint("127.0.0.1", 1), Endpoint("127.0.0.2", 2)),
        ),
        ("ssl: {listen: '[::]'}", "ssl.listen", (Endpoint("::", 465),)),
        (
            "server: {source_bind_address: '192.0.2.1, 2001:DB8::1'}",
            "server.source_bind_address",
            ("192.0.2.1", "2001:db8::1"),
        ),
        ("server: {proxy_protocol: [10.*]}", "server.proxy_protocol", ("10.0.0.0/8",)),
        ("server: {dsn_template_file: }", "server.dsn_template_file", None),
        ("server: {dsn_template_file: /a/../b/./c}", "server.dsn_template_file", Path("/b/c")),
        (
            "relay_protection: {allowed_sources: '10.*, 192.0.2.1'}",
            "relay_protection.allowed_sources.1.pattern",
            "192.0.2.1",
        ),
        (
            "relay_protection: {allowed_sources: [192.168.*.]}",
            "relay_protection.allowed_sources.0.any_sender",
            True,
        ),
        ("relay_protection: {allowed_sources: []}", "relay_protection.allowed_sources", ()),
        (
            "connection_drop: {rbl: {servers: [{zone: Zen.Spamhaus.org, answers: 127.0.0.2}]}}",
            "connection_drop.rbl.servers.0.answers",
            ("127.0.0.2",),
        ),
        (
            "connection_drop: {rbl: {servers: a.example}}",
            "connection_drop.rbl.servers.0.zone",
            "a.example",
        ),
        (
            "connection_drop: {ip_reputation: {host_address: rep.example}}",
            "connection_drop.ip_reputation.host_address",
            "rep.example:8080",
        ),
        (
            "connection_drop: {ip_reputation: {host_address: 127.0.0.1}}",
            "connection_drop.ip_reputation.host_address",
            "127.0.0.1",
        ),
        ("ssl: {cipher_list: 'HIGH !aNULL,!RC4'}", "ssl.openssl_ciphers", "HIGH:!aNULL:!RC4"),
        ("ssl: {disable_protocols: 'SSLv2, TLSv1'}", "ssl.disable_protocols", ("SSLv2", "TLSv1")),
        ("delivery: {schedule: 60}", "delivery.schedule", (60,)),
        ("logging: {to: logs/gw.log}", "logging.path.name", "gw.log"),
        ("logging: {to: stdout}", "logging.path", None),
        ("scan: {engines: [{name: a, address: 'h.example:7'}]}", "scan.runs_embedded", False),
        ("scan: {embedded: off}", "scan.runs_embedded", False),
        ("paths: {base: /srv/gw}", "paths.tmp", Path("/srv/gw/tmp")),
        ("paths: {}", "paths.tmp", Path("/opt/gwava/tmp")),
        ("paths: {base: /srv/gw, log: /var/log/gw}", "paths.log", Path("/var/log/gw")),
        (
            "dos_protection: {limits: {connections: {limit: 600}}}",
            "dos_protection.limits.connections.burst",
            100,
        ),
        (
            "address_transformation: {rules: [a], definitions: "
            "[{name: a, match: '*@a.example', replace: '*@b.example'}]}",
            "address_transformation.rules.0.override.sender",
            None,
        ),
        ("diagnostic: {client_ip_override_address: '::ffff:192.0.2.1'}",
         "diagnostic.client_ip_override_address", "192.0.2.1"),
    ],
)  # fmt: skip
def test_values_are_normalised(tmp_path: Path, text: str, key: str, expected: Any) -> None:
    assert value_of(tmp_path, text, key) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server: {source_bind_address: [192.0.2.1, 192.0.2.2]}", "one IPv4 and one IPv6"),
        ("server: {source_bind_address: x}", "must be an IP address"),
        ("server: {proxy_protocol: [proxy.example]}", "no name"),
        ("server: {listen: mail.example}", "an IP address is needed"),
        ("server: {dsn_template_file: 5}", "must be a path"),
        ("server: {max_inbound_connections: 0}", "at least 1"),
        ("server: {max_inbound_connections: 65536}", "at most 65535"),
        ("relay_protection: {allowed_sources: ['*']}", "covers everybody"),
        ("relay_protection: {allowed_sources: [0.0.0.0/0]}", "covers everybody"),
        ("relay_protection: {allowed_sources: [10.*.1]}", "not at the end"),
        (
            "connection_drop: {rejected_addresses: [10.1*]}",
            "rejected_addresses[0]: 10.1* has half an octet",
        ),
        ("connection_drop: {rbl: {servers: ['a b']}}", "is no domain name"),
        ("connection_drop: {rbl: {servers: [{zone: a.b, answers: [10.0.0.1]}]}}", "127.0.0.0/8"),
        ("connection_drop: {ip_reputation: {host_address: 'unix:x'}}", "absolute path"),
        ("connection_drop: {delayed_rejection_state: rctp}", 'did you mean "rcpt"?'),
        ("ssl: {disable_protocols: [TLSv1.3]}", 'did you mean "TLSv1'),
        ("ssl: {cipher_list: ''}", "at least 1 characters"),
        ("delivery: {schedule: []}", "at least one number"),
        ("delivery: {schedule: [0]}", "must be at least 1"),
        ("scan: {engines: [{name: a, address: engine}]}", "needs host:port or unix:/path"),
        ("external_delivery: {line_limit: 77}", "at least 78"),
        ("external_delivery: {connection_security: starttls}", 'did you mean "tls"?'),
        ("paths: {base: ''}", "must be a path"),
        ("paths: {base: 5}", "must be a path"),
        ("workers: {count: 29}", "at most 28"),
        ("workers: {user: 'a b'}", "does not fit the pattern"),
        ("hold: {max_share: 0.9}", "at most 0.5"),
        ("diagnostic: {client_ip_override_address: x}", "must be an IP address"),
        (
            "address_transformation: {definitions: [{name: a, match: 'a b', replace: c}]}",
            "must be an address with * and ?",
        ),
        (
            "address_transformation: {rules: [{name: a, override: {sender: maybe}}]}",
            "must be true or false",
        ),
        ("message_tracking: {default_ou: 'a/b'}", "without / and comma"),
    ],
)
def test_values_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    found = problems(tmp_path, f"interface: {{name: demo}}\n{text}\n")
    assert any(expected in line for line in found), found


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("name: Demo", "does not fit the pattern"),
        ("name: ''", "does not fit the pattern"),
        (f"name: {'x' * 41}", "at most 40 characters"),
        ("name: on", "must be text"),
        ("name: a, scan_failure_action: drop", "must be delay, allow or reject"),
        ("name: a, stats_module: promotheus", "needs host:port or unix:/path"),
        ("name: a, host_server: 'a b'", "host name"),
        ('name: a, notes: "a\\eb"', "control characters"),
    ],
)
def test_the_interface(tmp_path: Path, keys: str, expected: str) -> None:
    found = problems(tmp_path, f"interface: {{{keys}}}\n")
    assert any(expected in line for line in found), found


def test_sinks_of_statistics(tmp_path: Path) -> None:
    path = tmp_path / "gw.yaml"
    sinks = "[prometheus, 'prometheus:127.0.0.1:9108', 'unix:/run/s', 'stats.example:7']"
    path.write_text(f"interface: {{name: a, stats_module: {sinks}}}\n")
    from gwsmtp.config.loader import load_config

    assert load_config(path).interface.stats_module == (
        "prometheus", "prometheus:127.0.0.1:9108", "unix:/run/s", "stats.example:7",
    )  # fmt: skip


def test_a_bad_base_directory_is_one_problem(tmp_path: Path) -> None:
    assert "paths.base" in problem(tmp_path, "paths: {base: []}")


def test_as_many_workers_as_cores(tmp_path: Path) -> None:
    assert 1 <= config_of(tmp_path, "").workers.number <= 28


def test_what_acts_already() -> None:
    idle = {key for key, field in settings_of(Config) if (m := mark_of(field)) and not m.enforced}
    acting = {
        "interface.name", "interface.scan_failure_action", "server.enabled", "server.listen",
        "protocol.banner", "protocol.host_domain", "protocol.max_recipients",
        "protocol.bare_newline", "organizations[].domains[].recipients", "scan.deadline",
        "workers.count", "paths.spool", "delivery.inline_patience", "logging.to",
    }  # fmt: skip
    waiting = {"server.max_inbound_connections", "protocol.noop_interval", "hold.keep_for"}
    assert not acting & idle
    assert waiting <= idle


def test_listeners_rebind_and_paths_restart() -> None:
    kinds = {k: m.applies for k, f in settings_of(Config) if (m := mark_of(f)) is not None}
    for key in ("server.listen", "server.enabled", "ssl.listen", "ssl.enabled"):
        assert kinds[key] is Applies.REBIND
    for key in ("interface.name", "paths.run", "workers.user"):
        assert kinds[key] is Applies.RESTART
    assert kinds["protocol.banner"] is Applies.WORKERS
