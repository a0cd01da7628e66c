"""Bugs to plant, one for each thing that a target holds: a target that cannot fail proves nothing.

Each is a context manager; ``PLANTED`` says which target must find it.
"""

import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final
from unittest.mock import patch

from gwsmtp.base import replies
from gwsmtp.base.reply import Reply
from gwsmtp.protocol import abnf, client, commands, data, events, proxyheader, server
from gwsmtp.protocol.data import ChunkDecoder, DataDecoder, DotStuffer
from gwsmtp.protocol.extensions import Offer
from gwsmtp.protocol.server import ServerProtocol
from gwsmtp.protocol.state import State
from tests.fuzz import address
from tests.fuzz import server as server_target

Plant = Callable[[], AbstractContextManager[Any]]


class _EndsAtBareDot(DataDecoder):
    """Ends data at LF.LF as well: the smuggler's friend."""

    __slots__ = ()

    def feed(self, wire: bytes) -> bytes:
        return super().feed(wire.replace(b"\n.\n", b"\r\n.\r\n"))


class _KeepsBareNewlines(DataDecoder):
    __slots__ = ()

    def _admit(self, content: bytes) -> bytes:
        return content


class _TakesChunksForWhole(ChunkDecoder):
    """A CRLF between two chunks is two bare newlines to it."""

    __slots__ = ()

    def feed(self, wire: bytes, *, is_last: bool) -> bytes:
        return super().feed(wire, is_last=True)


def _drops_nothing(protocol: ServerProtocol) -> bool:
    protocol._drop_left = 0
    protocol._output.append(protocol._held_reply)
    return True


class _StuffsFirstDotOnly(DotStuffer):
    __slots__ = ()

    def feed(self, content: bytes) -> bytes:
        stuffed = super().feed(content)
        return stuffed.replace(b"\r\n..", b"\r\n.")


def _twice(protocol: ServerProtocol, reply: Reply, _own: Any = ServerProtocol.reply) -> None:
    _own(protocol, reply)
    if reply is replies.HELP:
        protocol._output.append(reply.wire)


def _raises(argument: str, state: State, offer: Offer) -> events.Event:
    raise IndexError(argument)


def _after_any_newline(protocol: ServerProtocol) -> bytes | Reply | None:
    end = protocol._data.find(b"\n", protocol._position)
    if end < 0:
        return None
    line = protocol._data[protocol._position : end]
    protocol._position = end + 1
    return line.removesuffix(b"\r")


def _after_long_thought(text: str) -> None:
    until = time.thread_time() + 1.2 * address.MOST_CPU_S
    while time.thread_time() < until:
        pass


def _forgets_held(decoder: DataDecoder, wire: bytes, _own: Any = DataDecoder.feed) -> bytes:
    if decoder._held == b"\r\n.":
        decoder._held = b""
    content: bytes = _own(decoder, wire)
    return content


PLANTED: Final[dict[str, tuple[str, Plant]]] = {
    "data ends at LF.LF": (
        "server_fragments",
        lambda: patch.object(server, "DataDecoder", _EndsAtBareDot),
    ),
    "a decoder ends at LF.LF": (
        "data_fragments",
        lambda: patch.object(data, "DataDecoder", _EndsAtBareDot),
    ),
    "bare newlines are kept": (
        "server_fragments",
        lambda: patch.object(server, "DataDecoder", _KeepsBareNewlines),
    ),
    "a bare LF ends a command": (
        "server_fragments",
        lambda: patch.object(ServerProtocol, "_next_line", _after_any_newline),
    ),
    "a command is answered twice": (
        "server_fragments",
        lambda: patch.object(ServerProtocol, "reply", _twice),
    ),
    "a command raises": (
        "server",
        lambda: patch.dict(commands._COMMANDS, {b"VRFY": _raises}),
    ),
    "a CRLF between chunks is taken for two": (
        "server_fragments",
        lambda: patch.object(server, "ChunkDecoder", _TakesChunksForWhole),
    ),
    "a refused chunk is read as commands": (
        "server_fragments",
        lambda: patch.object(ServerProtocol, "_drop", _drops_nothing),
    ),
    "a long line is waited on": (
        "server_fragments",
        lambda: patch.object(server_target._OFFER, "longest_line", 1 << 30),
    ),
    "a reply of ours has a control character": (
        "server",
        lambda: patch.object(replies, "NOT_OFFERED", Reply(502, "5.5.1", "No\t")),
    ),
    "a piece forgets what was held back": (
        "data",
        lambda: patch.object(data.DataDecoder, "feed", _forgets_held),
    ),
    "content is stuffed at its first dot only": (
        "server_fragments",
        lambda: patch.object(server_target, "DotStuffer", _StuffsFirstDotOnly),
    ),
    "stuffing depends on the pieces": (
        "data_fragments",
        lambda: patch.object(data, "DotStuffer", _StuffsFirstDotOnly),
    ),
    "a next hop's line is unbounded": (
        "client_fragments",
        lambda: patch.object(client, "MAX_LINE_OCTETS", 1 << 30),
    ),
    "a next hop's reply is unbounded": (
        "client_fragments",
        lambda: patch.object(client, "MAX_LINES", 1 << 30),
    ),
    "a path may hold a control character": (
        "address_fragments",
        lambda: patch.object(
            abnf,
            "_FORWARD_PATH",
            re.compile(r"TO:<(?:([^@>]+)@([^@>]+)|(postmaster))>(?: +(.*))?", re.DOTALL),
        ),
    ),
    "a proxy's port that is no number raises": (
        "proxyheader_fragments",
        lambda: patch.object(proxyheader, "_port", int),
    ),
    "a proxy's header is longer than it is": (
        "proxyheader",
        lambda: patch.object(proxyheader, "_V2_FIXED", 17),
    ),
    "parameters cost too much time": (
        "address_fragments",
        lambda: patch.object(abnf, "parse_parameters", _after_long_thought),
    ),
}
