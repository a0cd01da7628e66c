"""Rules about relaying, tests of the client, tracking, diagnostics."""

from pathlib import Path

import pytest

from tests.config.helpers import errors, warnings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "connection_drop: {rbl: {servers: [a.example, A.example.]}}",
            "connection_drop.rbl.servers[1]: is given twice",
        ),
        ("message_tracking: {enabled: true}", "a storage location must be selected"),
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
    ],
)
def test_errors(tmp_path: Path, text: str, expected: str) -> None:
    found = errors(tmp_path, text)
    assert any(expected in line for line in found), found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
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
            "message_tracking: {enabled: on, store_in_default_ou: on, default_ou: a}\n"
            "organizations: [{name: a}, {name: b}]",
            "delayed_rejection_state: should be data with several organisations",
        ),
    ],
)
def test_warnings(tmp_path: Path, text: str, expected: str) -> None:
    found = warnings(tmp_path, text + "\n")
    assert any(expected in line for line in found), found


def test_several_organisations_on_data_are_fine(tmp_path: Path) -> None:
    text = (
        "message_tracking: {enabled: on, store_in_owning_ou: on}\n"
        "connection_drop: {delayed_rejection_state: data}\norganizations: [{name: a}, {name: b}]\n"
    )
    assert warnings(tmp_path, text) == []
