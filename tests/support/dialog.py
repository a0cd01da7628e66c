"""Dialogs as data: a file of ``C:`` and ``S:`` lines, run in memory or on a live gateway.

    # a comment
    C: EHLO client.example      the client sends this line with CRLF
    C> RCPT TO:<a@b>\\n          the client sends exactly this, Python escapes resolved, no CRLF
    S: 250 2.1.0 Sender ok      the server's next line is this
    S~ 250[- ].*                the server's next line matches this regular expression
    S*                          lines up to the end of this reply are skipped
    !close                      the server has closed the connection
    !silent                     the server has said nothing more (in memory only)

Lines that stand together as ``C`` lines are sent in one piece, so pipelining is written as it
looks. Both runners check that the server says nothing that no line expects.
"""

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gwsmtp.base import replies
from gwsmtp.base.reply import Reply
from gwsmtp.protocol import events
from gwsmtp.protocol.extensions import Offer
from gwsmtp.protocol.server import ServerProtocol
from gwsmtp.protocol.state import State

FOLDER = Path(__file__).parent.parent / "dialogs"
HOSTED = "example.test"
HOST_DOMAIN = "gw.example.test"
SIZE = 40_000_000


@dataclass(frozen=True)
class Step:
    """One line of a dialog file."""

    number: int
    kind: str
    text: str


def load(path: Path) -> list[Step]:
    """The steps of a dialog file; a line that is no step is an error."""
    steps = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"(C:|C>|S:|S~|S\*|!close|!silent)(?: (.*))?", line)
        assert match, f"{path.name}:{number}: not a step: {line!r}"
        steps.append(Step(number, match.group(1), match.group(2) or ""))
    assert steps, f"{path.name}: empty dialog"
    return steps


def octets(step: Step) -> bytes:
    """What a ``C`` step sends."""
    if step.kind == "C:":
        return step.text.encode("utf-8") + b"\r\n"
    return step.text.encode("latin-1").decode("unicode_escape").encode("latin-1")


def all_dialogs() -> list[Path]:
    """Every dialog file."""
    found = sorted(FOLDER.glob("*.smtp"))
    assert found, f"no dialogs in {FOLDER}"
    return found


class Memory:
    """A ServerProtocol with the simplest of policies: one hosted domain, ``unknown*`` unknown."""

    def __init__(self) -> None:
        self.offer = Offer(SIZE)
        self.protocol = ServerProtocol(self.offer)
        self.protocol.reply(replies.greeting(f"{HOST_DOMAIN} ESMTP"))
        self.messages: list[bytes] = []
        self._parts: list[bytes] = []
        self.declared = 0

    def send(self, data: bytes) -> bytes:
        """Feeds the server and returns all it answers."""
        self.protocol.receive(data)
        while (event := self.protocol.next_event()) is not None:
            if isinstance(event, events.Payload):
                self._parts.append(event.data)
            elif not isinstance(event, events.Foreign):
                self.protocol.reply(self._answer(event))
        return self.protocol.take_output()

    @property
    def is_closed(self) -> bool:
        return self.protocol.state is State.CLOSED

    def _answer(self, event: events.Event) -> Reply:
        match event:
            case events.Hello(is_extended=True):
                return replies.ehlo(HOST_DOMAIN, self.offer.keywords())
            case events.Hello():
                return replies.helo(HOST_DOMAIN)
            case events.Mail():
                return replies.MESSAGE_TOO_BIG if event.size > SIZE else replies.SENDER_OK
            case events.Recipient():
                if {event.mailbox.domain, *event.mailbox.routed_to()} != {HOSTED}:
                    return replies.relay_denied("memory")
                is_unknown = event.mailbox.local.startswith("unknown")
                return replies.UNKNOWN_MAILBOX if is_unknown else replies.RECIPIENT_OK
            case events.Data():
                self._parts = []
                return replies.START_MAIL
            case events.Bdat():
                if self.protocol.state is State.FAILED:
                    return replies.CHUNK_LOST
                if self.protocol.state is State.RCPT:
                    self._parts, self.declared = [], 0
                self.declared += event.size
                return replies.START_MAIL if self.declared <= SIZE else replies.MESSAGE_TOO_BIG
            case events.ChunkEnd():
                return replies.CHUNK_OK
            case events.Help():
                return replies.HELP
            case events.EndOfData():
                self.messages.append(b"".join(self._parts))
                return Reply(250, "2.0.0", "Ok")
            case events.Reset():
                return replies.RESET
            case events.Verify():
                return replies.VRFY
            case events.Quit():
                return replies.BYE
            case events.Invalid():
                return event.reply
            case _:
                return replies.NOOP


class Live:
    """A socket to a running gateway."""

    def __init__(self, address: tuple[str, int], timeout_s: float = 10.0) -> None:
        self._sock = socket.create_connection(address, timeout=timeout_s)
        self._file = self._sock.makefile("rb")

    def send(self, data: bytes) -> bytes:
        self._sock.sendall(data)
        return b""

    def line(self) -> bytes:
        return self._file.readline()

    def close(self) -> None:
        self._file.close()
        self._sock.close()


def run_in_memory(path: Path) -> Memory:
    """Runs a dialog on a ServerProtocol; returns it for what the messages were."""
    server = Memory()
    said = server.protocol.take_output()
    for group in _groups(load(path)):
        if group[0].kind in ("C:", "C>"):
            assert not said, f"{path.name}:{group[0].number}: nobody expected {said!r}"
            said = server.send(b"".join(octets(step) for step in group))
            continue
        step = group[0]
        where = f"{path.name}:{step.number}"
        if step.kind == "!close":
            assert server.is_closed, f"{where}: the server has not closed"
        elif step.kind == "!silent":
            assert not said, f"{where}: the server said {said!r}"
        else:
            said = _expect(step, where, said)
    assert not said, f"{path.name}: nobody expected {said!r} at the end"
    return server


def run_live(path: Path, address: tuple[str, int]) -> None:
    """Runs a dialog on a live gateway."""
    client = Live(address)
    try:
        for group in _groups(load(path)):
            step = group[0]
            where = f"{path.name}:{step.number}"
            if step.kind in ("C:", "C>"):
                client.send(b"".join(octets(one) for one in group))
            elif step.kind == "!close":
                assert client.line() == b"", f"{where}: the server has not closed"
            elif step.kind == "S*":
                line = client.line()
                while line[3:4] == b"-":
                    line = client.line()
            elif step.kind != "!silent":
                line = client.line()
                assert _expect(step, where, line) == b""
    finally:
        client.close()


def _groups(steps: list[Step]) -> Iterator[list[Step]]:
    group: list[Step] = []
    for step in steps:
        is_client = step.kind in ("C:", "C>")
        if group and not (is_client and group[0].kind in ("C:", "C>")):
            yield group
            group = []
        group.append(step)
    yield group


def _expect(step: Step, where: str, said: bytes) -> bytes:
    line, end, rest = said.partition(b"\r\n")
    assert end, f"{where}: expected {step.text!r}, the server said {said!r}"
    text = line.decode("utf-8")
    if step.kind == "S:":
        assert text == step.text, f"{where}: expected {step.text!r}, the server said {text!r}"
    elif step.kind == "S~":
        assert re.fullmatch(step.text, text), f"{where}: {text!r} does not match {step.text!r}"
    elif text[3:4] == "-":
        return _expect(step, where, rest)
    return rest
