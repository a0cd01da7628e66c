"""The loader: every problem at once, with file, line, key and remedy; never a traceback."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import Field

from gwsmtp.base.endpoint import Endpoint
from gwsmtp.base.errors import ConfigError
from gwsmtp.config.loader import MAX_REPORTED, check_file, load, load_config
from gwsmtp.config.setting import Group
from tests.config.helpers import HEAD, ORGANIZATION, check, config_of, problem, problems, write

SMALLEST = """\
interface: {name: demo}
server: {listen: ["127.0.0.1:2525"]}
protocol: {host_domain: gw.example.test}
organizations:
  - name: root
    domains:
      - {name: example.test, smtp_host: "127.0.0.1:2600", recipients: callout}
workers: {count: 2}
paths: {base: ./var}
"""


def test_the_smallest_configuration_takes_defaults_for_all_else(tmp_path: Path) -> None:
    path = write(tmp_path, SMALLEST)
    config = load_config(path)
    assert config.interface.name == "demo"
    assert config.server.listen == (Endpoint("127.0.0.1", 2525),)
    assert config.protocol.host_domain == "gw.example.test"
    domain = config.organizations[0].domains[0]
    assert domain.name == "example.test"
    assert domain.recipients == "callout"
    assert domain.smtp_hosts[0].endpoint == Endpoint("127.0.0.1", 2600)
    assert config.workers.number == 2
    assert config.paths.spool == tmp_path / "var" / "private"
    assert config.scan.runs_embedded
    report = check_file(path)
    assert report.problems == []
    assert report.warnings == []
    assert report.unenforced() == []


def test_all_problems_come_at_once_in_the_files_order(tmp_path: Path) -> None:
    text = """\
interface: {name: Demo Gateway}
server:
  listen: ["127.0.0.1:25252525"]
  max_inbound_connections: "256"
  enabled: maybe
  enabeld: true
protocol:
  client_protocol_timeout: 0
  banner: yes
organisations: []
diagnostic: {client_ip_override: true}
paths: 7
"""
    found = problems(tmp_path, text)
    starts = [line.split(": ", 1) for line in found]
    assert [start for start, _ in starts] == [
        "gw.yaml:1 interface.name",
        "gw.yaml:3 server.listen[0]",
        "gw.yaml:4 server.max_inbound_connections",
        "gw.yaml:5 server.enabled",
        "gw.yaml:6 server.enabeld",
        "gw.yaml:8 protocol.client_protocol_timeout",
        "gw.yaml:9 protocol.banner",
        "gw.yaml:10 organisations",
        "gw.yaml:11 diagnostic.client_ip_override_address",
        "gw.yaml:12 paths",
    ]
    texts = [rest for _, rest in starts]
    assert texts[1] == "a port is a number from 1 to 65535"
    assert texts[2] == "must be a whole number, not text"
    assert texts[3] == "must be true or false, not text"
    assert texts[4] == 'unknown key; did you mean "enabled"?'
    assert texts[5] == "must be at least 1"
    assert texts[6].startswith("must be text: unquoted yes, no")
    assert texts[7] == 'unknown key; did you mean "organizations"?'
    assert texts[9] == "must be a group of keys, not a number"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server: {max_inbound_connections: true}", "must be a whole number, not true or false"),
        ("server: {max_inbound_connections: 25.0}", "whole number, not a number with a point"),
        ("server: {enabled: 1}", "must be true or false, not a number"),
        ('server: {enabled: "true"}', "must be true or false, not text"),
        ("server: {listen: []}", "must have at least 1 entries"),
        ("server: {listen: {a: 1}}", "must be a list, not a group of keys"),
        ("server: {listen: [25]}", "must be an address in quotes"),
        ("protocol: {banner: 42}", "not a number; put it in quotes"),
        ("protocol: {banner: }", '""'),
        ("protocol: {banner: [a]}", 'an IPv6 address needs quotes: "[::1]:25"'),
        ("protocol: {timeout_profile: relax}", 'did you mean "relaxed"?'),
        ("protocol: {timeout_profile: off}", "put it in quotes"),
        ("protocol: {max_recipients: 99}", "must be at least 100"),
        ("protocol: {max_recipients: 100001}", "must be at most 100000"),
        ("exploit_detection: {hiding_min_ratio: 2}", "must be at most 1"),
        ("exploit_detection: {hiding_min_ratio: x}", "must be a number, not text"),
        ("interface2: {}", 'did you mean "interface"?'),
        ("organizations: [{}]", "organizations[0].name: is required"),
        ("scan: [1]", "must be a group of keys, not a list"),
        ("dos_protection: {limits: {connexions: {}}}", 'did you mean "connections"?'),
        ("connection_drop: {rbl: {servers: [{zoen: a.b}]}}", 'did you mean "zone"?'),
        ("logging: {to: 5}", "stderr, stdout or a path"),
    ],
)
def test_problem_texts(tmp_path: Path, text: str, expected: str) -> None:
    found = problems(tmp_path, HEAD + text)
    assert any(expected in line for line in found), found
    assert all(line.startswith("gw.yaml:2 ") for line in found if "is required" not in line)


def test_a_problem_in_a_row_names_row_and_line(tmp_path: Path) -> None:
    text = """\
