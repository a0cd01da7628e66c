"""Rules over several keys: errors that refuse a file, warnings that do not."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from gwsmtp.config.crosscheck import RULES, crosscheck
from gwsmtp.config.listenrules import is_for_this_machine
from gwsmtp.config.loader import check_file
from gwsmtp.config.root import Config
from tests.config.helpers import ORGANIZATION, check

OU = (
    "organizations:\n"
    "  - name: root\n"
    "    domains:\n"
    '      - {name: a.example, smtp_host: "192.0.2.1"}\n'
    "    children:\n"
    '      - {name: sales, domains: [{name: b.example, smtp_host: "192.0.2.2"}]}\n'
)


def errors(directory: Path, text: str) -> list[str]:
    return [line.partition("gw.yaml")[2].lstrip(":") for line in check(directory, text).problems]


def warnings(directory: Path, text: str) -> list[str]:
    report = check(directory, text + (ORGANIZATION if "organizations" not in text else ""))
    assert report.problems == []
    return [line.partition("gw.yaml")[2].lstrip(":") for line in report.warnings]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server: {listen: ['127.0.0.1:25', '127.0.0.1']}", "2 server.listen[1]: 127.0.0.1:25 is"),
        ("server: {listen: '0.0.0.0:465'}", "ssl.listen[0]: 0.0.0.0:465 is given twice"),
        ("ssl: {enabled: true}", "2 ssl.enabled: needs certificate_file"),
        ("ssl: {disable_protocols: [TLSv1, TLSv1.1, TLSv1.2]}", "disables every protocol"),
        ("ssl: {cipher_list: 'NOSUCH:CIPHER'}", "2 ssl.cipher_list: is no cipher string"),
        (
            "ssl: {enabled: true, certificate_file: /no/such.pem}",
            "2 ssl.certificate_file: /no/such.pem: No such file",
        ),
        ("paths: {run: /" + "x" * 90 + "}", "2 paths.run: is longer than 80 bytes"),
        (
            "external_delivery: {use_relay_server: true}",
            "2 external_delivery.use_relay_server: needs relay_targets",
        ),
        (
            "external_delivery: {use_relay_server: on, relay_targets: "
            "[{host: r.example, authentication: cram-md5}]}",
            "2 external_delivery.relay_targets[0].username: is required",
        ),
        (
            "server: {listen: '0.0.0.0:25'}\nexternal_delivery: {use_relay_server: on, "
            "relay_targets: [{host: localhost}]}",
            "3 external_delivery.relay_targets[0].host: is an address this interface listens on",
        ),
        ("protocol: {custom_ehlo_responses: [SIZE 5]}", "[0]: SIZE is an extension we implement"),
        ("protocol: {custom_ehlo_responses: [XFOO, burl x]}", "[1]: BURL changes the protocol"),
        ("protocol: {custom_ehlo_responses: ['X FOO  BAR']}", "must be a keyword"),
        ("protocol: {custom_ehlo_responses: ['XÄ']}", "must be a keyword"),
        (f"protocol: {{custom_ehlo_responses: [X {'y' * 200}]}}", "must be a keyword"),
        ("protocol: {smtp_authentication: on}", "auth.file: is required"),
        (
            "scan: {engines: [{name: a, address: 'unix:/a'}, {name: a, address: 'unix:/b'}]}",
            "2 scan.engines[1].name: is another engine's name",
        ),
        ("scan: {rules_file: /no/such}", "2 scan.rules_file: /no/such: No such file"),
        (
            "scanner_fault_tolerance: {priority_influence: [{engine: x, priority: 1}]}",
            "priority_influence[0].engine: is no engine",
        ),
        (
            "scanner_fault_tolerance: {priority_influence: "
            "[{engine: embedded, priority: 1}, {engine: embedded, priority: 2}]}",
            "priority_influence[1].engine: has a row already",
        ),
        (
            "connection_drop: {rbl: {servers: [a.example, A.example.]}}",
            "connection_drop.rbl.servers[1]: is given twice",
        ),
        ("message_tracking: {enabled: true}", "a storage location must be selected"),
        (
            "message_tracking: {enabled: true, store_in_default_ou: true, default_ou: x}",
            "message_tracking.default_ou: x is no organisation here",
        ),
        ("dos_protection: {offences: {ban_at: 15}}", "delay_at <= restrict_at <= ban_at"),
        ("dos_protection: {offences: {ban_time: 86400, ban_time_max: 60}}", "longer than ban_time"),
        (
            "diagnostic: {client_ip_override: true}",
            "diagnostic.client_ip_override_address: is required",
        ),
        ("address_transformation: {rules: [x]}", "rules[0]: is no rule of definitions"),
        (
            "address_transformation: {rules: [x, x], definitions: "
            "[{name: x, match: 'a@b.c', replace: 'd@e.f'}]}",
            "rules[1]: is chosen twice",
        ),
        (
            "address_transformation: {definitions: [{name: x, match: '*@b.c', replace: '%2@e.f'}]}",
            "replace: refers to more groups",
        ),
        (
            "address_transformation: {definitions: [{name: x, match: 'a@b.c', replace: '*@e.f'}]}",
            "replace: refers to more groups",
        ),
        (
            "address_transformation: {definitions: [{name: x, match: '?@b.c', replace: '?@e.f'}]}",
            "cannot hold ?",
        ),
        (
            "address_transformation: {definitions: [{name: x, match: 'a@b.c', replace: 'd@e.f'}, "
            "{name: x, match: 'a@b.c', replace: 'd@e.f'}]}",
            "definitions[1].name: is another rule's name",
        ),
        ("interface2: x", "unknown key"),
        (OU.replace("sales", "root"), "organizations[0].children[0].name: root is another"),
        (OU.replace("b.example", "A.Example."), "a.example is a domain of root already"),
        (
            OU.replace('"192.0.2.2"', '"127.0.0.1"'),
            "7 organizations[0].children[0].domains[0].smtp_host: is an address this interface",
        ),
    ],
)
def test_errors(tmp_path: Path, text: str, expected: str) -> None:
    found = errors(tmp_path, text)
    assert any(expected in line for line in found), found


def test_names_of_organisations_must_exist(tmp_path: Path) -> None:
    text = "diagnostic: {}\n" + OU
    report = check(tmp_path, text)
    assert report.problems == []
    report = check(tmp_path, OU.replace("sales", "sale"), 0o600)
    assert report.problems == []
    path = tmp_path / "gw.yaml"
    path.write_text(f"interface: {{name: a, serviced_ou_set: [root, sales, nobody]}}\n{OU}")
    assert len(check_file(path).problems) == 1
    assert "serviced_ou_set[2]: nobody is no organisation here" in check_file(path).problems[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server: {enabled: false}", "2 server.enabled: both servers are off"),
        (
            "server: {listen: ['0.0.0.0:25', '127.0.0.1:25']}",
            "2 server.listen[1]: 127.0.0.1:25 is covered",
        ),
        ("ssl: {enable_tls: on}", "2 ssl.enable_tls: STARTTLS is not offered without"),
        ("ssl: {enable_tls: on}", "ssl.disable_protocols: TLSv1.1 not disabled, yet OpenSSL 3"),
        (
            "ssl: {enable_tls: on, cipher_list: 'DEFAULT @SECLEVEL=0'}",
            "allows TLSv1.1 (RFC 8996: deprecated)",
        ),
        ("ssl: {key_file: /a}", "ssl.key_file: counts only together with certificate_file"),
        (
            "ssl: {enable_tls: on, certificate_file: /no/such.pem}",
            "ssl.certificate_file: /no/such.pem: No such file",
        ),
        ("workers: {user: root}", "workers.user: the children would keep root's rights"),
        (
            "external_delivery: {relay_targets: [{host: r.example}]}",
            "relay_targets: not used while use_relay_server is off",
        ),
        (
            "external_delivery: {use_relay_server: on, relay_targets: "
            "[{host: r.example, authentication: plain, username: u}]}",
            "relay_targets[0].authentication: the password crosses the network in clear",
        ),
        (
            "external_delivery: {use_relay_server: on, relay_targets: "
            "[{host: r.example, authentication: login, username: u, security: auto}]}",
            "the password may cross the network in clear",
        ),
        (
            "external_delivery: {use_relay_server: on, relay_targets: "
            "[{host: r.example, username: u}]}",
            "relay_targets[0].authentication: is none: the username is not used",
        ),
        ("protocol: {banner: welcome here}", "protocol.banner: the first word should be"),
        ("protocol: {host_domain: gw}", "protocol.host_domain: is no full host name"),
        (
            "protocol: {smtp_authentication: on}\nauth: {file: /no/such}",
            "AUTH is offered under TLS only",
        ),
        (
            "protocol: {smtp_authentication: on}\nauth: {file: /no/such}",
            "auth.file: /no/such: No such file",
        ),
        ("scan: {embedded: off}", "scan.embedded: no engine at all"),
        ("scan: {deadline: 240}", "delivery.inline_patience: should be more than scan.deadline"),
        ("delivery: {delay_notice_after: 345600}", "is not before give_up_after"),
        ("relay_protection: {restrict_relaying: off}", "this is an open relay"),
        (
            "relay_protection: {allowed_sources: ['10.*', '10.0.0.0/8']}",
            "allowed_sources[1]: row 0 has the same clients",
        ),
        (
            "relay_protection: {allowed_sources: ['192.168.*.']}",
            "allowed_sources[0]: the trailing dot is ignored",
        ),
        (
            "relay_protection: {allowed_sources: [{pattern: '*', everybody: true}]}",
            "covers everybody: this is an open relay",
        ),
        (
            "relay_protection: {allow_relay_if_authenticated: on}",
            "has no effect while protocol.smtp_authentication is off",
        ),
        ("connection_drop: {spf: {softfail_as_fail: on}}", "has no effect while SPF is off"),
        ("connection_drop: {rbl: {servers: []}}", "is empty: no list is asked"),
        ("connection_drop: {report_rejections: off}", "senders see a network fault"),
        (
            "message_tracking: {enabled: on, store_in_owning_ou: on}",
            "store_in_owning_ou: wants connection_drop.delayed_rejection_state data",
        ),
        ("diagnostic: {retain_raw_messages: on}", "fills the disk"),
        (
            "diagnostic: {client_ip_override: on, client_ip_override_address: 192.0.2.1}",
            "tests see one made-up client",
        ),
        ("server: {keep_spool_files: on}", "nothing is ever cleaned up"),
        (
            "address_transformation: {rules: [x], definitions: "
            "[{name: x, enabled: off, match: 'a@b.c', replace: 'd@e.f'}]}",
            "rules[0]: the rule is switched off",
        ),
        (
            "address_transformation: {definitions: "
            "[{name: x, match: '*@*', replace: '*@elsewhere.example'}]}",
            "replace: sends every address to a domain that is not hosted here",
        ),
        ("organizations: []", "organizations: no organisation: everything"),
        (
            "organizations: [{name: r, domains: [{name: a.example, smtp_host: h.example, "
            "recipients: 'file:/no/such'}]}]",
            "domains[0].recipients: /no/such: No such file",
        ),
        (
            "organizations: [{name: r, domains: [{name: a.example, smtp_host: h.example, "
            "require_auth: true}]}]",
            "require_auth: cannot be met",
        ),
        (
            "message_tracking: {enabled: on, store_in_default_ou: on, default_ou: a}\n"
            "organizations: [{name: a}, {name: b}]",
            "delayed_rejection_state: should be data with several organisations",
        ),
    ],
)
def test_warnings(tmp_path: Path, text: str, expected: str) -> None:
    found = warnings(tmp_path, text + "\n")
    assert any(expected in line for line in found), found


def test_reject_on_scan_failure_is_warned_about(tmp_path: Path) -> None:
    path = tmp_path / "gw.yaml"
    path.write_text("interface: {name: a, scan_failure_action: reject}\n" + ORGANIZATION)
    assert "reject loses mail" in check_file(path).warnings[0]


def test_the_defaults_warn_of_nothing_but_the_missing_organisation(tmp_path: Path) -> None:
    assert len(check(tmp_path, "").warnings) == 1


def test_several_organisations_on_data_are_fine(tmp_path: Path) -> None:
    text = (
        "message_tracking: {enabled: on, store_in_owning_ou: on}\n"
        "connection_drop: {delayed_rejection_state: data}\norganizations: [{name: a}, {name: b}]\n"
    )
    assert warnings(tmp_path, text) == []


def test_the_machine_of_an_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    class Name:
        nodename = "Node1.example.com"

    monkeypatch.setattr(os, "uname", Name)
    assert is_for_this_machine("")
    assert is_for_this_machine("node1")
    assert is_for_this_machine("NODE1.example.com")
    assert not is_for_this_machine("node1.example.org")
    assert not is_for_this_machine("node2")


def test_another_machines_interface_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "gw.yaml"
    path.write_text("interface: {name: a, host_server: elsewhere.example}\n" + ORGANIZATION)
    assert "will not run it" in check_file(path).warnings[0]


def test_rules_name_groups_that_exist_and_skip_missing_ones() -> None:
    for rule in RULES:
        assert rule.needs
        assert set(rule.needs) <= set(Config.model_fields)
    assert crosscheck({}) == []


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two self-signed certificates, a.crt with a.key and b.crt with b.key."""
    directory = tmp_path_factory.mktemp("pem")
    for name in ("a", "b"):
        subprocess.run(
            shlex.split(
                f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN={name} "
                f"-keyout {directory}/{name}.key -out {directory}/{name}.crt"
            ),
            check=True,
            capture_output=True,
        )
        (directory / f"{name}.key").chmod(0o600)
    return directory


