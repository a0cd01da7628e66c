"""Patterns of client addresses, as administrators write them, and the search for the closest one.

Accepted: an IPv4 or IPv6 address; CIDR; the dotted form whose trailing octets are ``*``
(``10.*`` is 10.0.0.0/8, ``10.1.*.*`` is 10.1.0.0/16). A stray trailing dot, as in the manual's
``192.168.*.``, is dropped and told by ``notice``. ``::ffff:a.b.c.d`` is a.b.c.d everywhere.
Refused with a reason: ``*`` in the middle, half octets, names, and whatever covers everybody,
unless the caller says that this is meant.

Pure values; the clock, sockets and the configuration are not known here. A look-up costs one
dictionary access per distinct prefix length.
"""

import ipaddress
import re
from collections.abc import Iterable

_OCTET = re.compile(r"[0-9]{1,3}\Z")
_BITS = {4: 32, 6: 128}
_MAPPED_PREFIX = 0xFFFF


class AddressPattern:
    """One pattern. ``version`` is 4 or 6, or 0 for a bare ``*``, which covers both families;
    ``network`` is the address as a number, host bits zero; ``notice`` is "" or a remark.
    """

    __slots__ = ("network", "notice", "prefix", "version")

    def __init__(self, version: int, network: int, prefix: int, notice: str = "") -> None:
        self.version = version
        self.network = network
        self.prefix = prefix
        self.notice = notice

    @property
    def covers_everybody(self) -> bool:
        """All clients, or all of one family."""
        return self.prefix == 0

    def matches(self, ip: str) -> bool:
        """``ip`` is covered. Raises ValueError for what is no address."""
        version, number = address_number(ip)
        if self.version == 0:
            return True
        if version != self.version:
            return False
        shift = _BITS[version] - self.prefix
        return number >> shift == self.network >> shift

    def __str__(self) -> str:
        if self.version == 0:
            return "*"
        address = (
            ipaddress.IPv4Address(self.network)
            if self.version == 4
            else ipaddress.IPv6Address(self.network)
        )
        if self.prefix == _BITS[self.version]:
            return str(address)
        return f"{address}/{self.prefix}"

    def __repr__(self) -> str:
        return f"AddressPattern({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AddressPattern) and (
            (self.version, self.network, self.prefix)
            == (other.version, other.network, other.prefix)
        )

    def __hash__(self) -> int:
        return hash((self.version, self.network, self.prefix))


def address_number(ip: str) -> tuple[int, int]:
    """(4 or 6, the address as a number), an IPv4-mapped address as IPv4. Raises ValueError."""
    if ":" not in ip:
        return 4, int(ipaddress.IPv4Address(ip))
    number = int(ipaddress.IPv6Address(ip.partition("%")[0]))
    if number >> 32 == _MAPPED_PREFIX:
        return 4, number & 0xFFFFFFFF
    return 6, number


def parse_pattern(text: str, *, everybody: bool = False) -> AddressPattern:
    """The pattern written as ``text``; ``everybody`` allows ``*`` and /0.

    Raises ValueError with a sentence about what is wrong.
    """
    text = text.strip()
    if not text:
        raise ValueError("is empty")
    shown = text if text.isprintable() and len(text) <= 60 else ascii(text[:60])
    try:
        pattern = _parse_star(text) if "*" in text else _parse_network(text)
    except ValueError as e:
        raise ValueError(f"{shown} {e}") from None
    if pattern.covers_everybody and not everybody:
        raise ValueError(f"{shown} covers everybody")
    return pattern


def _parse_star(text: str) -> AddressPattern:
    notice = ""
    if text.endswith(".") and len(text) > 1:
        text = text[:-1]
        notice = f"the trailing dot is ignored: {text}"
    if text == "*":
        return AddressPattern(0, 0, 0, notice)
    octets = text.split(".")
    fixed = [octet for octet in octets if octet != "*"]
    if len(octets) > 4:
        raise ValueError("has more than four octets")
    if octets[len(fixed) :] != ["*"] * (len(octets) - len(fixed)):
        raise ValueError("has a * that is not at the end")
    if any("*" in octet for octet in fixed):
        raise ValueError("has half an octet: a * stands for whole octets")
    network = 0
    for octet in fixed:
        if not _OCTET.match(octet) or int(octet) > 255:
            raise ValueError("is no address pattern")
        network = network << 8 | int(octet)
    prefix = 8 * len(fixed)
    return AddressPattern(4, network << (32 - prefix), prefix, notice)


def _parse_network(text: str) -> AddressPattern:
    address_text, slash, prefix_text = text.partition("/")
    notice = ""
    if address_text.endswith(".") and not slash:
        address_text = address_text[:-1]
        notice = f"the trailing dot is ignored: {address_text}"
    if "%" in address_text:
        raise ValueError("has a scope (%), which is not supported")
    try:
        address = ipaddress.ip_address(address_text)
    except ValueError:
        raise ValueError("must be an address, a network (10.0.0.0/8) or 10.*; no name") from None
    bits: int = address.max_prefixlen
    prefix = bits
    if slash:
        if not (prefix_text.isascii() and prefix_text.isdigit() and len(prefix_text) <= 3):
            raise ValueError("needs a number of bits after the /")
        prefix = int(prefix_text)
        if prefix > bits:
            raise ValueError(f"has more than {bits} bits after the /")
    version: int = address.version
    number = int(address)
    if version == 6 and number >> 32 == _MAPPED_PREFIX and prefix >= 96:
        version, number, prefix, bits = 4, number & 0xFFFFFFFF, prefix - 96, 32
    network = number >> (bits - prefix) << (bits - prefix)
    if network != number:
        notice = "bits behind the prefix are ignored"
    return AddressPattern(version, network, prefix, notice)


class AddressTable:
    """Patterns in rows; ``find`` names the row that fits best. Built once, then only read."""

    __slots__ = ("_v4", "_v6")

    def __init__(self, patterns: Iterable[AddressPattern]) -> None:
        by_length: dict[int, dict[int, dict[int, int]]] = {4: {}, 6: {}}
        for row, pattern in enumerate(patterns):
            for version in (4, 6) if pattern.version == 0 else (pattern.version,):
                shift = _BITS[version] - pattern.prefix
                # ties: the first row wins
                by_length[version].setdefault(shift, {}).setdefault(pattern.network >> shift, row)
        self._v4 = tuple(sorted(by_length[4].items()))
        self._v6 = tuple(sorted(by_length[6].items()))

    def find(self, ip: str) -> int | None:
        """The number of the most specific row that covers ``ip``, None if none does.

        Raises ValueError for what is no address.
        """
        version, number = address_number(ip)
        for shift, networks in self._v4 if version == 4 else self._v6:
            row = networks.get(number >> shift)
            if row is not None:
                return row
        return None

    def __contains__(self, ip: str) -> bool:
        return self.find(ip) is not None
