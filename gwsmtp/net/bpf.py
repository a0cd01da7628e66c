"""Socket filters: classic BPF programs that drop the segments of some clients before TCP sees them.

``program`` is pure: clients in, machine code out. A segment is judged by the source in its IP
header: version first, then a search by halves, so 3,000 addresses cost a dozen comparisons. IPv4
clients are addresses, IPv6 clients /64s.

Attaching wants privileges; detaching does not. What a listener accepts inherits the listener's
filter, and has to ``detach`` it. Nothing here blocks.

Limits: 4,096 instructions, about 3,200 IPv4 addresses or 680 IPv6 prefixes of as many networks.
"""

import ctypes
import errno
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Final, Protocol

MOST_INSTRUCTIONS: Final = 4096
SIZE: Final = 8
"""Octets of an instruction."""

# Linux's asm-generic/socket.h; Python has no names for them.
_SO_ATTACH_FILTER: Final = 26
_SO_DETACH_FILTER: Final = 27

_NET: Final = 0xFFF00000  # SKF_NET_OFF: offsets from here on are into the IP header
_LOAD_WORD: Final = 0x20
_LOAD_BYTE: Final = 0x30
_SHIFT_RIGHT: Final = 0x74
_JUMP: Final = 0x05
_JUMP_EQUAL: Final = 0x15
_JUMP_NOT_LESS: Final = 0x35
_RETURN: Final = 0x06
_LONGEST_JUMP: Final = 255
_SOURCE_V4: Final = 12
_SOURCE_V6: Final = 8

_Code = list[tuple[int, int, int, int]]
"""Instructions: operation, offset when true, offset when false, operand."""

_PASS: Final = (_RETURN, 0, 0, 0xFFFFFFFF)
_DROP: Final = (_RETURN, 0, 0, 0)
_LEAF: Final = 16


class FilteredSocket(Protocol):
    """The part of a socket that is used here."""

    def setsockopt(self, level: int, option: int, value: int | bytes, /) -> None: ...


def program(clients: Sequence[tuple[int, int]], most: int = MOST_INSTRUCTIONS) -> tuple[bytes, int]:
    """A program that drops as many of the first ``clients`` as fit into ``most`` instructions, and
    how many these are. Clients are (4, address) or (6, first 64 bits).
    """
    count = len(clients)
    while True:
        code = _assemble(clients[:count])
        if len(code) <= most:
            return b"".join(struct.pack("HBBI", *one) for one in code), count
        count = min(count * most // len(code), count - 1)


def attach(sock: FilteredSocket, octets: bytes) -> None:
    """Puts ``octets`` of ``program`` on a socket in place of what was there, in one step. Raises
    OSError: PermissionError without privileges.
    """
    buffer = ctypes.create_string_buffer(octets, len(octets))
    descriptor = struct.pack("HP", len(octets) // SIZE, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, descriptor)


def detach(sock: FilteredSocket) -> None:
    """Takes a socket's filter away, if it has one."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise


def _assemble(clients: Sequence[tuple[int, int]]) -> _Code:
    v4 = sorted({number for version, number in clients if version == 4})
    v6: dict[int, list[int]] = {}
    for number in sorted({number for version, number in clients if version == 6}):
        v6.setdefault(number >> 32, []).append(number & 0xFFFFFFFF)
    code: _Code = [(_LOAD_BYTE, 0, 0, _NET), (_SHIFT_RIGHT, 0, 0, 4)]
    if v4:
        code += _if_equal(4, [(_LOAD_WORD, 0, 0, _NET + _SOURCE_V4), *_search(v4, _among)])
    if v6:

        def prefixes(firsts: list[int]) -> _Code:
            found: _Code = []
            for first in firsts:
                rest = _search(v6[first], _among)
                found += _if_equal(first, [(_LOAD_WORD, 0, 0, _NET + _SOURCE_V6 + 4), *rest])
            return [*found, _PASS]

        code += _if_equal(6, [(_LOAD_WORD, 0, 0, _NET + _SOURCE_V6), *_search(list(v6), prefixes)])
    return [*code, _PASS]


def _if_equal(number: int, then: _Code) -> _Code:
    """Goes into ``then``, which returns, when the accumulator is ``number``; else past it."""
    if len(then) <= _LONGEST_JUMP:
        return [(_JUMP_EQUAL, 0, len(then), number), *then]
    return [(_JUMP_EQUAL, 1, 0, number), (_JUMP, 0, 0, len(then)), *then]


def _search(numbers: list[int], leaf: Callable[[list[int]], _Code]) -> _Code:
    """Goes into the leaf that the accumulator belongs to; returns on every way."""
    if len(numbers) <= _LEAF:
        return leaf(numbers)
    middle = len(numbers) // 2
    low, high = _search(numbers[:middle], leaf), _search(numbers[middle:], leaf)
    if len(low) <= _LONGEST_JUMP:
        return [(_JUMP_NOT_LESS, len(low), 0, numbers[middle]), *low, *high]
    return [(_JUMP_NOT_LESS, 0, 1, numbers[middle]), (_JUMP, 0, 0, len(low)), *low, *high]


def _among(numbers: list[int]) -> _Code:
    """Drops when the accumulator is one of a few numbers."""
    count = len(numbers)
    tests = [(_JUMP_EQUAL, count - index, 0, number) for index, number in enumerate(numbers)]
    return [*tests, _PASS, _DROP]
