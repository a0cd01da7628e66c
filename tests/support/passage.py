"""A gateway whose next hop keeps every octet, and clients whose whole stream is known.

    client -> gateway -> Recorder -> RawSink

``Talk`` sends a stream and checks each reply against what the strict reader finds in the stream;
``Passage.check`` then compares what went to the next hop with the same reading: the same messages,
normalised by SETTINGS 2.20, and no command but theirs, whoever reads.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.support.corpus import first_difference, normalised
from tests.support.eventlog import Line, events
from tests.support.gateway import Gateway, merged
from tests.support.rawclient import RawClient
from tests.support.rawsink import RawSink
from tests.support.readers import STRICT, Content, disagreements
from tests.support.recorder import Recorder
from tests.support.unread import PeerQueue
from tests.support.wait import wait_for

RECIPIENT = "someone@example.test"
SYNC = b"VRFY sync\r\n"
_TRACE = re.compile(rb"Received: [^\r\n]+\r\n(?:\t[^\r\n]+\r\n)+")
_BARE = re.compile(rb"\r\n|[\r\n\0]")
_SETTINGS = {
    # 127.0.0.1 sends thousands of messages here; limits and lists are not what is asked about.
    "dos_protection": {"enabled": False},
    "connection_drop": {"rbl": {"enabled": False}, "ip_reputation": {"enabled": False}},
}
_EXPECTED = {
    b"MAIL": b"250 2.1.0 ",
    b"RCPT": b"250 2.1.5 ",
    b"DATA": b"354 ",
    b"VRFY": b"252 2.5.2 ",
    b"RSET": b"250 2.0.0 ",
}


class Sent:
    """One message as the strict reader found it in a client's stream."""

    __slots__ = ("bare", "content", "is_accepted", "recipients", "sender")

    def __init__(self, sender: str, recipients: list[str], content: bytes, mode: str) -> None:
        self.sender = sender
        self.recipients = recipients
        self.content = content
        self.bare = sum(found != b"\r\n" for found in _BARE.findall(content))
        self.is_accepted = not self.bare or mode == "normalize"

    @property
    def arrives_as(self) -> bytes:
        """What the next hop must get."""
        content = normalised(self.content)
        return content if content.endswith(b"\r\n") or not content else content + b"\r\n"


class Passage:
    """``mode`` is protocol.bare_newline; ``sent`` all messages since the last check; ``traces`` the
    fields that stood before all that have arrived.
    """

    def __init__(self, gateway: Gateway, recorder: Recorder, mode: str) -> None:
        self.gateway = gateway
        self.mode = mode
        self.sent: list[Sent] = []
        self.traces: list[bytes] = []
        self._recorder = recorder
        self._read_up_to: dict[int, int] = {}
        self._sessions = 0

    @contextmanager
    def talk(self) -> Iterator["Talk"]:
        """A greeted client; at the end QUIT, and nothing unexpected may have been said."""
        with RawClient(self.gateway.address, timeout_s=30) as client:
            client.greet()
            talk = Talk(self, client)
            try:
                yield talk
                talk.finish()
            finally:
                talk.close()

    def check(self) -> None:
        """Fails unless exactly what was ``sent`` and is acceptable went to the next hop."""
        problems: list[str] = []
        arrived: list[tuple[str, list[str], bytes]] = []
        for exchange in list(self._recorder.exchanges):
            octets = bytes(exchange.client)
            new = octets[self._read_up_to.get(exchange.number, 0) :]
            self._read_up_to[exchange.number] = len(octets)
            problems += [f"another view by {name}" for name in disagreements(new)]
            arrived += _transactions(new, problems)
        due = [one for one in self.sent if one.is_accepted]
        for one, (sender, recipients, payload) in zip(due, arrived, strict=False):
            # Not by where the field seems to end: a content may begin with a blank.
            trace = payload[: max(0, len(payload) - len(one.arrives_as))]
            self.traces.append(trace)
            if (sender, recipients) != (one.sender, one.recipients):
                problems.append(f"{one.sender} to {one.recipients}: {sender} to {recipients}")
            elif payload != trace + one.arrives_as or not _is_trace(trace, one.arrives_as):
                difference = first_difference(one.arrives_as, payload[len(trace) :])
                problems.append(f"{one.sender}: {trace!r}, {difference}")
        if len(due) != len(arrived):
            problems.append(f"{len(arrived)} messages arrived instead of {len(due)}")
        problems += self._log_problems()
        if problems:
            self.gateway.fail(
                "\n".join([f"{len(problems)} problems:", *(one[:400] for one in problems[:20])])
            )
        self.sent.clear()

    def expect_session(self) -> None:
        """One more session will be in the log."""
        self._sessions += 1

    def _log_problems(self) -> list[str]:
        wait_for(
            lambda: self.gateway.log_path.read_bytes().count(b" event=session ") >= self._sessions,
            "the line of the session in the log",
        )
        # Messages that were begun and never ended are lines as well, of no interest here.
        ended = [one for one in events(self.gateway, "message") if not _is_broken_off(one)]
        lines = ended[-len(self.sent) :] if self.sent else []
        if len(lines) != len(self.sent):
            return [f"the log has {len(lines)} messages"]
        return [
            f"{one.sender} with {one.bare} bare newlines is logged as {line}"
            for one, line in zip(self.sent, lines, strict=True)
            if not _is_logged(one, line)
        ]


def _is_broken_off(line: Line) -> bool:
    return line["outcome"] == "lost" or line["reply"].startswith("552 ")


