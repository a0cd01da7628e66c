"""``gwsmtp table``: looks, forgives, allows, puts in shadow and proposes, on a real table."""

import fcntl
import os
import struct
from pathlib import Path

import pytest
import yaml

from gwsmtp.base import procid
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.cli import opened
from gwsmtp.limits.allow import AllowList
from gwsmtp.limits.layout import CONTROL, Control
from gwsmtp.limits.policy import Limit, Mode, Offence
from gwsmtp.limits.shadow import effective
from tests.support.tablehouse import TableHouse

BANNED = 4  # offences of 10 points


def ban(tables: TableHouse, ip: str) -> None:
    tables.offend(ip, Offence.EARLY_TALK, BANNED)


def test_top_lists_the_worst_first(tables: TableHouse) -> None:
    tables.enter("192.0.2.1")
    tables.enter("192.0.2.1")
    tables.enter("192.0.2.2")
    tables.offend("192.0.2.3", Offence.RELAY_ATTEMPT)
    tables.offend("2001:db8:1:2::3", Offence.MALWARE)
    ban(tables, "192.0.2.5")
    tables.admission.leave(tables.enter("192.0.2.6"), tables.now_ms)
    done = tables.gwsmtp("table", "top")
    assert done.code == ExitCode.OK
    lines = done.out.splitlines()
    assert lines[0] == "6 clients are known, 5 shown"
    names = [line.split()[0] for line in lines[2:]]
    assert names == ["192.0.2.5", "2001:db8:1:2::/64", "192.0.2.3", "192.0.2.1", "192.0.2.2"]
    assert "10 min" in lines[2] or "9 min" in lines[2]
    few = tables.gwsmtp("table", "top", "-n", "2", "--json").json
    assert few["known"] == 6
    assert [row["client"] for row in few["clients"]] == names[:2]
    assert few["clients"][0]["strikes"] == 1
    assert 590 < few["clients"][0]["penalty_s"] <= 600


def test_top_says_how_many_the_kernel_sheds(tables: TableHouse) -> None:
    ban(tables, "192.0.2.5")
    assert tables.gwsmtp("table", "top", "--json").json["shed"] == 0
    tables.table.lead(procid.own_id(), 1)
    tables.table.words[CONTROL + Control.SHED] = 1
    assert tables.gwsmtp("table", "top", "--json").json["shed"] == 1
    first, *_ = tables.gwsmtp("table", "top").out.splitlines()
    assert first == "1 clients are known, 1 shown, 1 shed by the kernel"


def test_a_score_is_shown_as_it_has_decayed(tables: TableHouse) -> None:
    tables.now_ms -= tables.policy.half_life_ms
    tables.offend("192.0.2.3", Offence.MALWARE)
    (row,) = tables.gwsmtp("table", "top", "--json").json["clients"]
    assert row["score"] == pytest.approx(5.0, abs=0.05)


def test_show_tells_row_network_and_exemptions(tables: TableHouse) -> None:
    for _ in range(3):
        tables.enter("192.0.2.1")
    tables.gwsmtp("table", "allow", "192.0.2.0/24", "--ttl", "90")
    done = tables.gwsmtp("table", "show", "192.0.2.1")
    assert done.code == ExitCode.OK
    rows = [" ".join(line.split()) for line in done.out.splitlines()]
    assert "live connections 3" in rows
    assert "network 192.0.2.0/24" in rows
    assert "on the allow list for another 1 min 30 s" in rows
    found = tables.gwsmtp("table", "show", "192.0.2.1", "--json").json
    assert (found["client"]["live"], found["network"]["live"]) == (3, 3)
    assert found["client"]["used"]["connections"]["burst"] == 100
    assert not found["exempt"]


def test_show_of_a_source_of_row_64(tmp_path: Path) -> None:
    tables = TableHouse(tmp_path, {"relay_protection": {"allowed_sources": ["10.*"]}})
    done = tables.gwsmtp("table", "show", "10.1.2.3")
    assert done.code == ExitCode.OK
    assert "exempt: a source of relay_protection.allowed_sources" in done.out


def test_show_of_a_stranger_is_exit_code_1(tables: TableHouse) -> None:
    done = tables.gwsmtp("table", "show", "192.0.2.99")
    assert done.code == ExitCode.FAILED
    assert "has no row in the table" in done.out


def test_an_ipv6_client_is_its_64_and_its_network_the_48(tables: TableHouse) -> None:
    tables.enter("2001:db8:1:2::9")
    for name in ("2001:db8:1:2::1", "2001:db8:1:2::/64", "[2001:db8:1:2::9]"):
        found = tables.gwsmtp("table", "show", name, "--json").json
        assert found["client"]["client"] == "2001:db8:1:2::/64"
        assert found["network"]["network"] == "2001:db8:1::/48"


