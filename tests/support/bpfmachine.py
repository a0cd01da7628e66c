"""The kernel's machine for classic BPF, as far as our filters go: runs a program on a header."""

import struct
from ipaddress import IPv4Address, IPv6Address

SIZE = 8
_NET = 0xFFF00000


def header_v4(source: str) -> bytes:
    """The IPv4 header of a segment from ``source``."""
    return bytes([0x45]) + bytes(11) + IPv4Address(source).packed + bytes([127, 0, 0, 1])


def header_v6(source: str) -> bytes:
    """The IPv6 header of a segment from ``source``."""
    return bytes([0x60]) + bytes(7) + IPv6Address(source).packed + IPv6Address("::1").packed


def run(program: bytes, header: bytes) -> tuple[int, int]:
    """(how many octets of the segment are kept, steps it took); fails where the kernel would refuse
    the program, or on what it would not do.
    """
    code = list(struct.iter_unpack("HBBI", program))
    position = accumulator = steps = 0
    while True:
        operation, if_true, if_false, operand = code[position]
        position += 1
        steps += 1
        if operation == 0x20:
            offset = operand - _NET
            (accumulator,) = struct.unpack(">I", header[offset : offset + 4])
        elif operation == 0x30:
            accumulator = header[operand - _NET]
        elif operation == 0x74:
            accumulator >>= operand
        elif operation == 0x05:
            position += operand
        elif operation == 0x15:
            position += if_true if accumulator == operand else if_false
        elif operation == 0x35:
            position += if_true if accumulator >= operand else if_false
        elif operation == 0x06:
            return operand, steps
        else:
            raise AssertionError(f"no such operation: {operation:#x}")
