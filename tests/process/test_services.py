"""What a configuration means to a worker's sessions."""

from pathlib import Path

import pytest

from gwsmtp.process.hosted import hosted_domains, recipients_of
from gwsmtp.process.outbound import outbound_timeouts, own_name
from gwsmtp.process.services import inbound_timeouts, session_limits
from tests.config.helpers import config_of

CLIENT_TIMERS = {
    "client_connection_timeout": "connection_s",
    "client_protocol_timeout": "command_s",
    "client_data_command_timeout": "data_command_s",
    "client_data_payload_timeout": "payload_s",
}
SERVER_TIMERS = {
    "server_connection_timeout": "connect_s",
    "server_protocol_timeout": "command_s",
    "server_data_timeout": "data_s",
}


def inbound(folder: Path, protocol: str) -> tuple[float, ...]:
    found = inbound_timeouts(config_of(folder, f"protocol: {{{protocol}}}\n"))
    return tuple(getattr(found, name) for name in CLIENT_TIMERS.values())


def outbound(folder: Path, protocol: str) -> tuple[float, ...]:
    found = outbound_timeouts(config_of(folder, f"protocol: {{{protocol}}}\n"))
    return (*(getattr(found, name) for name in SERVER_TIMERS.values()), found.final_s)


def test_the_profile_gives_the_timers_that_are_not_set(tmp_path: Path) -> None:
    assert inbound(tmp_path, "") == (15, 5, 10, 10)
    assert inbound(tmp_path, "timeout_profile: manual") == (15, 5, 10, 10)
    assert inbound(tmp_path, "timeout_profile: relaxed") == (300, 300, 300, 180)
    assert outbound(tmp_path, "") == (60, 60, 60, 600)
    assert outbound(tmp_path, "timeout_profile: relaxed") == (300, 300, 600, 600)


@pytest.mark.parametrize("profile", ["manual", "relaxed"])
@pytest.mark.parametrize("key", [*CLIENT_TIMERS, *SERVER_TIMERS])
def test_a_timer_that_is_set_counts_in_either_profile(
    tmp_path: Path, key: str, profile: str
) -> None:
    text = f"protocol: {{{key}: 77, timeout_profile: {profile}}}\n"
    config = config_of(tmp_path, text)
    if key in CLIENT_TIMERS:
        assert getattr(inbound_timeouts(config), CLIENT_TIMERS[key]) == 77
    else:
        assert getattr(outbound_timeouts(config), SERVER_TIMERS[key]) == 77
    rest = inbound(tmp_path, f"timeout_profile: {profile}")
    others = inbound(tmp_path, f"{key}: 77, timeout_profile: {profile}")
    assert sum(a != b for a, b in zip(rest, others, strict=True)) == (key in CLIENT_TIMERS)


def test_a_final_reply_is_waited_for_longer_where_the_timer_is(tmp_path: Path) -> None:
    assert outbound(tmp_path, "server_data_timeout: 900") == (60, 60, 900, 900)


@pytest.mark.parametrize("profile", ["manual", "relaxed"])
def test_switched_off_a_safety_limit_remains(tmp_path: Path, profile: str) -> None:
    off = f"timeout_profile: {profile}, inbound_timeouts: off, outbound_timeouts: off"
    set_too = f"{off}, client_protocol_timeout: 1, server_data_timeout: 1"
    assert inbound(tmp_path, off) == inbound(tmp_path, set_too) == (3600,) * 4
    assert outbound(tmp_path, off) == outbound(tmp_path, set_too) == (600,) * 4


def test_the_least_rate_is_what_is_set_and_stays_when_timers_are_off(tmp_path: Path) -> None:
    assert session_limits(config_of(tmp_path, "")).pace.min_rate == 500
    for rate in (0, 123):
        text = f"protocol: {{data_min_rate: {rate}, inbound_timeouts: off}}\n"
        pace = session_limits(config_of(tmp_path, text)).pace
        assert (pace.min_rate, pace.window_s, pace.windows) == (rate, 30, 3)
        assert pace.transaction_s == 3600


def test_a_machines_name_is_ours_where_it_is_a_host_name() -> None:
    assert own_name("GW.example.test.") == "gw.example.test"
    assert own_name("gw") == "gw"
    for machine in ("", "not a name", "gw\r\nX: y", "1.2.3.4", "-gw", "gä"):
        assert own_name(machine) == "localhost"


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("Ann@list.test", "ann@list.test"),
        ("Ann", "ann@list.test"),
        ("ann # the first", "ann@list.test"),
        ("a#b@list.test\r", "a#b@list.test"),
        ('"a b"@List.test', "a b@list.test"),
        ('"a@b"', "a@b@list.test"),
        ("ju\u0308rgen", "j\u00fcrgen@list.test"),
        ("ann@b\u00fccher.test", "ann@xn--bcher-kva.test"),
    ],
)
def test_a_list_names_mailboxes_as_recipients_do(line: str, key: str) -> None:
    assert recipients_of(f"# all\n\n{line}\n", "list.test") == (frozenset({key}), 0)


def test_what_is_no_address_is_counted() -> None:
    text = "ann\na b\n@\nx@@y\n"
    assert recipients_of(text, "list.test") == (frozenset({"ann@list.test"}), 3)


def test_a_list_that_cannot_be_read_is_no_list(tmp_path: Path) -> None:
    text = (
        "organizations: [{name: r, domains: [{name: a.test, smtp_host: h.test, "
        "recipients: 'file:list'}]}]\n"
    )
    found = []
    for content in (None, b"\xe4@a.test\n", b"\xef\xbb\xbfann@a.test\n"):
        if content is not None:
            (tmp_path / "list").write_bytes(content)
        (domain,) = hosted_domains(config_of(tmp_path, text).organizations)
        found.append(domain.known)
    assert found == [None, None, {"ann@a.test"}]
