"""A network of the test's own: nothing but a loopback device with the addresses it wants.

    with NetSpace("2001:db8:1::1"):
        ...     # sockets made here, and programs started here, are in there

The calling thread moves into a new network namespace and back; it wants root. Nothing is mounted or
named: the namespace goes with the last process and socket in it. No outside program is needed.
"""

import ctypes
import errno
import fcntl
import os
import socket
import struct
from types import TracebackType
from typing import Self

from tests.support.wait import wait_for

_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFADDR = 0x8913, 0x8914, 0x8916
_IFF_UP = 1
_IFREQ = "16sH22x"
_LOOPBACK = b"lo"
_HOST_BITS = 128


def _can_be_bound(address: str) -> bool:
    """An address is tentative until a worker of the kernel has come to it (RFC 4862 5.4)."""
    with socket.socket(socket.AF_INET6) as sock:
        try:
            sock.bind((address, 0))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            return False
    return True


class NetSpace:
    """Entered: the thread is in a namespace with 127.0.0.0/8, ::1 and ``addresses`` (IPv6)."""

    def __init__(self, *addresses: str) -> None:
        assert os.geteuid() == 0, "a network namespace needs root: run the full tests as root"
        self._addresses = addresses
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._outside = -1

    def __enter__(self) -> Self:
        self._outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._call("unshare", _CLONE_NEWNET)
            try:
                self._set_up()
            except BaseException:
                self._go_back()
                raise
        except BaseException:
            os.close(self._outside)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._go_back()
        os.close(self._outside)

    def _go_back(self) -> None:
        self._call("setns", self._outside, _CLONE_NEWNET)

    def _set_up(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            found = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack(_IFREQ, _LOOPBACK, 0))
            _, flags = struct.unpack(_IFREQ, found)
            fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack(_IFREQ, _LOOPBACK, flags | _IFF_UP))
        index = socket.if_nametoindex(_LOOPBACK.decode())
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            for address in self._addresses:
                octets = socket.inet_pton(socket.AF_INET6, address)
                request = struct.pack("16sIi", octets, _HOST_BITS, index)  # struct in6_ifreq
                fcntl.ioctl(sock, _SIOCSIFADDR, request)
        for address in self._addresses:
            wait_for(lambda it=address: _can_be_bound(it), f"{address} in the new network")  # type: ignore[misc]

    def _call(self, name: str, *arguments: int) -> None:
        if getattr(self._libc, name)(*arguments):
            number = ctypes.get_errno()
            raise OSError(number, f"{name}: {os.strerror(number)}")
