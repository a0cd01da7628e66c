"""Rules about the dialogue, delivery and scanning."""

from pathlib import Path

import pytest

from gwsmtp.config.loader import check_file
from tests.config.helpers import ORGANIZATION, errors, warnings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
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
    ],
)
def test_errors(tmp_path: Path, text: str, expected: str) -> None:
    found = errors(tmp_path, text)
    assert any(expected in line for line in found), found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
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
        (
            "protocol: {postmaster_email: pm@elsewhere.test}",
            "protocol.postmaster_email: elsewhere.test is not hosted here",
        ),
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
    ],
)
def test_warnings(tmp_path: Path, text: str, expected: str) -> None:
    found = warnings(tmp_path, text + "\n")
    assert any(expected in line for line in found), found


def test_reject_on_scan_failure_is_warned_about(tmp_path: Path) -> None:
    path = tmp_path / "gw.yaml"
    path.write_text("interface: {name: a, scan_failure_action: reject}\n" + ORGANIZATION)
    assert "reject loses mail" in check_file(path).warnings[0]
