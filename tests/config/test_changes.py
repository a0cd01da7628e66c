"""Differences of two configurations, and what they need to act."""

from pathlib import Path

from gwsmtp.config.changes import Change, adopt, changes, needs
from gwsmtp.config.setting import Applies
from tests.config.helpers import ORGANIZATION, config_of


def texts(directory: Path, old: str, new: str) -> list[str]:
    return [str(change) for change in found(directory, old, new)]


def found(directory: Path, old: str, new: str) -> list[Change]:
    return changes(config_of(directory, old), config_of(directory, new))


def test_nothing_changes(tmp_path: Path) -> None:
    assert found(tmp_path, ORGANIZATION, ORGANIZATION) == []
    assert needs([]) is None


def test_the_heaviest_come_first(tmp_path: Path) -> None:
    old = "workers: {count: 1}\n"
    new = (
        "workers: {count: 2}\nserver: {listen: '[::1]:26'}\npaths: {log: /var/log/gw}\n"
        "connection_drop: {rbl: {enabled: off}}\n"
    )
    assert texts(tmp_path, old, new) == [
        "paths.log: /opt/gwava/gwsmtp/log -> /var/log/gw (restart)",
        'server.listen: ["0.0.0.0:25"] -> ["[::1]:26"] (rebind)',
        "connection_drop.rbl.enabled: true -> false (workers)",
        "workers.count: 1 -> 2 (workers)",
    ]
    assert needs(found(tmp_path, old, new)) is Applies.RESTART
    assert needs(found(tmp_path, old, "workers: {count: 2}\n")) is Applies.WORKERS
    assert needs(found(tmp_path, "", "server: {enabled: off}\n")) is Applies.REBIND


def test_a_changed_secret_is_told_and_not_shown(tmp_path: Path) -> None:
    old = "ssl: {pass_phrase: one}\n"
    assert texts(tmp_path, old, old.replace("one", "two")) == ["ssl.pass_phrase: changed (workers)"]


def test_the_profile_changes_the_timers_that_are_not_set(tmp_path: Path) -> None:
    new = "protocol: {timeout_profile: relaxed, client_protocol_timeout: 5}\n"
    keys = [change.key for change in found(tmp_path, "", new)]
    assert "protocol.client_connection_timeout" in keys
    assert "protocol.client_protocol_timeout" not in keys


def test_organisations_are_compared_by_name(tmp_path: Path) -> None:
    domain = "{{name: {0}, smtp_host: {1}}}"
    a, b = domain.format("a.example", "x.example"), domain.format("b.example", "x.example")
    text = "protocol: {{host_domain: gw.example}}\norganizations: [{{name: r, domains: [{0}]}}]\n"
    assert texts(tmp_path, text.format(f"{a}, {b}"), text.format(f"{b}, {a}")) == []
    gone = texts(tmp_path, text.format(f"{a}, {b}"), text.format(b))
    assert len(gone) == 1
    assert gone[0].startswith("organizations[r].domains[a.example]: removed, was {name: a.example")
    added = texts(tmp_path, text.format(b), text.format(f"{a}, {b}"))
    assert added[0].startswith("organizations[r].domains[a.example]: added {name: a.example")
    moved = texts(tmp_path, text.format(a), text.format(a.replace("x.example", "y.example")))
    assert moved[0].startswith("organizations[r].domains[a.example]: {")


def test_organisations_that_move_in_the_tree(tmp_path: Path) -> None:
    flat = "organizations: [{name: a}, {name: b}]\n"
    deep = "organizations: [{name: a, children: [{name: b}]}]\n"
    assert texts(tmp_path, flat, deep) == ['organizations[b]: "at the top" -> "below a" (workers)']


def test_a_reload_keeps_what_needs_a_restart_and_takes_the_rest(tmp_path: Path) -> None:
    old = config_of(tmp_path, "workers: {count: 1, user: one}\n")
    new = config_of(
        tmp_path,
        "workers: {count: 2, user: two}\npaths: {log: /var/log/gw}\nserver: {listen: '[::1]:26'}\n",
    )
    config, kept = adopt(old, new)
    assert [change.key for change in kept] == ["paths.log", "workers.user"]
    assert config.workers.count == 2
    assert config.server == new.server
    assert config.workers.user == "one"
    assert config.paths == old.paths
    assert [str(change) for change in adopt(config, new)[1]] == [str(change) for change in kept]
    assert adopt(old, old) == (old, [])