@pytest.mark.parametrize("text", ["nobody", "192.0.2", "192.0.2.0/24", "2001:db8::/48", ""])
def test_no_address_is_a_usage_error(tables: TableHouse, text: str) -> None:
    done = tables.gwsmtp("table", "show", text)
    assert done.code == ExitCode.USAGE
    assert "is no IPv4 address" in done.err


def test_unban_clears_penalty_score_and_strikes_and_says_what_there_was(
    tables: TableHouse,
) -> None:
    ban(tables, "192.0.2.5")
    assert tables.enter("192.0.2.5").refused
    done = tables.gwsmtp("table", "unban", "192.0.2.5")
    assert done.code == ExitCode.OK
    (line,) = done.out.splitlines()
    assert " event=unban client=192.0.2.5 known=yes penalty=" in line
    assert line.endswith(("score=40.00 strikes=1", "score=39.99 strikes=1"))
    row = tables.gwsmtp("table", "show", "192.0.2.5", "--json").json["client"]
    assert (row["penalty_s"], row["score"], row["strikes"]) == (0, 0, 0)
    assert not tables.enter("192.0.2.5").refused


def test_unban_of_a_stranger_changes_nothing(tables: TableHouse) -> None:
    ban(tables, "192.0.2.5")
    done = tables.gwsmtp("table", "unban", "192.0.2.6")
    assert (done.code, done.out.split(" ", 1)[1]) == (
        ExitCode.OK,
        "event=unban client=192.0.2.6 known=no\n",
    )
    assert tables.enter("192.0.2.5").refused


def test_allow_list_and_its_end(tables: TableHouse) -> None:
    listed = AllowList(tables.table)
    assert not listed.covers("192.0.2.77", tables.now_ms)
    done = tables.gwsmtp("table", "allow", "192.0.2.0/24", "--ttl", "3600")
    assert done.code == ExitCode.OK
    assert done.out == f"{'192.0.2.0/24':<24} another 1 h\n"
    assert listed.covers("192.0.2.77", tables.now_ms)
    assert not listed.covers("192.0.2.77", tables.now_ms + 3_700_000)
    tables.gwsmtp("table", "allow", "2001:db8::/32", "--ttl", "60")
    listing = tables.gwsmtp("table", "allow", "--json").json["allowed"]
    assert [entry["cidr"] for entry in listing] == ["2001:db8::/32", "192.0.2.0/24"]
    assert 3590 < listing[1]["rest_s"] <= 3600
    done = tables.gwsmtp("table", "allow", "192.0.2.0/24", "--remove")
    assert done.code == ExitCode.OK
    assert not listed.covers("192.0.2.77", tables.now_ms)
    again = tables.gwsmtp("table", "allow", "192.0.2.0/24", "--remove")
    assert (again.code, again.err) == (
        ExitCode.FAILED,
        "gwsmtp: 192.0.2.0/24 is not on the allow list\n",
    )
    tables.gwsmtp("table", "allow", "2001:db8::/32", "--remove")
    assert tables.gwsmtp("table", "allow").out == "nobody is allowed\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["0.0.0.0/0", "--ttl", "60"],
        ["mail.example", "--ttl", "60"],
        ["192.0.2.0/24"],
        ["192.0.2.0/24", "--ttl", "60", "--remove"],
        ["192.0.2.0/24", "--ttl", "0"],
        ["--ttl", "60"],
        ["--remove"],
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(tables: TableHouse, arguments: list[str]) -> None:
    assert tables.gwsmtp("table", "allow", *arguments).code == ExitCode.USAGE
    assert tables.gwsmtp("table", "allow", "--json").json == {"allowed": []}


def test_a_full_list_is_one_line(tables: TableHouse) -> None:
    for number in range(256):
        tables.gwsmtp("table", "allow", f"10.0.{number}.0/24", "--ttl", "60")
    done = tables.gwsmtp("table", "allow", "192.0.2.0/24", "--ttl", "60")
    assert (done.code, done.err) == (
        ExitCode.FAILED,
        "gwsmtp: the allow list is full: 256 networks\n",
    )


@pytest.mark.parametrize(
    ("word", "limit"),
    [("concurrency", Limit.CONCURRENCY), ("tls_handshakes", Limit.HANDSHAKES)],
)
def test_shadow_by_command(tables: TableHouse, word: str, limit: Limit) -> None:
    words = tables.table.words
    done = tables.gwsmtp("table", "shadow", word, "on")
    assert (done.code, done.out) == (ExitCode.OK, f"in shadow by command: {word}\n")
    assert effective(words, limit, Mode.ENFORCE) is Mode.SHADOW
    assert tables.gwsmtp("table", "shadow", "--json").json == {"shadow": [word]}
    assert tables.gwsmtp("table", "shadow", word, "off").out == "in shadow by command: no limit\n"
    assert effective(words, limit, Mode.ENFORCE) is Mode.ENFORCE


