"""Who a client is to the table: one 64-bit tag for its address, one for its network.

An IPv4 client is its address and its network the /24; an IPv6 client is its /64, as a host has as
many addresses in there as it likes, and its network the /48. A tag is the whole identity, never a
hash of it. IPv4 tags and the few IPv6 prefixes that would be 0 stand in 0100::/64's neighbourhood
(RFC 6666: discarded everywhere), from where no client can come.

Where in the table a tag belongs is told by a keyed hash (``Placement``): who does not know the
table's secret cannot aim many addresses at one bucket.
"""

import ipaddress
from hashlib import blake2b
from typing import Final

from gwsmtp.base.netmatch import address_number
from gwsmtp.limits.arena import Table
from gwsmtp.limits.layout import CLIENT_COUNT, ROLLUP_COUNT, WAYS

_V4: Final = 0x01FFFFFF << 32
_V4_NETWORK: Final = 0x01FFFFFD << 32
_V6_NETWORK_ZERO: Final = 0x01FFFFFC << 32
_V6_ZERO: Final = 0x01FFFFFE << 32
_RESERVED: Final = 0x01FFFFFC
_HOST_BITS_V6: Final = 64
_CLIENT_BUCKETS: Final = CLIENT_COUNT // WAYS
_ROLLUP_BUCKETS: Final = ROLLUP_COUNT // WAYS
_MASK_128: Final = (1 << 128) - 1
_PLACE_SHIFT: Final = 96
_MASK_24: Final = 0xFFFFFF00
_MASK_48: Final = 0xFFFFFFFFFFFF0000


class Identity:
    """A client's two tags. Built once per connection."""

    __slots__ = ("client", "network")

    def __init__(self, client: int, network: int) -> None:
        self.client = client
        self.network = network


def identify(ip: str) -> Identity:
    """The tags of an address in text. Raises ValueError for what is no address."""
    version, number = address_number(ip)
    if version == 4:
        return Identity(_V4 | number, _V4_NETWORK | number & _MASK_24)
    prefix = number >> _HOST_BITS_V6
    if prefix >> 32 >= _RESERVED and prefix >> 32 <= _RESERVED + 3:
        prefix = 0
    return Identity(prefix or _V6_ZERO, prefix & _MASK_48 or _V6_NETWORK_ZERO)


def describe(tag: int, *, is_network: bool = False) -> str:
    """A tag in text: ``192.0.2.7``, ``192.0.2.0/24``, ``2001:db8:1:2::/64``. Only IPv6 needs to be
    told which of the two tags it is, for ``2001:db8:1::/48``.
    """
    kind, low = tag >> 32 << 32, tag & 0xFFFFFFFF
    if kind == _V4:
        return str(ipaddress.IPv4Address(low))
    if kind == _V4_NETWORK:
        return f"{ipaddress.IPv4Address(low)}/24"
    prefix = 0 if kind in (_V6_ZERO, _V6_NETWORK_ZERO) else tag
    return f"{ipaddress.IPv6Address(prefix << _HOST_BITS_V6)}/{48 if is_network else 64}"


def address_of(tag: int) -> tuple[int, int]:
    """A client's tag as numbers: 4 and its address, or 6 and the first 64 bits of it."""
    kind = tag >> 32 << 32
    if kind == _V4:
        return 4, tag & 0xFFFFFFFF
    return 6, 0 if kind == _V6_ZERO else tag


class Placement:
    """Places tags in buckets of eight and makes fingerprints, by the table's secret.

    Places come from multiply-add-shift with two secret numbers of 128 bits (Dietzfelbinger 1996):
    over their choice any two tags are placed independently of each other, whichever they are, and
    nobody outside sees a place from which the numbers could be worked out. That is a fifth of what
    a cryptographic hash costs, and each admission needs two.
    """

    __slots__ = ("_addend", "_factor", "_key")

    def __init__(self, table: Table) -> None:
        self._key = table.secret
        self._factor, self._addend = (
            int.from_bytes(blake2b(name, digest_size=16, key=self._key).digest(), "little")
            for name in (b"factor", b"addend")
        )

    def client_bucket(self, tag: int) -> int:
        """The first row of the bucket of client ``tag``."""
        place = (tag * self._factor + self._addend & _MASK_128) >> _PLACE_SHIFT
        return place % _CLIENT_BUCKETS * WAYS

    def rollup_bucket(self, tag: int) -> int:
        """The first row of the bucket of network ``tag``."""
        place = (tag * self._factor + self._addend & _MASK_128) >> _PLACE_SHIFT
        return place % _ROLLUP_BUCKETS * WAYS

    def fingerprint(self, text: bytes) -> int:
        """32 bits that stand for ``text`` in this table, never 0."""
        digest = blake2b(text, digest_size=4, key=self._key).digest()
        return int.from_bytes(digest, "little") or 1
