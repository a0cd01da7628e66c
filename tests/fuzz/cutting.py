"""How one input says both what arrives and how the network cut it.

The first octet says where the cuts begin, in fours; the halves of the second are two lengths that
MOST_PIECES pieces have in turn; the rest comes at once. So every place can be a cut, and the cost
of cutting has a bound. Plain slices: a reader of fields would cost half of an input's time.
"""

MOST_PIECES = 8
HEAD = 2
_WHOLE = b"\xff\xff"


def split(data: bytes) -> tuple[bytes, bytes]:
    """An input as (steering, what arrives)."""
    return data[:HEAD], data[HEAD:]


def pieces(octets: bytes, steering: bytes) -> list[bytes]:
    """``octets`` in the pieces that ``steering`` asks for; never an empty one."""
    if len(steering) < HEAD:
        return [octets] if octets else []
    start = steering[0] * 4
    found = [octets[:start]]
    lengths = (steering[1] & 15) + 1, (steering[1] >> 4) + 1
    for number in range(MOST_PIECES):
        if start >= len(octets):
            break
        end = start + lengths[number & 1]
        found.append(octets[start:end])
        start = end
    found.append(octets[start:])
    return [piece for piece in found if piece]


def uncut(octets: bytes) -> bytes:
    """The input that makes ``octets`` arrive at once, or nearly so."""
    return _WHOLE + octets