@pytest.mark.parametrize("arguments", [["concurrency"], ["everything", "on"], ["messages", "ja"]])
def test_shadow_of_nothing_is_a_usage_error(tables: TableHouse, arguments: list[str]) -> None:
    assert tables.gwsmtp("table", "shadow", *arguments).code == ExitCode.USAGE


def test_suggest_prints_yaml_to_paste_and_what_it_stands_on(tables: TableHouse) -> None:
    for number in range(30):
        verdicts = [tables.enter(f"192.0.{number}.1") for _ in range(4)]
        for verdict in verdicts:
            tables.admission.leave(verdict, tables.now_ms)
    ban(tables, "198.51.100.1")
    done = tables.gwsmtp("table", "suggest")
    assert done.code == ExitCode.OK
    assert "from 30 clients seen in" in done.out
    assert "(1 banned or restricted ones left out)" in done.out
    assert "# That is little to go by" in done.out
    limits = yaml.safe_load(done.out)["dos_protection"]["limits"]
    assert limits["concurrency"] == {"limit": 10}
    assert limits["connections"] == {"limit": 60, "burst": 20}
    assert set(limits) == {"concurrency", "connections", "messages", "recipients"}
    found = tables.gwsmtp("table", "suggest", "--json").json
    assert (found["clients"], found["left_out"]) == (30, 1)
    assert found["limits"]["concurrency"]["p99"] == 4


def test_what_is_suggested_is_a_configuration(tables: TableHouse) -> None:
    tables.enter("192.0.2.1")
    proposed = yaml.safe_load(tables.gwsmtp("table", "suggest").out)
    settings = yaml.safe_load(tables.config_path.read_text()) | proposed
    tables.config_path.write_text(yaml.safe_dump(settings))
    assert tables.gwsmtp("check").code == ExitCode.OK


def test_suggest_without_a_client_is_exit_code_1(tables: TableHouse) -> None:
    done = tables.gwsmtp("table", "suggest")
    assert (done.code, done.out) == (ExitCode.FAILED, "")
    assert done.err == "gwsmtp: no well-behaved client has been seen yet\n"


TABLE_COMMANDS = ("top", "show", "unban", "allow", "shadow", "suggest")
COMMANDS = [
    ("table", "top"),
    ("table", "show", "192.0.2.1"),
    ("table", "unban", "192.0.2.1"),
    ("table", "allow"),
    ("table", "allow", "192.0.2.1", "--ttl", "9"),
    ("table", "shadow", "messages", "on"),
    ("table", "suggest"),
    ("explain", "192.0.2.1"),
    ("top", "--once"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_without_a_table_every_command_says_so(
    tables: TableHouse, command: tuple[str, ...]
) -> None:
    tables.path.unlink()
    done = tables.gwsmtp(*command)
    assert (done.code, done.out) == (ExitCode.UNAVAILABLE, "")
    assert done.err == f"gwsmtp: no table {tables.path}: the gateway has not run\n"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_damaged_table_is_one_line(tables: TableHouse, command: tuple[str, ...]) -> None:
    os.truncate(tables.path, 4096)
    done = tables.gwsmtp(*command)
    assert (done.code, done.out) == (ExitCode.FAILED, "")
    assert "damaged" in done.err
    assert done.err.count("\n") == 1


def test_a_lock_that_others_keep_is_one_line(
    tables: TableHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened, "LOCK_PATIENCE_S", 0.01)
    ban(tables, "192.0.2.5")
    request = struct.pack("hhqqi", fcntl.F_WRLCK, 0, 0, 1, 0)
    fcntl.fcntl(tables.table.fd, fcntl.F_OFD_SETLK, request)
    done = tables.gwsmtp("table", "unban", "192.0.2.5")
    assert done.code == ExitCode.FAILED
    assert done.err == "gwsmtp: the table's lock was held for 0.010 s by another\n"
    row = tables.gwsmtp("table", "show", "192.0.2.5", "--json").json["client"]
    assert row["strikes"] == 1  # looking needs no lock


@pytest.mark.parametrize(
    "command", ["top", "explain", *(f"table {name}" for name in TABLE_COMMANDS)]
)
def test_help_has_an_example_and_exit_codes(tables: TableHouse, command: str) -> None:
    done = tables.gwsmtp(*command.split(), "--help")
    text = " ".join(done.out.split())
    assert done.code == ExitCode.OK
    assert f"Example: gwsmtp {command}" in text
    assert "Exit codes: 0 " in text
