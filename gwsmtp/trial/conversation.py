"""One connection to the built-in next hop: reads commands, asks the script, answers, files.

Contract: runs in a greenlet of its own (``TrialServer`` spawns it); waits only for its client, for
the script's delays, and for the thread pool that files messages. It shares no code with
``gwsmtp.protocol`` on purpose: an error in one of the two must not hide in the other.

Only CRLF.CRLF ends a message and only CRLF a command; everything else is content or an error.
Replies to a pipelined group leave in one write.

Limits: addresses are taken as they come between angle brackets; no TLS, AUTH or BDAT; DSN is
offered and its parameters noted, yet nothing is ever reported; 20 errors of form end a session.
RFC 5321, RFC 2920, RFC 1870, RFC 6152, RFC 2034, RFC 6531, RFC 3461.
"""

import hashlib
import logging
import re
from collections.abc import Callable
from pathlib import Path

import gevent
from gevent import socket
from gevent.threadpool import ThreadPool

from gwsmtp.base import replies
from gwsmtp.base.quoting import quoted
from gwsmtp.base.reply import Reply
from gwsmtp.trial import mischief
from gwsmtp.trial.channel import IDLE_TIMEOUT_S, Channel
from gwsmtp.trial.journal import Journal
from gwsmtp.trial.maildir import Maildir
from gwsmtp.trial.mischief import Ended
from gwsmtp.trial.parameters import (
    MAX_MESSAGE_OCTETS,
    has_smtputf8,
    mail_refusal,
    rcpt_refusal,
)
from gwsmtp.trial.script import Action, Kind, Script, Stage

log = logging.getLogger(__name__)

MAX_OCTETS_IN_MEMORY = 512 * 1024 * 1024  # of all messages on their way in
MAX_RECIPIENTS = 1000
MAX_ERRORS = 20

_END_OF_DATA = b"\r\n.\r\n"
_HASH_INLINE_OCTETS = 65536
_PATH = re.compile(r'<((?:[^<>"]|"(?:[^"\\]|\\.)*")*)>(?: +(.*))?')


class Shared:
    """What all connections of a server have in common."""

    __slots__ = ("host_domain", "journal", "maildir", "octets", "pool", "script", "stopping")

    def __init__(
        self, maildir: Maildir, script: Script, journal: Journal, pool: ThreadPool, host_domain: str
    ) -> None:
        self.maildir = maildir
        self.script = script
        self.journal = journal
        self.pool = pool
        self.host_domain = host_domain
        self.octets = 0
        self.stopping = False


