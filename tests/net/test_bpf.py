"""Filters: run by a machine of our own, and by the kernel."""

import ipaddress
import os
import random
import socket

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gwsmtp.net import bpf
from tests.support.bpfmachine import SIZE, header_v4, header_v6, run

EVERYTHING = 0xFFFFFFFF

# Few distinct halves, so that prefixes share them and sources hit
NUMBERS = st.one_of(st.integers(0, 40), st.integers(0, 2**32 - 1))
CLIENTS = st.lists(
    st.one_of(
        st.tuples(st.just(4), NUMBERS),
        st.tuples(st.just(6), st.builds(lambda high, low: high << 32 | low, NUMBERS, NUMBERS)),
    ),
    max_size=200,
)


def header(client: tuple[int, int], host: int = 1) -> bytes:
    version, number = client
    if version == 4:
        return header_v4(str(ipaddress.IPv4Address(number)))
    return header_v6(str(ipaddress.IPv6Address(number << 64 | host)))


@settings(deadline=None)
@given(CLIENTS, CLIENTS)
@example([(4, number) for number in range(0, 6000, 2)], [(4, 1), (4, 5999)])
@example([(6, 5 << 32 | number) for number in range(0, 2000, 2)], [(6, 5 << 32 | 1)])
def test_those_named_are_dropped_and_nobody_else(
    clients: list[tuple[int, int]], others: list[tuple[int, int]]
) -> None:
    octets, count = bpf.program(clients)
    assert count == len(clients)
    named = set(clients)
    for client in [*clients, *others]:
        kept, steps = run(octets, header(client))
        assert kept == (0 if client in named else EVERYTHING)
        assert steps < 50


def test_a_prefix_covers_all_its_hosts_and_an_address_only_its_version() -> None:
    octets, _ = bpf.program([(6, 0x20010DB800010002), (4, 0x20010DB8)])
    for source in ("2001:db8:1:2::", "2001:db8:1:2:ffff:ffff:ffff:ffff"):
        assert run(octets, header_v6(source))[0] == 0
    for source in ("2001:db8:1:3::", "2001:db8:0:2::1", "2002:db8:1:2::1"):
        assert run(octets, header_v6(source))[0] == EVERYTHING
    assert run(octets, header_v4("32.1.13.184"))[0] == 0
    assert run(octets, header_v4("32.1.13.185"))[0] == EVERYTHING


@pytest.mark.parametrize(("version", "least"), [(4, 3000), (6, 600)])
def test_what_does_not_fit_is_left_out_at_the_end(version: int, least: int) -> None:
    rng = random.Random(3)
    bits = 32 if version == 4 else 64
    clients = [(version, rng.getrandbits(bits)) for _ in range(10_000)]
    octets, count = bpf.program(clients)
    assert least <= count < 10_000
    assert len(octets) <= bpf.MOST_INSTRUCTIONS * SIZE
    for client in clients[:count]:
        assert run(octets, header(client))[0] == 0
    for client in clients[count : count + 500]:
        assert run(octets, header(client))[0] == EVERYTHING
    small, count = bpf.program(clients, 64)
    assert 0 < count < 64
    assert len(small) <= 64 * SIZE


@pytest.mark.full
@pytest.mark.skipif(os.geteuid() != 0, reason="attaching wants privileges")
@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_the_kernel_runs_it(family: socket.AddressFamily, host: str) -> None:
    rng = random.Random(4)
    version = 4 if family == socket.AF_INET else 6
    source = (4, 0x7F000001) if version == 4 else (6, 0)
    crowd = [(version, rng.getrandbits(32) << 32 | 1 if version == 6 else rng.getrandbits(32))]
    crowd += [(version, rng.getrandbits(32)) for _ in range(500)]
    with socket.socket(family, socket.SOCK_DGRAM) as receiver:
        receiver.bind((host, 0))
        receiver.setblocking(False)
        with socket.socket(family, socket.SOCK_DGRAM) as sender:

            def arrives() -> bool:  # loopback delivers before sendto returns
                sender.sendto(b"x", receiver.getsockname())
                try:
                    return receiver.recv(16) == b"x"
                except BlockingIOError:
                    return False

            assert arrives()
            bpf.attach(receiver, bpf.program([*crowd, source])[0])
            assert not arrives()
            bpf.attach(receiver, bpf.program(crowd)[0])
            assert arrives()
            bpf.attach(receiver, bpf.program([source])[0])
            bpf.detach(receiver)
            assert arrives()
            bpf.detach(receiver)  # there is none: nothing to complain about
