"""The runner of the rules, and what it lists as not acting yet."""

from pathlib import Path

from gwsmtp.config.crosscheck import RULES, crosscheck
from gwsmtp.config.root import Config
from tests.config.helpers import ORGANIZATION, check


def test_the_defaults_warn_of_nothing_but_the_missing_organisation(tmp_path: Path) -> None:
    assert len(check(tmp_path, "").warnings) == 1


def test_rules_name_groups_that_exist_and_skip_missing_ones() -> None:
    for rule in RULES:
        assert rule.needs
        assert set(rule.needs) <= set(Config.model_fields)
    assert crosscheck({}) == []


def test_settings_that_do_not_act_yet_are_listed_once(tmp_path: Path) -> None:
    text = ORGANIZATION + (
        "protocol: {noop_interval: 10, banner: gw.example.com, disable_a_record_fallback: off}\n"
        "external_delivery: {relay_targets: [{host: a.example}, {host: b.example}]}\n"
        "connection_drop: {rbl: {enabled: off}}\n"
    )
    assert check(tmp_path, text).unenforced() == [
        "external_delivery.relay_targets",
        "protocol.noop_interval",
        "connection_drop.rbl.enabled",
    ]
    rows = (
        "organizations: [{name: r, domains: [{name: a.example, smtp_hosts: "
        "[{host: h.example, priority: 2}]}, {name: b.example, smtp_hosts: "
        "[{host: h.example, priority: 2}], require_auth: on}]}]\n"
    )
    assert check(tmp_path, rows).unenforced() == [
        "organizations[].domains[].smtp_hosts[].priority",
        "organizations[].domains[].require_auth",
    ]


def test_a_file_with_problems_lists_none(tmp_path: Path) -> None:
    assert check(tmp_path, "protocol: {noop_interval: x}").unenforced() == []
