"""Client and server machine joined by a wire in memory that cuts the stream anywhere, both ways.

Each is checked against the other: what one says the other must understand as it was meant, however
it arrives. The server's policy is the smallest there is: local parts that begin with ``no`` are
refused, and so is content with ``no`` in it.
"""

from collections.abc import Iterator
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwsmtp.base import replies
from gwsmtp.base.errors import RemoteProtocolError
from gwsmtp.base.reply import Reply
from gwsmtp.protocol import events
from gwsmtp.protocol.client import ClientProtocol
from gwsmtp.protocol.data import DotStuffer, dot_stuffed
from gwsmtp.protocol.extensions import Offer
from gwsmtp.protocol.server import ServerProtocol
from gwsmtp.protocol.state import State

Message = tuple[str, list[str], bytes]

OFFER = Offer(1000, ("XMORE lines", "XYET MORE"))
TAKEN = Reply(250, "2.0.0", "Taken")


class Server:
    """A server that keeps what it took."""

    def __init__(self, *, pipelining: bool) -> None:
        self.machine = ServerProtocol(OFFER)
        self.machine.reply(replies.greeting("h.test"))
        self.taken: list[Message] = []
        self.hellos: list[tuple[str, bool]] = []
        self._keywords = [w for w in OFFER.keywords() if pipelining or w != "PIPELINING"]
        self._sender = ""
        self._recipients: list[str] = []
        self._content: list[bytes] = []

    def hear(self, data: bytes) -> None:
        """Takes octets and queues the answers."""
        self.machine.receive(data)
        while (event := self.machine.next_event()) is not None:
            if isinstance(event, events.Payload):
                self._content.append(event.data)
            else:
                self.machine.reply(self._answer(event))

    def _answer(self, event: events.Event) -> Reply:
        match event:
            case events.Hello():
                self.hellos.append((event.name, event.is_extended))
                return replies.ehlo("h.test", self._keywords)
            case events.Mail():
                self._sender, self._recipients, self._content = event.sender.text, [], []
                return replies.BAD_SENDER if self._sender.startswith("no") else replies.SENDER_OK
            case events.Recipient():
                if event.mailbox.local.startswith("no"):
                    return replies.UNKNOWN_MAILBOX
                self._recipients.append(event.mailbox.text)
                return replies.RECIPIENT_OK
            case events.Data():
                return replies.START_MAIL
            case events.EndOfData():
                content = b"".join(self._content)
                if b"no" in content:
                    return replies.SCAN_FAILED
                self.taken.append((self._sender, self._recipients, content))
                return TAKEN
            case events.Invalid():
                return event.reply
            case events.Reset():
                return replies.RESET
            case events.Quit():
                return replies.BYE
        raise AssertionError(f"no answer to {event}")


class Pair:
    """``cuts`` are the sizes of the pieces, over and over, in both directions."""

    def __init__(self, cuts: list[int], *, pipelining: bool = True) -> None:
        self.client = ClientProtocol()
        self.server = Server(pipelining=pipelining)
        self._cuts = cycle(cuts)

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        while data:
            size = next(self._cuts)
            yield data[:size]
            data = data[size:]

    def tell(self, data: bytes) -> None:
        """Octets for the server."""
        for piece in self._pieces(data):
            self.server.hear(piece)

    def hear(self) -> list[int]:
        """The codes of the replies to all that is on the wire."""
        found = []
        for piece in self._pieces(self.server.machine.take_output()):
            self.client.receive(piece)
            while self.client.awaited and (reply := self.client.next_reply()) is not None:
                found.append(reply.code)
        assert not self.client.awaited
        assert not self.client.has_unread
        return found

    def exchange(self) -> list[int]:
        """Speaks all that is queued; the codes of the replies."""
        found = []
        while wire := self.client.take_output():
            self.tell(wire)
            found += self.hear()
        return found

    def greet(self) -> None:
        assert self.hear() == [220]
        self.client.ehlo("c.test")
        assert self.exchange() == [250]

    def send(self, message: Message) -> int:
        """The reply that decided; as ``delivery.attempt`` does it."""
        sender, recipients, content = message
        client = self.client
        client.rset()
        client.mail(sender, len(content), is_8bit=True)
        for recipient in recipients:
            client.rcpt(recipient)
        if client.can_pipeline and len(recipients) == 1:
            client.data()
        reset, *codes = self.exchange()
        assert reset == 250
        if max(codes[: len(recipients) + 1]) >= 400:
            assert 354 not in codes
            return next(code for code in codes if code >= 400)
        if codes[-1] != 354:
            client.data()
            assert self.exchange() == [354]
        if content:
            self.tell(dot_stuffed(content))
            dot = b".\r\n"
        else:
            dot = DotStuffer().finish()
        client.end_of_data()
        self.tell(dot)
        (code,) = self.hear()
        return code


