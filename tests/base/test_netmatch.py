"""Address patterns: the grammar, what is refused, and which row wins."""

import ipaddress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gwsmtp.base.netmatch import AddressTable, address_number, parse_pattern


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("10.*", "10.0.0.0/8"),
        ("192.168.*", "192.168.0.0/16"),
        ("10.1.*.*", "10.1.0.0/16"),
        ("172.16.0.0/12", "172.16.0.0/12"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::1", "::1"),
        ("::ffff:10.1.1.1", "10.1.1.1"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("  10.0.0.1  ", "10.0.0.1"),
        ("10.0.0.1/32", "10.0.0.1"),
    ],
)
def test_patterns_have_one_canonical_form(text: str, canonical: str) -> None:
    assert str(parse_pattern(text)) == canonical


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("10.*.1", "not at the end"),
        ("*.10", "not at the end"),
        ("10.1*", "half an octet"),
        ("1*.2.*", "half an octet"),
        ("mail.example.com", "no name"),
        ("10.0.0.0/33", "more than 32"),
        ("10.0.0.0/x", "number of bits"),
        ("10.0.0.0/", "number of bits"),
        ("10.0.0.256", "address"),
        ("300.*", "no address pattern"),
        ("1.2.3.4.*", "more than four"),
        ("*", "everybody"),
        ("0.0.0.0/0", "everybody"),
        ("::/0", "everybody"),
        ("*.*.*.*", "everybody"),
        ("fe80::1%eth0", "scope"),
    ],
)
def test_what_is_refused_says_why(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_pattern(text)


def test_everybody_is_possible_when_meant() -> None:
    both = parse_pattern("*", everybody=True)
    assert both.matches("192.0.2.1")
    assert both.matches("2001:db8::1")
    assert str(both) == "*"
    v4 = parse_pattern("0.0.0.0/0", everybody=True)
    assert v4.matches("192.0.2.1")
    assert not v4.matches("2001:db8::1")


def test_the_manuals_stray_dot_is_ignored_with_a_notice() -> None:
    pattern = parse_pattern("192.168.*.")
    assert str(pattern) == "192.168.0.0/16"
    assert "trailing dot" in pattern.notice
    assert parse_pattern("192.168.*").notice == ""
    assert "trailing dot" in parse_pattern("10.0.0.1.").notice


def test_host_bits_are_told() -> None:
    assert parse_pattern("10.1.2.3/8").notice
    assert not parse_pattern("10.0.0.0/8").notice


@pytest.mark.parametrize(
    ("pattern", "ip", "covered"),
    [
        ("192.168.*.", "192.168.7.9", True),
        ("192.168.*.", "192.169.0.1", False),
        ("172.16.0.0/12", "172.31.255.255", True),
        ("172.16.0.0/12", "172.32.0.0", False),
        ("10.*", "::ffff:10.1.1.1", True),
        ("10.*", "::10.1.1.1", False),
        ("2001:db8::/64", "2001:db8::ffff", True),
        ("2001:db8::/64", "10.0.0.1", False),
    ],
)
def test_matching(pattern: str, ip: str, covered: bool) -> None:
    assert parse_pattern(pattern).matches(ip) is covered
    assert (ip in AddressTable([parse_pattern(pattern)])) is covered


def test_the_most_specific_row_wins_and_the_first_of_equals() -> None:
    rows = ["10.*", "10.1.*", "10.1.2.3", "10.1.*.*"]
    table = AddressTable(parse_pattern(row) for row in rows)
    assert table.find("10.9.9.9") == 0
    assert table.find("10.1.9.9") == 1
    assert table.find("10.1.2.3") == 2
    assert table.find("11.0.0.1") is None


def test_star_is_the_last_resort_of_both_families() -> None:
    table = AddressTable([parse_pattern("*", everybody=True), parse_pattern("10.*")])
    assert table.find("10.0.0.1") == 1
    assert table.find("2001:db8::1") == 0


def test_patterns_are_values() -> None:
    assert parse_pattern("10.*") == parse_pattern("10.0.0.0/8")
    assert len({parse_pattern("10.*"), parse_pattern("10.0.0.0/8")}) == 1
    assert parse_pattern("10.*") != "10.*"
    assert repr(parse_pattern("10.*")) == "AddressPattern('10.0.0.0/8')"
    assert str(parse_pattern("2001:db8::1")) == "2001:db8::1"


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match="example"):
        address_number("example")


@settings(deadline=None)
@example(ipaddress.IPv6Address("::"), 80)  # its last address is 255.255.255.255, mapped
@given(st.ip_addresses(), st.integers(0, 128))
def test_a_network_covers_exactly_what_ipaddress_says(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, prefix: int
) -> None:
    prefix = min(prefix, address.max_prefixlen)
    network = ipaddress.ip_network((address, prefix), strict=False)
    pattern = parse_pattern(str(network), everybody=True)
    for inside in (network[0], network[-1]):
        # A mapped address is an IPv4 client, which no wider IPv6 network covers.
        is_mapped = inside.version == 6 and ipaddress.IPv6Address(inside).ipv4_mapped is not None
        assert pattern.matches(str(inside)) == (not is_mapped or prefix >= 96)
    if int(network[-1]) + 1 < 2**address.max_prefixlen:
        outside = type(address)(int(network[-1]) + 1)
        if not (outside.version == 6 and ipaddress.IPv6Address(outside).ipv4_mapped):
            assert not pattern.matches(str(outside))


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_gives_a_pattern_or_a_reason(text: str) -> None:
    try:
        parse_pattern(text, everybody=True)
    except ValueError as e:
        assert str(e)