def _is_logged(one: Sent, line: Line) -> bool:
    # Addresses that are odd enough are escaped there.
    is_plain = not set('"\\<> ') & set(one.sender)
    return (
        (line["from"] == f"<{one.sender}>" or not is_plain)
        and line.get("notes", "") == (f"bare-newlines={one.bare}" if one.bare else "")
        and line["outcome"] == ("accepted" if one.is_accepted else "rejected")
        and line["reply"].startswith("250 " if one.is_accepted else "554 5.6.0 ")
    )


def _transactions(octets: bytes, problems: list[str]) -> list[tuple[str, list[str], bytes]]:
    """What a gateway said to its next hop; anything but transactions in their order is a problem.

    One that gets no DATA is left out: the next one begins with RSET.
    """
    found: list[tuple[str, list[str], bytes]] = []
    sender: str | None = None
    recipients: list[str] = []
    steps = iter(STRICT.read(octets).steps)
    for step in steps:
        verb, _, rest = step.partition(b" ")
        path = re.match(rb"(?:FROM|TO):<(.*)>", rest)
        if step == b"DATA" and sender is not None and recipients:
            content = next(steps, None)
            if not isinstance(content, Content):
                problems.append(f"no end of data after {sender}")
                break
            found.append((sender, recipients, bytes(content)))
            sender, recipients = None, []
        elif verb == b"MAIL" and path and sender is None:
            sender = path[1].decode("utf-8", "backslashreplace")
        elif verb == b"RCPT" and path and sender is not None:
            recipients.append(path[1].decode("utf-8", "backslashreplace"))
        elif step == b"RSET" or (verb == b"EHLO" and not found) or step == b"QUIT":
            sender, recipients = None, []
        else:
            problems.append(f"a command nobody expects: {step!r}")
    return found


class Talk:
    """One client's session; what it sends is read by the strict reader as well."""

    def __init__(self, passage: Passage, client: RawClient) -> None:
        self.client = client
        self._passage = passage
        self._queue = PeerQueue(client.sock)
        self._number = len(passage.sent)

    def close(self) -> None:
        """Ends the questions to the kernel."""
        self._queue.close()

    def finish(self) -> None:
        """QUIT and the end."""
        assert self.client.quit().code == 221
        self._passage.expect_session()

    def data(self, name: str, payload: bytes, cuts: Iterable[int] = ()) -> None:
        """One DATA; ``payload`` goes out as it is, cut at offsets and read apart, then its end."""
        self._run(name, b"DATA\r\n", payload + b"\r\n.\r\n", cuts)

    def chunks(self, name: str, chunks: Iterable[bytes], *, is_apart: bool = False) -> None:
        """One message in chunks, written at once or each read apart."""
        *first, last = chunks
        pieces = [b"BDAT %d\r\n%b" % (len(chunk), chunk) for chunk in first]
        pieces.append(b"BDAT %d LAST\r\n%b" % (len(last), last))
        stream = b"".join(pieces)
        cuts = []
        if is_apart:
            cuts = [sum(map(len, pieces[: n + 1])) for n in range(len(pieces) - 1)]
        self._run(name, b"", stream, cuts)

    def _run(self, name: str, begin: bytes, rest: bytes, cuts: Iterable[int]) -> None:
        sender = f"{name.replace('+', 'p')}.{self._number}@client.example"
        self._number += 1
        envelope = f"MAIL FROM:<{sender}>\r\nRCPT TO:<{RECIPIENT}>\r\n".encode() + begin
        view = STRICT.read(envelope + rest + SYNC)
        assert view.rest == b"", f"{name} is no whole stream"
        steps = list(view.steps)
        if begin:
            self.client.send(envelope)
            self._expect(name, steps[:3])
            del steps[:3]
        else:
            rest = envelope + rest
            cuts = [cut + len(envelope) for cut in cuts]
        rest += SYNC
        start = 0
        for cut in cuts:
            self.client.send(rest[start:cut])
            start = cut
            self._queue.wait_until_read()
        self.client.send(rest[start:])
        self._expect(name, steps, sender)

    def _expect(self, name: str, steps: list[bytes], sender: str = "") -> None:
        recipients = [RECIPIENT]
        for step in steps:
            if isinstance(step, Content):
                sent = Sent(sender, recipients, bytes(step), self._passage.mode)
                self._passage.sent.append(sent)
                expected = b"250 " if sent.is_accepted else b"554 5.6.0 "
            elif step.endswith(b" LAST"):
                continue
            elif step.startswith(b"BDAT"):
                expected = b"250 2.0.0 Chunk "
            else:
                expected = _EXPECTED[step[:4]]
                if step.startswith(b"MAIL"):
                    sender, recipients = step[11:-1].decode(), []
                elif step.startswith(b"RCPT"):
                    recipients.append(step[9:-1].decode())
            reply = self.client.read_reply().raw
            assert reply.startswith(expected), f"{name}: {step[:80]!r} was answered {reply!r}"


def open_passage(
    running: ExitStack,
    folder: Path,
    mode: str,
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> Passage:
    """A gateway in ``mode`` (``options`` as in Gateway), its recorder and its sink, all ended with
    ``running``.
    """
    sink = running.enter_context(RawSink())
    recorder = running.enter_context(Recorder(sink.address))
    over = merged(_SETTINGS, {"protocol": {"bare_newline": mode}})
    gateway = Gateway(folder, recorder.address, merged(over, settings or {}), **options)
    running.enter_context(gateway)
    return Passage(gateway, recorder, mode)


def _is_trace(octets: bytes, content: bytes) -> bool:
    """Whether ``octets`` are a trace field that ``content`` cannot go on in: where it begins with
    a blank, an empty line stands between.
    """
    if content[:1] in (b" ", b"\t"):
        octets, end = octets[:-2], octets[-2:]
        if end != b"\r\n":
            return False
    return _TRACE.fullmatch(octets) is not None