external_delivery:
  relay_targets:
    - host: a.example
    - host: b.example
      priority: 0
"""
    assert problem(tmp_path, text) == (
        "gw.yaml:6 external_delivery.relay_targets[1].priority: must be at least 1"
    )


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("organizations: [{name: r, domains: [{name: a.b, smtp_host: 'x y'}]}]",
         "organizations[0].domains[0].smtp_host"),
        ("organizations: [{name: r, domains: [{name: a.b, smtp_host: 7}]}]",
         "organizations[0].domains[0].smtp_host"),
        ("connection_drop: {rbl: {servers: [a.b, 'x y']}}", "connection_drop.rbl.servers[1]"),
        ("connection_drop: {rbl: {servers: 'a.b, x y'}}", "connection_drop.rbl.servers[1]"),
        ("relay_protection: {allowed_sources: 'x'}", "relay_protection.allowed_sources[0]"),
    ],
)  # fmt: skip
def test_short_forms_are_named_as_they_are_written(tmp_path: Path, text: str, key: str) -> None:
    assert problem(tmp_path, text).startswith(f"gw.yaml:2 {key}: ")


def test_a_missing_key_is_placed_at_what_holds_it(tmp_path: Path) -> None:
    text = "external_delivery:\n  relay_targets:\n    - priority: 2\n"
    found = problem(tmp_path, text)
    assert found == "gw.yaml:4 external_delivery.relay_targets[0].host: is required"
    assert problems(tmp_path, "server: {}\n") == ["gw.yaml interface: is required"]


def test_an_empty_group_takes_its_defaults(tmp_path: Path) -> None:
    config = config_of(tmp_path, "server:\nconnection_drop:\n  rbl:\norganizations:\n")
    assert config.server.enabled
    assert config.connection_drop.rbl.enabled
    assert config.organizations == ()


def test_doubled_keys_are_refused(tmp_path: Path) -> None:
    text = "server:\n  enabled: true\n  enabled: false\nserver: {}\n"
    assert problems(tmp_path, HEAD + text) == [
        "gw.yaml:4 server.enabled: is given twice",
        "gw.yaml:5 server: is given twice",
    ]


def test_refused_values_are_not_reported_twice(tmp_path: Path) -> None:
    assert problem(tmp_path, "workers: {hang_timeout: 0600}").count("hang_timeout") == 1


def test_rules_run_on_valid_groups_although_others_failed(tmp_path: Path) -> None:
    text = "server: {enabled: 7}\nmessage_tracking: {enabled: true}\n"
    found = problems(tmp_path, HEAD + text)
    assert len(found) == 2
    assert "storage location" in found[1]


def test_a_secret_never_stands_in_a_problem(tmp_path: Path) -> None:
    text = """\
external_delivery:
  relay_targets:
    - {host: a.example, password: {hush: 1}, username: 5, authentication: hush}
