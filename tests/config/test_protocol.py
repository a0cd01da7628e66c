"""Protocol, rows 36-56: profiles, names, banner."""

from pathlib import Path

import pytest

from gwsmtp.config.protocol import ProtocolGroup
from gwsmtp.config.setting import mark_of
from tests.config.helpers import config_of, problem

TIMERS = {
    "client_connection_timeout": (15, 300),
    "client_protocol_timeout": (5, 300),
    "client_data_command_timeout": (10, 300),
    "client_data_payload_timeout": (10, 180),
    "tls_negotiation_timeout": (15, 60),
    "tls_fail_recovery_timeout": (2, 10),
    "server_connection_timeout": (60, 300),
    "server_protocol_timeout": (60, 300),
    "server_data_timeout": (60, 600),
}


@pytest.mark.parametrize(("name", "values"), TIMERS.items())
def test_the_relaxed_profile_and_explicit_values(
    tmp_path: Path, name: str, values: tuple[int, int]
) -> None:
    manual, relaxed = values
    assert getattr(ProtocolGroup(), name) == manual
    assert getattr(ProtocolGroup(timeout_profile="relaxed"), name) == relaxed
    text = f"protocol: {{{name}: 7, timeout_profile: relaxed}}\n"  # the order does not matter
    group = config_of(tmp_path, text).protocol
    assert getattr(group, name) == 7
    others = [other for other in TIMERS if other != name]
    assert all(getattr(group, other) == TIMERS[other][1] for other in others)


def test_every_timer_is_in_the_table() -> None:
    computed = [n for n, f in ProtocolGroup.model_fields.items() if f.default_factory is not None]
    assert computed == list(TIMERS)
    for name in computed:
        mark = mark_of(ProtocolGroup.model_fields[name])
        assert mark is not None
        assert mark.default_text == str(TIMERS[name][0])


def test_a_bad_profile_is_one_problem(tmp_path: Path) -> None:
    found = problem(tmp_path, "protocol: {timeout_profile: fast}")
    assert found == "gw.yaml:2 protocol.timeout_profile: must be manual or relaxed"


def test_control_characters_in_a_banner_are_stripped(tmp_path: Path) -> None:
    text = 'protocol: {banner: " mail.example.com\\r\\n220 x\\t "}\n'
    assert config_of(tmp_path, text).protocol.banner == "mail.example.com 220 x"
    assert "ASCII" in problem(tmp_path, "protocol: {banner: grüße}")


@pytest.mark.parametrize(
    "name", ["", "%client%", "[192.0.2.1]", "[IPv6:2001:db8::1]", "GW.example.com."]
)
def test_forwarded_names(tmp_path: Path, name: str) -> None:
    text = f'protocol: {{forwarded_helo_domain: "{name}"}}\n'
    expected = "gw.example.com" if name.startswith("GW") else name
    assert config_of(tmp_path, text).protocol.forwarded_helo_domain == expected


@pytest.mark.parametrize("name", ["%host%", "a b", "[x y]", "-a"])
def test_bad_forwarded_names(tmp_path: Path, name: str) -> None:
    assert "host name" in problem(tmp_path, f'protocol: {{forwarded_helo_domain: "{name}"}}')


def test_names_and_addresses(tmp_path: Path) -> None:
    text = "protocol: {postmaster_email: postmaster@example.com, host_domain: GW.example.com}\n"
    group = config_of(tmp_path, text).protocol
    assert group.postmaster_email == "postmaster@example.com"
    assert group.host_domain == "gw.example.com"
    for bad in ("postmaster", "a@b@c", "a@", "@b", "a b@c.d"):
        found = problem(tmp_path, f'protocol: {{postmaster_email: "{bad}"}}')
        assert "must be an address" in found
    assert "host name" in problem(tmp_path, "protocol: {host_domain: 'a..b'}")


def test_ehlo_lines(tmp_path: Path) -> None:
    text = "protocol:\n  custom_ehlo_responses: |\n    XONE a, b\n\n    XTWO\n"
    assert config_of(tmp_path, text).protocol.custom_ehlo_responses == ("XONE a, b", "XTWO")
    many = ", ".join(["X"] * 21)
    found = problem(tmp_path, f"protocol: {{custom_ehlo_responses: [{many}]}}")
    assert "at most 20 entries" in found
