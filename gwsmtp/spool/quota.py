"""How much of each client was kept today: exact over all processes, in one file of a fixed size.

The file is a hash table: ``_BUCKETS`` buckets of ``_WAYS`` rows {client, day, messages, octets}. A
client is an IPv4 address or an IPv6 /64. In a full bucket the row of an earlier day goes first,
then the one with the fewest messages: an attacker with very many addresses gets a little more
kept, never more disk than the hold's own limits allow. Days are UTC's. Whoever counts holds the
file's lock. Blocks on the disk.

Limits: nothing is fsynced; after a power failure a client may start its day again.
"""

import fcntl
import ipaddress
import os
import struct
import zlib
from pathlib import Path
from typing import Final

from gwsmtp.base.errors import SpoolError

_ROW: Final = struct.Struct("<16sIIQ")
_WAYS: Final = 8
_BUCKETS: Final = 8192
_BUCKET_OCTETS: Final = _WAYS * _ROW.size
_DAY_S: Final = 86_400


class DailyQuota:
    """``messages`` and ``octets`` are what one client may have kept in a day."""

    __slots__ = ("_messages", "_octets", "_path")

    def __init__(self, path: Path, messages: int, octets: int) -> None:
        self._path = path
        self._messages = messages
        self._octets = octets

    def take(self, client_ip: str, octets: int, now: float) -> bool:
        """Counts one message of a client; False, and nothing counted, where it is too much. Raises
        SpoolError.
        """
        key, day = client_key(client_ip), max(int(now), 0) // _DAY_S
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                return self._take(fd, key, day, octets)
            finally:
                os.close(fd)
        except OSError as e:
            raise SpoolError(f"cannot count in {self._path}: {e.strerror}") from e

    def _take(self, fd: int, key: bytes, day: int, octets: int) -> bool:
        at = zlib.crc32(key) % _BUCKETS * _BUCKET_OCTETS
        bucket = os.pread(fd, _BUCKET_OCTETS, at).ljust(_BUCKET_OCTETS, b"\0")
        rows = [row if row[1] == day else (b"", day, 0, 0) for row in _ROW.iter_unpack(bucket)]
        way = next((n for n, row in enumerate(rows) if row[0] == key), -1)
        if way < 0:
            way = min(range(_WAYS), key=lambda n: rows[n][2])
            rows[way] = (key, day, 0, 0)
        _, _, messages, taken = rows[way]
        if messages >= self._messages or taken + octets > self._octets:
            return False
        row = _ROW.pack(key, day, messages + 1, taken + octets)
        os.pwrite(fd, row, at + way * _ROW.size)
        return True


def client_key(client_ip: str) -> bytes:
    """16 octets that are the same for one client; an address that is none is a client too."""
    try:
        address = ipaddress.ip_address(client_ip)
    except ValueError:
        return b"?" * 16
    if isinstance(address, ipaddress.IPv4Address):
        return b"\xff" * 12 + address.packed
    return address.packed[:8] + bytes(8)