ssl: {pass_phrase: [hush]}
"""
    found = "\n".join(problems(tmp_path, HEAD + text))
    assert found.count("hush") == 0


def test_too_many_problems_are_cut_off(tmp_path: Path) -> None:
    rows = "\n".join(f"  - {{nam: x{i}}}" for i in range(500))
    found = problems(tmp_path, f"{HEAD}organizations:\n{rows}\n")
    assert len(found) == MAX_REPORTED + 1
    assert "more problems" in found[-1]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, word in (
        (tmp_path / "none.yaml", "No such file"),
        (tmp_path, "Is a directory"),
        (Path("/dev/null"), "not a regular file"),
        (tmp_path / "a\0b", "no file name"),
        (tmp_path / ("x" * 300), "too long"),
    ):
        with pytest.raises(ConfigError, match=word):
            load_config(path)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(ConfigError, match="not a regular file"):
        load_config(fifo)


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object, flags: int) -> int:
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path, SMALLEST)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ConfigError, match=r"gw\.yaml: Permission denied"):
        load_config(path)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "interface: is required"),
        (b"# only a comment\n", "interface: is required"),
        (b"hello", "must be a group of keys, not text"),
        (b"- 1\n- 2\n", "must be a group of keys, not a list"),
        (b"a: 1\n\xff\n", "gw.yaml:2: the file is not UTF-8 here"),
        (b"a: 1\nb: \x00\n", "gw.yaml:2: control character U+0000"),
        (b"\xff\xfea\x00", "the file is UTF-16"),
        (b"a: 1\n---\nb: 2\n", "gw.yaml:2: a second document"),
        (b"[" * 3000, "nested more than 32 deep"),
        (b"- " * 3000, "nested more than 32 deep"),
        (b"{a: " * 3000, "nested more than 32 deep"),
        (b"? " * 3000, "a key must be plain text"),
        (b"\x7fELF\x02\x01\x01\x00\x00", "control character"),
    ],
)
def test_odd_files(tmp_path: Path, data: bytes, expected: str) -> None:
    assert any(expected in line for line in problems(tmp_path, data))


def test_bom_and_crlf_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbf" + SMALLEST.replace("\n", "\r\n").encode())
    assert load_config(path).workers.count == 2


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None
)
@given(st.binary(max_size=400))
@example(b"interface: {name: &a demo}\nserver: *a\n")
@example(b"? [a]\n: b\n")
@example(b"interface: !!python/object/apply:os.system ['true']\n")
@example(b"%YAML 9.9\n---\na: 1\n")
@example(b"a: |\n  x\n b")
@example(b"\xc2\x85")
def test_any_bytes_are_a_configuration_or_a_clear_error(tmp_path: Path, data: bytes) -> None:
    report = check_file(write(tmp_path, data))
    assert report.problems or report.config is not None
    assert all("\n" not in line for line in report.problems)


_KEYS = st.sampled_from(["interface", "server", "listen", "name", "organizations", "enabled", "x"])
_VALUES: st.SearchStrategy[str] = st.recursive(
    st.sampled_from(["1", "yes", "''", "[::1]:25", "*@*", "10:30", "0600", "~", "&a", "demo"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
        st.lists(st.tuples(_KEYS, inner), max_size=3).map(
            lambda items: "{" + ", ".join(f"{k}: {v}" for k, v in items) + "}"
        ),
    ),
    max_leaves=8,
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None
)
@given(st.lists(st.tuples(_KEYS, _VALUES), max_size=5))
def test_yaml_of_any_shape_never_raises(tmp_path: Path, items: list[tuple[str, str]]) -> None:
    check_file(write(tmp_path, "\n".join(f"{key}: {value}" for key, value in items)))


class Rules(Group):
    """Any other file of ours."""

    rules: tuple[str, ...] = ()
    level: int = Field(1, strict=True, ge=0)


def test_any_model_can_be_loaded(tmp_path: Path) -> None:
    assert load(write(tmp_path, "rules: [a, b]\n"), Rules).rules == ("a", "b")
    assert load(write(tmp_path, ""), Rules).level == 1
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, "levl: 2\nrules: 0x10\n"), Rules)
    lines = [line.rpartition("/")[2] for line in caught.value.problems]
    assert lines[0] == 'gw.yaml:1 levl: unknown key; did you mean "level"?'
    assert lines[1].startswith("gw.yaml:2 rules: 0x10 is not a plain decimal number")


def test_host_domain_is_prefilled_from_the_first_served_domain(tmp_path: Path) -> None:
    assert config_of(tmp_path, ORGANIZATION).protocol.host_domain == "example.test"
    assert config_of(tmp_path, "").protocol.host_domain == os.uname().nodename.lower()
    given_name = ORGANIZATION + "protocol: {host_domain: GW.example.org}\n"
    assert config_of(tmp_path, given_name).protocol.host_domain == "gw.example.org"


def test_warnings_do_not_refuse(tmp_path: Path) -> None:
    report = check(tmp_path, "relay_protection: {restrict_relaying: off}\n" + ORGANIZATION)
    assert report.problems == []
    assert len(report.warnings) == 1
    assert report.warnings[0].endswith(
        "gw.yaml:2 relay_protection.restrict_relaying: off: this is an open relay"
    )


def test_configuration_is_frozen(tmp_path: Path) -> None:
    config: Any = config_of(tmp_path, "")
    with pytest.raises(ValueError, match="frozen"):
        config.server.enabled = False


def test_a_configuration_crosses_a_pipe(tmp_path: Path) -> None:
    config = config_of(tmp_path, ORGANIZATION + "ssl: {pass_phrase: hush}\n")
    assert pickle.loads(pickle.dumps(config)) == config