@pytest.mark.full
def test_certificate_and_key_belong_together(tmp_path: Path, pem: Path) -> None:
    text = "ssl: {{enabled: on, certificate_file: {0}/a.crt, key_file: {0}/{1}.key}}\n"
    modern = text.replace("enabled: on", "enabled: on, disable_protocols: [TLSv1, TLSv1.1]")
    assert warnings(tmp_path, modern.format(pem, "a")) == []
    found = errors(tmp_path, text.format(pem, "b"))
    assert found == ["2 ssl.key_file: the key does not belong to the certificate"]
    (pem / "a.key").chmod(0o644)
    found = warnings(tmp_path, modern.format(pem, "a"))
    assert found == ["2 ssl.key_file: holds a private key that others can read; chmod 600"]
    (pem / "a.key").chmod(0o600)
    (tmp_path / "junk.pem").write_text("junk")
    (tmp_path / "junk.pem").chmod(0o600)
    junk = f"ssl: {{enabled: on, certificate_file: {tmp_path}/junk.pem}}\n"
    assert "cannot be used" in errors(tmp_path, junk)[0]


@pytest.mark.full
def test_an_encrypted_key_needs_its_phrase_and_asks_nobody(tmp_path: Path, pem: Path) -> None:
    key = tmp_path / "c.key"
    subprocess.run(
        shlex.split(f"openssl rsa -aes256 -in {pem}/a.key -out {key} -passout pass:sesame"),
        check=True,
        capture_output=True,
    )
    key.chmod(0o600)
    text = "ssl: {{enabled: on, certificate_file: {0}/a.crt, key_file: {1}, pass_phrase: '{2}'}}\n"
    assert "cannot be used" in errors(tmp_path, text.format(pem, key, ""))[0]
    assert "cannot be used" in errors(tmp_path, text.format(pem, key, "wrong"))[0]
    assert errors(tmp_path, text.format(pem, key, "sesame")) == []
    found = warnings(tmp_path, text.format(pem, key, "env:GW_NOT_SET"))
    assert any("GW_NOT_SET is not set" in line for line in found)
