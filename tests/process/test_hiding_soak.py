"""A hidden client learns nothing from time: thousands of good and bad addresses, interleaved.

The figure is the probability that the answer about a good address comes later than that about a bad
one (Mann and Whitney's U over the number of pairs): 0.5 says nothing, and 0.45 to 0.55 is what
SETTINGS 2.2 asks, for RCPT and for the end of data.
"""

import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

import pytest

from tests.process.conftest import StartGateway, StartNextHop
from tests.support.gateway import Gateway
from tests.support.rawclient import RawClient

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

HARVESTER = "127.0.0.2"
PAIRS = 2_000
CLIENTS = 40
SETTINGS = {"exploit_detection": {"hide_addresses": True}, "workers": {"count": 2}}
CONTENT = b"Subject: to whom it may concern\r\n\r\nhello\r\n.\r\n"


class Times:
    """Seconds of the answers to RCPT and to the end of data, for one kind of address."""

    def __init__(self) -> None:
        self.rcpt: list[float] = []
        self.end: list[float] = []


def timed(client: RawClient, octets: bytes, code: int) -> float:
    began = time.perf_counter()
    assert client.command(octets).code == code
    return time.perf_counter() - began


def probe(client: RawClient, address: str, times: Times) -> None:
    client.command("MAIL FROM:<h@client.example>")
    times.rcpt.append(timed(client, f"RCPT TO:<{address}>".encode(), 250))
    client.command("DATA")
    began = time.perf_counter()
    client.send(CONTENT)
    assert client.read_reply().code == 250
    times.end.append(time.perf_counter() - began)


def harvest(gateway: Gateway, numbers: Iterator[int], good: Times, bad: Times) -> None:
    with RawClient(gateway.address, HARVESTER, 60) as client:
        client.greet()
        for number in numbers:
            kinds = [("user", good), ("nobody", bad)]
            for name, times in kinds if number % 2 else reversed(kinds):
                probe(client, f"{name}{number}@example.test", times)


def later(good: Sequence[float], bad: Sequence[float]) -> float:
    """The probability that a good one is later than a bad one; ties count half."""
    ordered = sorted(bad)
    wins = sum(bisect_left(ordered, one) + bisect_right(ordered, one) for one in good) / 2
    return wins / (len(good) * len(bad))


def test_good_and_bad_addresses_take_the_same_time(
    start_gateway: StartGateway, start_next_hop: StartNextHop
) -> None:
    hop = start_next_hop("rcpt:nobody*=550 5.1.1 unknown")
    gateway = start_gateway(hop.address, SETTINGS, recipients="callout")
    with RawClient(gateway.address, HARVESTER) as client:
        client.greet()
        client.command("MAIL FROM:<h@client.example>")
        for number in range(3):
            assert client.command(f"RCPT TO:<nobody-{number}@example.test>").code == 550
    good, bad = Times(), Times()
    shares = [iter(range(first, PAIRS, CLIENTS)) for first in range(CLIENTS)]
    threads = [
        threading.Thread(target=harvest, args=(gateway, share, good, bad)) for share in shares
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(good.end) == len(bad.end) == PAIRS
    at_rcpt, at_end = later(good.rcpt, bad.rcpt), later(good.end, bad.end)
    print(f"\n{PAIRS} pairs: good later than bad at RCPT {at_rcpt:.3f}, at the end {at_end:.3f}")
    assert 0.45 <= at_rcpt <= 0.55
    assert 0.45 <= at_end <= 0.55
