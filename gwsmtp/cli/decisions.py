"""Decisions of the defence as ``explain`` shows them: from the table's rings, then from the log.

The log is read from its end, as many octets as the caller says of each file; a decision that stands
in a ring as well is told once. Reading blocks on the file system only.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from gwsmtp.base.decision import Reason
from gwsmtp.cli.opened import WallTime, client_name
from gwsmtp.limits.arena import Table
from gwsmtp.limits.ring import DecisionView
from gwsmtp.limits.slots import SlotView, read_slot

LISTENERS = ("plain", "ssl")
_EVENT_PLACE = 3  # behind time, process and level

RULES: dict[Reason, tuple[str, str]] = {
    Reason.LISTENER_FULL: (
        "all connections that the listener may have",
        "server.max_inbound_connections, ssl.max_inbound_connections",
    ),
    Reason.PENALTY: ("the client is banned for its offences", "dos_protection.offences"),
    Reason.CONCURRENCY: (
        "connections of the client at one time",
        "dos_protection.limits.concurrency",
    ),
    Reason.CONNECTION_RATE: (
        "connections of the client",
        "dos_protection.limits.connections",
    ),
    Reason.NETWORK_CONCURRENCY: (
        "connections of the client's network (/24, /48) at one time",
        "dos_protection.limits.concurrency, times 4",
    ),
    Reason.NETWORK_RATE: (
        "connections of the client's network (/24, /48)",
        "dos_protection.limits.connections, times 4",
    ),
    Reason.RESTRICTED: (
        "its score leaves the client one connection at a time, none on the SSL listener",
        "dos_protection.offences.restrict_at",
    ),
    Reason.LEDGER_FULL: ("all connections that one worker may have", "workers.count"),
    Reason.RESERVED: (
        "under pressure the last places are kept for known senders",
        "dos_protection.reserve",
    ),
    Reason.MESSAGE_RATE: ("messages of the client", "dos_protection.limits.messages"),
    Reason.RECIPIENT_RATE: ("recipients of the client", "dos_protection.limits.recipients"),
    Reason.HANDSHAKE_RATE: (
        "TLS handshakes of the client",
        "dos_protection.limits.tls_handshakes",
    ),
    Reason.AUTH_FAILURES: (
        "failed authentications of the client",
        "dos_protection.limits.auth_failures",
    ),
    Reason.DICTIONARY_ATTACK: ("unknown recipients of the client", "exploit_detection"),
    Reason.SCORE: ("the client's offences, in points", "dos_protection.offences"),
    Reason.PRESSURE: ("the slowest session ended for a new client", "dos_protection"),
    Reason.UNNAMED: (
        "a tenth of the listener's places: connections of proxies without their PROXY header",
        "server.proxy_protocol, server.max_inbound_connections, ssl.max_inbound_connections",
    ),
}
"""(what is counted, which settings say how much) of each reason."""


@dataclass(frozen=True, slots=True)
class Explained:
    """One decision. ``at`` in seconds since the epoch; ``source`` is ``table`` or ``log``."""

    at: float
    session: str
    client: str
    listener: str
    reason: str
    action: str
    counter: int
    threshold: int
    window_s: int
    worker: str
    source: str

    @property
    def measure(self) -> str:
        """Counter, threshold and window in words."""
        if self.reason == Reason.PENALTY.word:
            return f"{self.counter} s left"
        text = f"{self.counter} of {self.threshold}"
        if self.window_s:
            return f"{text} in {self.window_s} s"
        return f"{text} points" if self.reason == Reason.SCORE.word else f"{text} at one time"


def from_table(table: Table, views: Iterable[DecisionView], wall: WallTime) -> list[Explained]:
    """Decisions of the rings. A worker is named as long as its slot is still its own."""
    slots: dict[int, SlotView | None] = {}
    found = []
    for view in views:
        if view.slot not in slots:
            slots[view.slot] = read_slot(table, view.slot)
        found.append(
            Explained(
                at=wall.epoch(view.at_ms),
                session=view.session_id,
                client=view.client,
                listener=LISTENERS[view.listener & 1],
                reason=view.reason.word,
                action=view.action.word,
                counter=view.counter,
                threshold=view.threshold,
                window_s=view.window_s,
                worker=_worker(view, slots[view.slot]),
                source="table",
            )
        )
    return found


def from_log(lines: Iterable[str], session: str, client: str) -> tuple[list[Explained], list[str]]:
    """(decisions, other lines) of one session, or of one client, in the lines of a log."""
    decisions, others = [], []
    for line in lines:
        parts = line.split()
        # Only in its own place and only the first of a name: quoted values may hold any words.
        event = parts[_EVENT_PLACE] if len(parts) > _EVENT_PLACE else ""
        pairs: dict[str, str] = {}
        for part in parts:
            key, _, value = part.partition("=")
            pairs.setdefault(key, value)
        if session and pairs.get("sid") != session:
            continue
        if client and not _is_of(pairs.get("peer", ""), client):
            continue
        if event == "event=decision":
            decision = _parsed(parts, pairs)
            if decision is not None:
                decisions.append(decision)
        elif session and event in ("event=session", "event=message"):
            others.append(line)
    return decisions, others


def together(rings: list[Explained], logged: list[Explained]) -> list[Explained]:
    """Both without what stands in both, by time; of what stands in both the ring's, which is exact
    to the millisecond, with the worker as the log names it.
    """
    names = {_key(decision): decision.worker for decision in logged}
    known = {_key(decision) for decision in rings}
    named = [replace(ring, worker=names.get(_key(ring), ring.worker)) for ring in rings]
    found = named + [decision for decision in logged if _key(decision) not in known]
    return sorted(found, key=lambda decision: decision.at)


def log_lines(path: Path, octets: int, words: Iterable[str]) -> Iterator[str]:
    """Lines with any of ``words`` at the end of the rotated log (``.1``) and of the log, at most
    ``octets`` of each file. Raises OSError, but not for a file that is not there.
    """
    wanted = [word.encode() for word in words]
    for file in (path.with_name(f"{path.name}.1"), path):
        try:
            log = file.open("rb")
        except FileNotFoundError:
            continue
        with log:
            size = log.seek(0, 2)
            log.seek(max(size - octets, 0))
            if size > octets:
                log.readline()  # half a line
            left = size - log.tell()  # what is written meanwhile is not waited for
            for line in log:
                if any(word in line for word in wanted):
                    yield line.decode("utf-8", "backslashreplace").rstrip("\n")
                left -= len(line)
                if left <= 0:
                    break


def _worker(view: DecisionView, slot: SlotView | None) -> str:
    if slot is None or slot.claimed_ms > view.at_ms:
        return f"slot {view.slot}"  # its child is gone
    return f"{slot.role.name.lower()}-{slot.number}"


def _is_of(peer: str, client: str) -> bool:
    try:
        return client_name(peer) == client
    except ValueError:
        return False


def _parsed(parts: list[str], pairs: dict[str, str]) -> Explained | None:
    stamp, worker, *_ = parts
    try:
        return Explained(
            at=datetime.fromisoformat(stamp).timestamp(),
            session=pairs["sid"],
            client=client_name(pairs["peer"]),
            listener=pairs["listener"],
            reason=pairs["reason"],
            action=pairs["action"],
            counter=int(pairs["counter"]),
            threshold=int(pairs["threshold"]),
            window_s=int(pairs["window"]),
            worker=worker,
            source="log",
        )
    except (KeyError, ValueError):
        return None  # of another version, or cut off by a kill


def _key(decision: Explained) -> tuple[str, str, str, int, int]:
    return (
        decision.session,
        decision.reason,
        decision.action,
        decision.counter,
        decision.threshold,
    )


def rule_of(reason: str) -> tuple[str, str]:
    """What is counted and which settings say how much; empty for a rule of another version."""
    for known, rule in RULES.items():
        if known.word == reason:
            return rule
    return "", ""