class Conversation:
    """``run`` talks until the connection ends; the socket is closed when it returns."""

    def __init__(self, sock: socket.socket, peer: str, number: int, shared: Shared) -> None:
        self._channel = Channel(sock)
        self._peer = peer
        self._number = number
        self._shared = shared
        self._phase = "greeting"
        self._payload_octets = 0
        self._errors = 0
        self._is_refused = False
        self._has_helo = False
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._parameters: list[str] = []  # of MAIL, then of each RCPT
        self.is_filing = False
        self._commands: dict[str, Callable[[str], None]] = {
            "EHLO": self._ehlo,
            "HELO": self._helo,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "RSET": self._rset,
            "NOOP": self._noop,
            "VRFY": self._vrfy,
            "QUIT": self._quit,
        }

    def run(self) -> None:
        """The whole conversation; raises nothing but GreenletExit."""
        reason = "stopped"
        self._journal("connected", peer=self._peer)
        try:
            self._channel.sock.settimeout(IDLE_TIMEOUT_S)
            self._talk()
        except Ended as e:
            reason = e.reason
        except TimeoutError:
            reason = "timeout"
            mischief.last_words(self._channel.sock, replies.TIMEOUT.wire)
        except OSError as e:
            reason = f"lost: {e.strerror or e}"
        except Exception:
            reason = "internal error"
            log.exception("event=trial_failed session=%d peer=%s", self._number, self._peer)
        finally:
            self._channel.sock.close()
            self._journal("closed", reason=reason, phase=self._phase, octets=self._payload_octets)

    def close(self) -> None:
        """Closes the socket, also where ``run`` was never entered."""
        self._channel.sock.close()

    def _talk(self) -> None:
        greeting = replies.trial_greeting(self._shared.host_domain)
        self._is_refused = not self._answer(Stage.GREETING, greeting)
        self._phase = "commands"
        while not self._shared.stopping:
            line, octets = self._channel.read_line()
            if line is None:
                self._journal("command", line=f"({octets} octets)")
                self._refuse(replies.LINE_TOO_LONG)
            else:
                self._obey(line)
        self._say(replies.SHUTTING_DOWN)

    # Commands --------------------------------------------------------------------------------

    def _obey(self, line: bytes) -> None:
        text = line.decode("utf-8", "surrogateescape")
        self._journal("command", line=text)
        if b"\r" in line or b"\n" in line:
            self._refuse(replies.BARE_NEWLINE_IN_COMMAND)
            return
        verb, _, argument = text.partition(" ")
        command = self._commands.get(verb.upper())
        if command is None:
            self._refuse(replies.UNKNOWN_COMMAND)
        else:
            command(argument.strip())

    def _ehlo(self, argument: str) -> None:
        size = f"SIZE {MAX_MESSAGE_OCTETS}"
        keywords = ("PIPELINING", size, "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8", "DSN")
        self._greet(Stage.EHLO, argument, replies.ehlo(self._shared.host_domain, keywords))

    def _helo(self, argument: str) -> None:
        self._greet(Stage.HELO, argument, replies.helo(self._shared.host_domain))

    def _greet(self, stage: Stage, argument: str, usual: Reply) -> None:
        if not argument:
            self._refuse(replies.BAD_HELO)
        elif self._is_refused:
            self._refuse(replies.SEND_HELO_FIRST)  # RFC 5321 3.1: after a 554 only QUIT is of use
        elif self._answer(stage, usual, argument):
            self._has_helo = True
            self._forget()

    def _mail(self, argument: str) -> None:
        found = _PATH.fullmatch(argument[5:].lstrip()) if argument[:5].upper() == "FROM:" else None
        if not self._has_helo:
            self._refuse(replies.SEND_HELO_FIRST)
        elif self._sender is not None:
            self._refuse(replies.SENDER_ALREADY_GIVEN)
        elif found is None:
            self._refuse(replies.BAD_SENDER)
        elif refusal := mail_refusal(found[1], found[2] or ""):
            self._refuse(refusal)
        elif self._answer(Stage.MAIL, replies.SENDER_OK, found[1]):
            self._sender = found[1]
            self._parameters = [found[2] or ""]

    def _rcpt(self, argument: str) -> None:
        found = _PATH.fullmatch(argument[3:].lstrip()) if argument[:3].upper() == "TO:" else None
        if self._sender is None:
            self._refuse(replies.NEED_MAIL)
        elif found is None or not found[1]:
            self._refuse(replies.BAD_RECIPIENT)
        elif refusal := rcpt_refusal(
            found[1], found[2] or "", is_utf8=has_smtputf8(self._parameters[0])
        ):
            self._refuse(refusal)
        elif len(self._recipients) >= MAX_RECIPIENTS:
            self._say(replies.TOO_MANY_RECIPIENTS)
        elif self._answer(Stage.RCPT, replies.RECIPIENT_OK, found[1]):
            self._recipients.append(found[1])
            self._parameters.append(found[2] or "")

    def _data(self, argument: str) -> None:
        if argument:
            self._refuse(replies.NO_ARGUMENTS)
        elif not self._recipients:
            self._refuse(replies.NEED_RCPT)
        elif self._answer(Stage.DATA, replies.START_MAIL, *self._envelope()):
            self._take_message()

    def _rset(self, _argument: str) -> None:
        if self._answer(Stage.RSET, replies.RESET):
            self._forget()

    def _noop(self, _argument: str) -> None:
        self._answer(Stage.NOOP, replies.NOOP)

    def _vrfy(self, _argument: str) -> None:
        self._say(replies.VRFY)

    def _quit(self, _argument: str) -> None:
        self._answer(Stage.QUIT, replies.BYE)
        raise self._channel.finish("quit")

    # The message -----------------------------------------------------------------------------

    def _take_message(self) -> None:
        self._phase = "body"
        try:
            content, refusal = self._read_payload()
            self._phase = "commands"
            if refusal is not None:
                self._journal("message", sha256="", size=-1)
                self._say(refusal)
            else:
                self._dispose(content)
        finally:
            self._shared.octets -= self._payload_octets
            if self._phase != "body":
                self._payload_octets = 0
                self._forget()

    def _read_payload(self) -> tuple[bytes, Reply | None]:
        """The message unstuffed, or why it cannot be taken; in any case up to its final dot."""
        data = bytearray(b"\r\n")  # so that a dot in the first line is like any other
        more = bytes(self._channel.input)
        self._channel.input.clear()
        searched = 0
        refusal = None
        has_begun = False
        while True:
            more = more or self._channel.receive()
            data += more
            self._payload_octets += len(more)
            self._shared.octets += len(more)
            more = b""
            if not has_begun:
                has_begun = True
                self._act_unasked(Stage.BODY)
            end = data.find(_END_OF_DATA, searched)
            if end >= 0:
                break
            if len(data) > MAX_MESSAGE_OCTETS:
                refusal = replies.MESSAGE_TOO_BIG
            elif self._shared.octets > MAX_OCTETS_IN_MEMORY:
                refusal = replies.SPOOL_FULL
            if refusal is not None:
                self._shared.octets -= self._payload_octets
                self._payload_octets = 0
                del data[: 1 - len(_END_OF_DATA)]
            searched = max(0, len(data) - len(_END_OF_DATA) + 1)
        self._channel.input += data[end + len(_END_OF_DATA) :]
        if refusal is not None:
            return b"", refusal
        del data[end + 2 :]
        return bytes(data.replace(b"\r\n.", b"\r\n"))[2:], None

    def _dispose(self, content: bytes) -> None:
        sender, *recipients = self._envelope()
        if len(content) > _HASH_INLINE_OCTETS:
            digest = self._shared.pool.apply(_digest, (content,))
        else:
            digest = _digest(content)
        self._journal(
            "message",
            sha256=digest,
            size=len(content),
            sender=sender,
            recipients=recipients,
            parameters=self._parameters,
        )
        before = self._ask(Stage.END, *self._envelope())
        if before is not None:
            self._wait(before)
            if not before.is_positive:
                self._perform(before, replies.FILED)
                return
        path = self._file(content, sender, recipients)
        if path is None:
            self._say(replies.SPOOL_FULL)
            return
        self._journal("filed", file=path.name)
        after = self._ask(Stage.FILED, *self._envelope())
        if after is not None:
            self._wait(after)
        action = after or before
        if action is None:
            self._say(replies.FILED)
        else:
            self._perform(action, replies.FILED)

    def _file(self, content: bytes, sender: str, recipients: list[str]) -> Path | None:
        self.is_filing = True
        try:
            path: Path = self._shared.pool.apply(
                self._shared.maildir.file, (content, sender, recipients)
            )
        except OSError as e:
            log.warning("event=trial_not_filed session=%d cause=%s", self._number, quoted(str(e)))
            return None
        else:
            return path
        finally:
            self.is_filing = False

    # Answering -------------------------------------------------------------------------------

    def _answer(self, stage: Stage, usual: Reply, *arguments: str) -> bool:
        """Says what the script wants, else ``usual``; True when the client's wish was granted."""
        action = self._ask(stage, *arguments)
        if action is None:
            self._say(usual)
            return True
        self._wait(action)
        self._perform(action, usual)
        if stage is Stage.DATA and action.wire:
            return action.wire.startswith(b"354")
        return action.is_positive or (action.kind is Kind.RAW and action.wire[:1] == b"2")

    def _act_unasked(self, stage: Stage) -> None:
        action = self._ask(stage, *self._envelope())
        if action is not None:
            self._wait(action)
            if action.wire or not action.is_positive:
                self._perform(action, replies.FILED)
                self._channel.flush()

    def _ask(self, stage: Stage, *arguments: str) -> Action | None:
        action = self._shared.script.action_for(stage, *arguments)
        if action is not None:
            self._journal("action", stage=stage.value, does=action.kind.value)
        return action

    def _wait(self, action: Action) -> None:
        if action.delay_s:
            self._channel.flush()
            gevent.sleep(action.delay_s)

    def _perform(self, action: Action, usual: Reply) -> None:
        wire = action.wire or usual.wire
        if action.kind is Kind.OK:
            self._say(usual)
        elif action.kind in (Kind.REPLY, Kind.RAW):
            self._send(wire)
            if action.kind is Kind.REPLY and wire.startswith(b"421"):
                raise self._channel.finish("421")
        else:
            self._channel.flush()
            if action.kind in (Kind.FLOOD, Kind.LINE, Kind.DRIP):
                self._journal("reply", line=_shown(wire))
            mischief.perform(action.kind, self._channel.sock, wire)

    def _refuse(self, reply: Reply) -> None:
        """Answers an error of form; too many end the session."""
        self._errors += 1
        self._say(replies.TOO_MANY_ERRORS if self._errors > MAX_ERRORS else reply)

    def _say(self, reply: Reply) -> None:
        self._send(reply.wire)
        if reply.closes and reply.code != 221:  # QUIT closes by itself
            raise self._channel.finish(str(reply.code))

    def _send(self, wire: bytes) -> None:
        self._journal("reply", line=_shown(wire))
        self._channel.queue(wire)

    def _envelope(self) -> list[str]:
        return [self._sender or "", *self._recipients]

    def _forget(self) -> None:
        self._sender = None
        self._recipients = []
        self._parameters = []

    def _journal(self, event: str, **values: str | int | list[str]) -> None:
        self._shared.journal.add(self._number, event, **values)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _shown(wire: bytes) -> str:
    return wire.decode("utf-8", "backslashreplace").replace("\r\n", "\n").removesuffix("\n")
