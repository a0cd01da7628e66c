"""The list of targets. Each is there twice: octets as they are, where libFuzzer's dictionary helps,
and octets made of fragments, which gets deep at once.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from tests.fuzz import address, client, data, proxyheader, server

Check = Callable[[bytes], None]


class Target(NamedTuple):
    """``share`` is its part of a campaign's inputs; the longest input is ``max_len`` octets.

    ``fragments`` are the words of the dictionary, or what the octets stand for (``is_fragments``).
    """

    check: Check
    share: int
    max_len: int
    fragments: Sequence[bytes]
    is_fragments: bool


TARGETS: Final[dict[str, Target]] = {
    "server": Target(server.raw, 18, 256, server.FRAGMENTS, False),
    "server_fragments": Target(server.fragments, 22, 24, server.FRAGMENTS, True),
    "data": Target(data.raw, 10, 128, data.FRAGMENTS, False),
    "data_fragments": Target(data.fragments, 15, 32, data.FRAGMENTS, True),
    "client": Target(client.raw, 8, 256, client.FRAGMENTS, False),
    "client_fragments": Target(client.fragments, 7, 24, client.FRAGMENTS, True),
    "address": Target(address.raw, 6, address.LONGEST, address.FRAGMENTS, False),
    "address_fragments": Target(address.fragments, 14, 64, address.FRAGMENTS, True),
    "proxyheader": Target(proxyheader.raw, 3, 256, proxyheader.FRAGMENTS, False),
    "proxyheader_fragments": Target(proxyheader.fragments, 5, 24, proxyheader.FRAGMENTS, True),
}


def shares(total: int) -> dict[str, int]:
    """``total`` inputs divided among the targets, rounded up."""
    parts = sum(target.share for target in TARGETS.values())
    return {name: -(-total * target.share // parts) for name, target in TARGETS.items()}
