"""Who a client is: tags are whole identities, families never meet, places depend on a secret."""

import ipaddress
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwsmtp.limits.arena import create_table
from gwsmtp.limits.identity import Placement, describe, identify
from gwsmtp.limits.layout import CLIENT_COUNT, ROLLUP_COUNT, WAYS
from tests.support.tables import make_table


@pytest.mark.parametrize(
    ("ip", "client", "network"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.0/24"),
        ("0.0.0.0", "0.0.0.0", "0.0.0.0/24"),
        ("255.255.255.255", "255.255.255.255", "255.255.255.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/64", "fe80::/48"),
        ("::1", "::/64", "::/48"),
    ],
)
def test_address_and_network_in_text(ip: str, client: str, network: str) -> None:
    identity = identify(ip)
    assert describe(identity.client) == client
    assert describe(identity.network, is_network=True) == network


@pytest.mark.parametrize("ip", ["", "192.0.2", "x", "192.0.2.7/32", "2001:db8::/64"])
def test_what_is_no_address(ip: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        identify(ip)


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_ipv4_clients_are_their_addresses(one: object, other: object) -> None:
    first, second = identify(str(one)), identify(str(other))
    assert (first.client == second.client) == (one == other)
    same_24 = str(one).rpartition(".")[0] == str(other).rpartition(".")[0]
    assert (first.network == second.network) == same_24
    assert len({first.client, first.network, 0}) == 3


@given(st.integers(0, 2**128 - 1), st.integers(0, 127))
def test_ipv6_clients_are_their_64(number: int, flipped: int) -> None:
    one = ipaddress.IPv6Address(number)
    other = ipaddress.IPv6Address(number ^ 1 << flipped)
    if one.ipv4_mapped or other.ipv4_mapped or (number >> 96) in range(0x01FFFFFC, 0x02000000):
        return
    first, second = identify(str(one)), identify(str(other))
    assert (first.client == second.client) == (flipped < 64)
    assert (first.network == second.network) == (flipped < 80)
    assert first.client and first.network


@pytest.mark.parametrize("prefix", range(0x01FFFFFC, 0x02000000))
def test_no_ipv6_client_can_take_the_tag_of_an_ipv4_one(prefix: int) -> None:
    forged = ipaddress.IPv6Address((prefix << 32 | 0xC0000207) << 64)
    real = identify("192.0.2.7")
    identity = identify(str(forged))
    assert not {identity.client, identity.network} & {real.client, real.network}
    assert identity.client == identify("::1").client


NEIGHBOURS = {
    "all of a /16": (identify("10.1.0.0").client, 1),
    "one of each /24": (identify("10.0.0.9").client, 1 << 8),
    "one of each /18": (identify("0.0.0.9").client, 1 << 14),
    "each /64 of a /48": (identify("2001:db8:1::").client, 1),
    "one of each /48": (identify("2001:db8::7").client, 1 << 16),
    "one of each /32": (identify("2001:db8::7").client, 1 << 32),
    "an odd step": (identify("2a00::").client, 0x1_2345_6789),
}


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_places_spread_and_stay_within_the_table(name: str) -> None:
    """65,536 clients whose addresses follow one another, eight a bucket on average."""
    first, step = NEIGHBOURS[name]
    table = make_table()
    placement = Placement(table)
    tags = [(first + n * step) % 2**64 for n in range(CLIENT_COUNT)]
    for bucket_of, count in (
        (placement.client_bucket, CLIENT_COUNT),
        (placement.rollup_bucket, ROLLUP_COUNT),
    ):
        used = Counter(map(bucket_of, tags))
        assert all(bucket % WAYS == 0 and 0 <= bucket < count for bucket in used)
        average = CLIENT_COUNT // (count // WAYS)
        assert max(used.values()) <= 3 * average
        assert len(used) > count / WAYS * 0.99
    table.close()


def test_places_and_fingerprints_are_the_tables_own(tmp_path: Path) -> None:
    tags = range(1, 400)
    places: list[list[int]] = []
    prints: list[list[int]] = []
    for secret in (bytes(16), bytes(15) + b"\1", bytes(15) + b"\1"):
        table = create_table(tmp_path / f"{len(places)}.table", now_ms=1, secret=secret)
        placement = Placement(table)
        places.append([placement.client_bucket(tag) for tag in tags])
        prints.append([placement.fingerprint(b"%d" % tag) for tag in tags])
        table.close()
    assert places[1] == places[2]
    assert prints[1] == prints[2]
    assert sum(a == b for a, b in zip(*places[:2], strict=True)) < 5
    assert not set(prints[0]) & set(prints[1])
    assert all(0 < number < 1 << 32 for number in prints[0])
