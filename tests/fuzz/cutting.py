"""How one input says both what arrives and how the network cut it.

The low two bits of the first octet say how many octets follow that are lengths of pieces, used in
turn; with none of them, the first SINGLE octets arrive one by one and the rest at once. Plain
slices: half of an input's time would be spent in a reader of fields.
"""

from collections.abc import Iterator

SINGLE = 48
_WHOLE = b"\x01\xff"
_LONG = 128  # a length above it is meant in sixteens


def split(data: bytes) -> tuple[bytes, bytes]:
    """An input as (steering, what arrives)."""
    size = 1 + (data[0] & 3) if data else 0
    return data[1:size], data[size:]


def pieces(octets: bytes, steering: bytes) -> Iterator[bytes]:
    """``octets`` in the pieces that ``steering`` asks for; never an empty one."""
    start = 0
    if not steering:
        start = min(SINGLE, len(octets))
        for position in range(start):
            yield octets[position : position + 1]
        if start < len(octets):
            yield octets[start:]
        return
    lengths = [(b + 1 if b < _LONG else (b - _LONG) * 16 + _LONG) for b in steering]
    while start < len(octets):
        for length in lengths:
            if start < len(octets):
                yield octets[start : start + length]
                start += length


def uncut(octets: bytes) -> bytes:
    """The input that makes ``octets`` arrive at once, or nearly so."""
    return _WHOLE + octets
