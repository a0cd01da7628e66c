"""Target: ServerProtocol with a lean policy, any octets in any pieces.

Held: nothing raises; each command has one reply; the output is whole lines of printable ASCII; the
messages are those of ``dialogue``; pieces change nothing; one message in is one message out.
"""

from collections.abc import Iterable

from gwsmtp.base import replies
from gwsmtp.base.reply import Reply
from gwsmtp.protocol import events
from gwsmtp.protocol.data import DataDecoder, DotStuffer
from gwsmtp.protocol.extensions import Offer
from gwsmtp.protocol.server import ServerProtocol
from gwsmtp.protocol.state import State, Verb
from tests.fuzz import reference
from tests.fuzz.cutting import pieces, split
from tests.fuzz.dialogue import Dialogue, Message
from tests.fuzz.fragments import COMMANDS, LINE_ENDS, expanded, full_table

FRAGMENTS = (*LINE_ENDS, *COMMANDS)
SIZE = 100
"""Small, so that a few chunks are more than is allowed."""
_TABLE = full_table(FRAGMENTS)
_OFFER = Offer(SIZE, dsn=True)
_GREETING = replies.greeting("gw.example.test ESMTP")
_TAKEN = Reply(250, "2.0.0", "Ok")
_FOREIGN = replies.relay_denied("fuzz")
_ANSWERS: dict[Verb, Reply] = {
    Verb.HELO: replies.helo("gw.example.test"),
    Verb.EHLO: replies.ehlo("gw.example.test", _OFFER.keywords()),
    Verb.RSET: replies.RESET,
    Verb.NOOP: replies.NOOP,
    Verb.VRFY: replies.VRFY,
    Verb.QUIT: replies.BYE,
    Verb.HELP: replies.HELP,
    Verb.CHUNK_END: replies.CHUNK_OK,
}


class Server:
    """One connection; ``messages`` with what EndOfData said of them, ``said`` all its output."""

    __slots__ = ("_declared", "_parts", "_recipients", "messages", "protocol", "said", "sizes")

    def __init__(self) -> None:
        self.protocol = ServerProtocol(_OFFER)
        self.protocol.reply(_GREETING)
        self.protocol.take_output()
        self.said = b""
        self.messages: list[Message] = []
        self.sizes: list[tuple[int, int]] = []
        self._parts: list[bytes] = []
        self._recipients = 0
        self._declared = 0

    def run(self, octets: Iterable[bytes], *, is_slow: bool) -> None:
        """Feeds and answers; a slow client takes half of what there is each time."""
        protocol = self.protocol
        for piece in octets:
            protocol.receive(piece)
            while (event := protocol.next_event()) is not None:
                if event.needs_reply:
                    protocol.reply(self._answer(event))
                elif isinstance(event, events.Payload):
                    self._parts.append(event.data)
            if is_slow:
                output = protocol.take_output()
                self.said += output[: len(output) // 2]
                protocol.put_back(output[len(output) // 2 :])
        self.said += protocol.take_output()

    def _answer(self, event: events.Event) -> Reply:
        match event:
            case events.Invalid():
                return event.reply
            case events.Mail():
                self._recipients = 0
                return replies.MESSAGE_TOO_BIG if event.size > SIZE else replies.SENDER_OK
            case events.Recipient():
                return self._recipient(event)
            case events.Data():
                self._parts = []
                return replies.START_MAIL
            case events.Bdat():
                return self._chunk(event)
            case events.EndOfData():
                return self._end(event)
            case _:
                return _ANSWERS.get(event.verb, _TAKEN)

    def _recipient(self, event: events.Recipient) -> Reply:
        for mailbox in (event.mailbox, *self.protocol.upcoming_recipients()):
            assert mailbox.text.isprintable(), f"a recipient with control characters: {mailbox!r}"
        if event.mailbox.domain not in ("example.test", ""):
            return _FOREIGN
        self._recipients += 1
        return replies.RECIPIENT_OK

    def _chunk(self, event: events.Bdat) -> Reply:
        if self.protocol.state is State.FAILED:
            return replies.CHUNK_LOST
        if self.protocol.state is State.RCPT:
            self._parts, self._declared = [], 0
        self._declared += event.size
        return replies.START_MAIL if self._declared <= SIZE else replies.MESSAGE_TOO_BIG

    def _end(self, event: events.EndOfData) -> Reply:
        content = b"".join(self._parts)
        self.messages.append(Message(self._recipients, content))
        self.sizes.append((event.size, event.bare_newlines))
        self._parts = []
        return replies.BARE_NEWLINE_IN_DATA if event.bare_newlines > 1 else _TAKEN


def check(octets: bytes, steering: bytes) -> None:
    """Raises when ServerProtocol does not read ``octets`` as ``dialogue`` does."""
    whole, cut = Server(), Server()
    whole.run((octets,), is_slow=False)
    cut.run(pieces(octets, steering), is_slow=True)
    assert whole.said == cut.said, f"pieces change {whole.said!r} to {cut.said!r}"
    assert whole.messages == cut.messages, f"pieces change {whole.messages} to {cut.messages}"
    assert whole.sizes == cut.sizes, f"pieces change {whole.sizes} to {cut.sizes}"
    assert whole.protocol.state == cut.protocol.state, "pieces change the state"
    codes = reference.replies(whole.said)
    read = Dialogue(octets, codes, is_closed=whole.protocol.state is State.CLOSED)
    assert whole.messages == read.messages, f"taken {whole.messages}, sent {read.messages}"
    for message in whole.messages:
        check_content(message.content)


def check_content(content: bytes) -> None:
    """Raises unless ``content``, sent on, is one message again and the same."""
    assert reference.bare_newlines(content) == 0, f"bare CR, LF or NUL in {content!r}"
    stuffer, decoder = DotStuffer(), DataDecoder()
    wire = stuffer.feed(content) + stuffer.finish()
    again = decoder.feed(wire)
    if not content.endswith(b"\r\n") and content:
        content += b"\r\n"  # a last chunk may end anywhere
    assert decoder.reached_end(), f"no end in {wire!r}"
    assert (again, decoder.rest) == (content, b""), f"sent on as {again!r} + {decoder.rest!r}"


def raw(data: bytes) -> None:
    """Octets as they are."""
    steering, octets = split(data)
    check(octets, steering)


def fragments(data: bytes) -> None:
    """Octets made of fragments."""
    steering, chosen = split(data)
    check(expanded(chosen, _TABLE), steering)
