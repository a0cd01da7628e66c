"""Where parts meet that are replaced in tests, as typing.Protocol. No behaviour here."""

from collections.abc import Iterator
from typing import Protocol


class Clock(Protocol):
    """``base.clock.SystemClock``, or a clock that a test moves by hand."""

    def monotonic(self) -> float: ...
    def boot_ms(self) -> int: ...
    def now(self) -> float: ...
    def rfc5322(self) -> str: ...
    def iso(self) -> str: ...


class MessageBody(Protocol):
    """A received message: CRLF line ends, no dot-stuffing, without the trace field we prepend.

    What reads a file raises SpoolError, or OSError as it comes.
    """

    @property
    def size(self) -> int:
        """Octets."""
        ...

    @property
    def data(self) -> bytes | None:
        """The whole body where it is in memory; None where it is in a file."""
        ...

    def open_readonly(self) -> int:
        """A new read-only descriptor of the file, the caller's to close; only where ``data`` is
        None. Everybody reads it by ``pread``: a shared offset lost a whole body (seen).
        """
        ...

    def chunks(self) -> Iterator[bytes]:
        """The body in pieces of at most 256 KiB; blocks on the disk where it is in a file."""
        ...
