"""Who a client is: tags are whole identities, families never meet, places depend on a secret."""

import ipaddress
import random
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


def test_places_spread_and_stay_within_the_table() -> None:
    table = make_table()
    placement = Placement(table)
    rng = random.Random(1)
    tags = [identify(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}").client for n in range(CLIENT_COUNT)]
    used = Counter(placement.client_bucket(tag) for tag in tags)
    assert all(bucket % WAYS == 0 and 0 <= bucket < CLIENT_COUNT for bucket in used)
    assert max(used.values()) < 32, "eight a bucket on average"
    assert len(used) > CLIENT_COUNT / WAYS * 0.99
    networks = {placement.rollup_bucket(rng.getrandbits(64)) for _ in range(20_000)}
    assert all(bucket % WAYS == 0 and 0 <= bucket < ROLLUP_COUNT for bucket in networks)
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
