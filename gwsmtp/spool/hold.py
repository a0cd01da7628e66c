"""The hold: messages neither delivered nor given back, until somebody decides or time does.

Items of ``files``, in one directory for each reason; whoever looks for dictionary attacks reads no
others. An item comes by ``put``, or by ``take_in`` from the queue, and goes by ``release`` (a
rename into the queue's directory), ``delete`` or ``expire``. One at a time changes the hold; none
of that touches a reader.

Of a client that has filled its share of the day (SETTINGS 2.2, 4) only envelope and headers are
kept: ``keep`` decides, by counts that all processes share (``quota``).

Every method blocks on the disk, and on whoever changes the hold at that moment; a gevent process
calls them through ``net.offload``. Raises SpoolError, ItemGone and ItemDamaged as ``files`` does.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from gwsmtp.base.errors import SpoolError
from gwsmtp.base.seams import MessageBody
from gwsmtp.spool.files import ITEM_ID, ItemGone, Spool, locked, names_for, sync_directory
from gwsmtp.spool.item import Envelope, ItemDamaged, Mark, StateLine
from gwsmtp.spool.quota import DailyQuota
from gwsmtp.spool.stored import Item

MESSAGES_A_DAY: Final = 20
OCTETS_A_DAY: Final = 50_000_000
MAX_HEADER_OCTETS: Final = 65_536
_BLOCK_OCTETS: Final = 512  # of st_blocks, whatever the file system's


class HoldReason(StrEnum):
    """Why a message is held; also the name of a directory."""

    DICTIONARY_ATTACK = "dictionary-attack"
    REFUSED_BY_HOST = "refused-by-host"
    EXPIRED = "expired"


class NotReleasable(SpoolError):
    """An item whose body was not kept."""


@dataclass(frozen=True, slots=True)
class HeldItem:
    """One held message. ``octets`` is what its file takes on disk."""

    id: str
    reason: str
    octets: int
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Removed:
    """What ``expire`` took away, and by which limit: keep_for, max_items or max_share."""

    id: str
    reason: str
    octets: int
    limit: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What all items of one reason take together."""

    items: int
    octets: int


@dataclass(frozen=True, slots=True)
class _Found:
    id: str
    reason: HoldReason
    octets: int
    changed_at: float


class _Headers:
    """The header section of a message, as a body; at most MAX_HEADER_OCTETS of it."""

    __slots__ = ("data", "size")

    def __init__(self, body: MessageBody) -> None:
        start = b""
        for piece in body.chunks():
            start += piece
            if len(start) >= MAX_HEADER_OCTETS:
                break
        end = 0 if start.startswith(b"\r\n") else start.find(b"\r\n\r\n") + 2
        if end == 1:  # no empty line
            end = min(len(start), MAX_HEADER_OCTETS)
        self.data: bytes = start[: min(end, MAX_HEADER_OCTETS)] + b"\r\n"
        self.size = len(self.data)

    def open_readonly(self) -> int:
        """Never: it is in memory."""
        raise SpoolError("headers are in memory")

    def chunks(self) -> Iterator[bytes]:
        """The one piece."""
        yield self.data