LINES = [b"", b".", b"..", b".x", b"x" * 70, b"\xff.", b"no", b"QUIT", b"RCPT TO:<a@b.test>"]
MAILBOXES = ["a@b.test", "no@b.test", '"a> \\" b"@b.test', "x" * 60 + "@" + "y" * 60 + ".test"]
CUTS = st.lists(st.integers(1, 60), min_size=1, max_size=50)
CONTENTS = st.lists(st.sampled_from(LINES), max_size=8).map(
    lambda lines: b"".join(line + b"\r\n" for line in lines)
)
MESSAGES = st.tuples(
    st.sampled_from(["", *MAILBOXES]),
    st.lists(st.sampled_from(MAILBOXES), min_size=1, max_size=4),
    CONTENTS,
)


@given(CUTS, st.lists(MESSAGES, max_size=5), st.booleans())
def test_whatever_is_sent_arrives_once_as_it_was(
    cuts: list[int], messages: list[Message], pipelining: bool
) -> None:
    pair = Pair(cuts, pipelining=pipelining)
    pair.greet()
    assert pair.client.can_pipeline is pipelining
    taken = []
    for message in messages:
        sender, recipients, content = message
        code = pair.send(message)
        if sender.startswith("no"):
            assert code == 501
        elif any(recipient.startswith("no") for recipient in recipients):
            assert code == 550
        elif b"no" in content:
            assert code == 554
        else:
            assert code == 250
            taken.append(message)
    assert pair.server.taken == taken
    pair.client.quit()
    assert pair.exchange() == [221]
    assert pair.server.machine.state is State.CLOSED


def test_the_offer_is_understood() -> None:
    pair = Pair([3])
    pair.greet()
    assert pair.server.hellos == [("c.test", True)]
    offered = pair.client.extensions
    assert (offered["SIZE"], offered["XMORE"], offered["XYET"]) == ("1000", "lines", "MORE")
    assert {"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"} <= offered.keys()
    pair.client.helo("d.test")
    assert pair.exchange() == [250]
    assert pair.server.hellos[1:] == [("d.test", False)]


@given(CUTS)
def test_a_group_behind_the_dot_is_answered_in_order(cuts: list[int]) -> None:
    pair = Pair(cuts)
    pair.greet()
    pair.client.mail("a@b.test")
    pair.client.rcpt("c@b.test")
    pair.client.data()
    assert pair.exchange() == [250, 250, 354]
    pair.client.end_of_data()
    pair.client.mail("no@b.test")
    pair.client.rcpt("c@b.test")
    pair.tell(b"x\r\n.\r\n" + pair.client.take_output())
    assert pair.hear() == [250, 501, 503]
    assert pair.server.taken == [("a@b.test", ["c@b.test"], b"x\r\n")]


@given(CUTS, st.sampled_from([replies.TIMEOUT, replies.SHUTTING_DOWN]))
def test_what_the_server_says_unasked_answers_nothing(cuts: list[int], last: Reply) -> None:
    pair = Pair(cuts)
    pair.greet()
    pair.server.machine.abort(last)
    pair.client.receive(pair.server.machine.take_output())
    pair.client.noop()
    with pytest.raises(RemoteProtocolError, match="unasked"):
        pair.client.take_output()