class Hold:
    """See the module. ``root`` must exist; what is released goes to ``spool``."""

    __slots__ = ("_quota", "_spool", "root")

    def __init__(self, root: Path, spool: Spool) -> None:
        self.root = root
        self._spool = spool
        self._quota = DailyQuota(root / "clients.quota", MESSAGES_A_DAY, OCTETS_A_DAY)

    # In ----------------------------------------------------------------------------------------

    def put(self, envelope: Envelope, body: MessageBody, trace: bytes, reason: str) -> str:
        """Holds a message; returns its id when it is durable. Raises SpoolError, and then leaves
        nothing. ``envelope`` is marked as held, from when it was received.
        """
        envelope.reason, envelope.held_at = reason, envelope.received_at
        place = self._place(HoldReason(reason))
        names = (name for name in names_for(envelope) if not self._is_taken(name))
        return place.put_as(names, envelope, body, trace)

    def put_headers_only(
        self, envelope: Envelope, body: MessageBody, trace: bytes, reason: str
    ) -> str:
        """The same without the body: it can be looked at, not released."""
        envelope.is_headers_only = True
        return self.put(envelope, _Headers(body), trace, reason)

    def keep(self, envelope: Envelope, body: MessageBody, trace: bytes, reason: str) -> str:
        """``put`` or, where its client has filled its share of the day, ``put_headers_only``."""
        if self._quota.take(envelope.client_ip, body.size, envelope.received_at):
            return self.put(envelope, body, trace, reason)
        return self.put_headers_only(envelope, body, trace, reason)

    def take_in(self, item_id: str, reason: str, now: float) -> str:
        """Moves an item of the queue here; returns its id here. Killed at any moment, it is at one
        of the two places.
        """
        place = self._place(HoldReason(reason))
        self._spool.append_state(item_id, [StateLine(now, Mark.HELD, text=reason)])
        with self._changing():
            return place.move_in(self._spool.path(item_id), item_id, self._is_taken)

    def take_in_share(self, item: Item, reason: str, now: float) -> str:
        """``take_in`` or, where its client has filled its share of the day, a copy of envelope and
        headers, and the item goes. Killed in between, there is the copy and the item still.
        """
        if self._quota.take(item.envelope.client_ip, item.body.size, now):
            return self.take_in(item.id, reason, now)
        held = self.put_headers_only(item.envelope, item.body, item.trace, reason)
        self._spool.remove(item.id)
        return held

    # Looking -------------------------------------------------------------------------------------

    def show(self, item_id: str) -> Item:
        """One held message, open for reading, the caller's to close."""
        return self._spool_of(self._reason_of(item_id)).open(item_id)

    def usage(self) -> dict[str, Usage]:
        """By reason, what there is; reads no item."""
        found = list(self._scan())
        return {
            reason: Usage(
                sum(one.reason is reason for one in found),
                sum(one.octets for one in found if one.reason is reason),
            )
            for reason in HoldReason
        }

    # Out -----------------------------------------------------------------------------------------

    def release(self, item_id: str, now: float) -> str:
        """Moves a held message to the queue, for all recipients that have not got it; returns its
        id there. Killed at any moment, it is at one of the two places. Raises NotReleasable too.
        """
        with self._changing():
            place = self._spool_of(self._reason_of(item_id))
            with place.open(item_id) as item:
                if item.envelope.is_headers_only:
                    raise NotReleasable(f"{item_id}: only its headers were kept")
            place.append_state(item_id, [StateLine(now, Mark.RELEASED)])
            return self._spool.move_in(place.path(item_id), item_id)

    def delete(self, item_id: str) -> None:
        """Forgets a held message for good."""
        with self._changing():
            self._spool_of(self._reason_of(item_id)).remove(item_id)

    def expire(
        self, now: float, keep_for: float, max_share: float, max_items: int
    ) -> list[Removed]:
        """Removes what is older than ``keep_for`` seconds and, of dictionary attacks, the oldest
        beyond ``max_items`` items and ``max_share`` of the file system; returns what went, for the
        log. Ages are those of files: since an item was held or last changed.
        """
        removed = []
        with self._changing():
            kept = sorted(self._scan(), key=lambda one: (one.changed_at, one.id))
            for one in [one for one in kept if now - one.changed_at > keep_for]:
                removed.append(self._remove(one, "keep_for"))
                kept.remove(one)
            system = os.statvfs(self.root)
            room = int(system.f_blocks * system.f_frsize * max_share)
            attacks = [one for one in kept if one.reason is HoldReason.DICTIONARY_ATTACK]
            left, octets = len(attacks), sum(one.octets for one in attacks)
            for one in attacks:
                if left <= max_items and octets <= room:
                    break
                removed.append(self._remove(one, "max_items" if left > max_items else "max_share"))
                left -= 1
                octets -= one.octets
        return removed

    def list(self, reason: str | None = None) -> list[HeldItem]:
        """All held messages, or those of one reason, oldest first; reads each envelope. What is no
        item is left out.
        """
        wanted = HoldReason(reason) if reason is not None else None
        held = []
        for found in self._scan(wanted):
            with suppress(ItemGone, ItemDamaged), self._spool_of(found.reason).open(found.id) as it:
                held.append(HeldItem(found.id, found.reason, found.octets, it.envelope))
        return sorted(held, key=lambda one: (one.envelope.held_at, one.id))

    # -----------------------------------------------------------------------------------------

    def _remove(self, found: _Found, limit: str) -> Removed:
        self._spool_of(found.reason).remove(found.id)
        return Removed(found.id, found.reason, found.octets, limit)

    def _spool_of(self, reason: HoldReason) -> Spool:
        return Spool(self.root / reason)

    def _place(self, reason: HoldReason) -> Spool:
        """The directory of ``reason``, made if it is not there."""
        path = self.root / reason
        try:
            if not path.is_dir():
                path.mkdir(mode=0o700, exist_ok=True)
                sync_directory(self.root)
        except OSError as e:
            raise SpoolError(f"cannot write into {self.root}: {e.strerror}") from e
        return Spool(path)

    def _is_taken(self, name: str) -> bool:
        return any((self.root / reason / name).exists() for reason in HoldReason)

    def _reason_of(self, item_id: str) -> HoldReason:
        if ITEM_ID.fullmatch(item_id):
            for reason in HoldReason:
                if (self.root / reason / item_id).exists():
                    return reason
        raise ItemGone(f"there is no held message {item_id}")

    def _scan(self, only: HoldReason | None = None) -> Iterator[_Found]:
        """What there is, without reading it; an item that goes meanwhile is left out."""
        for reason in HoldReason if only is None else (only,):
            try:
                with os.scandir(self.root / reason) as entries:
                    for entry in entries:
                        if ITEM_ID.fullmatch(entry.name):
                            with suppress(FileNotFoundError):
                                stat = entry.stat(follow_symlinks=False)
                                octets = stat.st_blocks * _BLOCK_OCTETS
                                yield _Found(entry.name, reason, octets, stat.st_mtime)
            except FileNotFoundError:
                continue
            except OSError as e:
                raise SpoolError(f"cannot read {self.root / reason}: {e.strerror}") from e

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One at a time; turns OSError into SpoolError."""
        try:
            with locked(self.root):
                yield
        except OSError as e:
            raise SpoolError(f"cannot change {self.root}: {e.strerror}") from e
