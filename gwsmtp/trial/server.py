"""The built-in next hop: an SMTP server that files every message into a Maildir.

It is for trying gwsmtp out without a mail server at hand, says so in its greeting, and is, with a
script of misbehaviours (``trial.script``), the next hop of the tests. It is no mail store.

Contract: built and used in a gevent process; ``start`` returns at once, the work is done in
greenlets, filing in a thread pool. It takes over the listener it is given, patched or not. It does
not print, install signal handlers or change the process in any way.

Limits: 500 sessions, 64 MiB a message, 512 MiB of all messages on their way in; beyond: 421, 552,
452. A session that is silent for 5 minutes is ended.
"""

import errno
import itertools
import logging
import socket as plain_socket
from pathlib import Path

import gevent
from gevent import socket
from gevent.event import Event
from gevent.threadpool import ThreadPool

from gwsmtp.base import replies
from gwsmtp.base.clock import SystemClock
from gwsmtp.base.quoting import quoted
from gwsmtp.trial import mischief
from gwsmtp.trial.conversation import Conversation, Shared
from gwsmtp.trial.journal import Journal
from gwsmtp.trial.maildir import Maildir
from gwsmtp.trial.script import Script, ScriptFile

log = logging.getLogger(__name__)

MAX_SESSIONS = 500
FILING_THREADS = 8
_PAUSE_S = 0.1  # after EMFILE and its kin


class TrialServer:
    """``maildir`` is created when missing (OSError where that fails); ``script`` None = behave."""

    def __init__(
        self,
        listener: socket.socket | plain_socket.socket,
        maildir: Path,
        script: Script | None = None,
        *,
        journal: Path | None = None,
        with_envelope: bool = False,
        host_domain: str = "trial.invalid",
    ) -> None:
        # The descriptor moves into a gevent socket, whatever kind it came in.
        self._listener = socket.socket(
            listener.family, listener.type, listener.proto, fileno=listener.detach()
        )
        folder = Maildir(maildir, with_envelope=with_envelope)
        folder.create()
        self._journal = Journal(journal, SystemClock())
        if isinstance(script, ScriptFile):
            script.on_error = self._script_failed
        self._shared = Shared(
            folder, script or Script(), self._journal, ThreadPool(FILING_THREADS), host_domain
        )
        self._numbers = itertools.count(1)
        self._stopped = Event()
        self._acceptor: gevent.Greenlet[[], None] | None = None
        self._sessions: dict[gevent.Greenlet[[], None], Conversation] = {}

    @property
    def address(self) -> str:
        """Where it listens, as ``host:port`` (IPv6 in brackets)."""
        return _shown(self._listener.getsockname())

    @property
    def sessions(self) -> int:
        """Connections being served now."""
        return len(self._sessions)

    def start(self) -> None:
        """Begins to accept; does not block."""
        self._listener.listen(1024)
        self._acceptor = gevent.spawn(self._accept)

    def stop(self, timeout_s: float = 5.0) -> None:
        """Stops accepting and ends all sessions; one that is filing a message may finish and
        answer it, for at most ``timeout_s``. A second call waits for the first.
        """
        if self._shared.stopping:
            self._stopped.wait(2 * timeout_s)
            return
        self._shared.stopping = True
        if self._acceptor is not None:
            self._acceptor.kill()
        self._listener.close()
        running = dict(self._sessions)
        gevent.killall([one for one, talk in running.items() if not talk.is_filing])
        gevent.joinall(list(running), timeout=timeout_s)
        gevent.killall(list(running))
        self._shared.pool.kill()
        self._journal.close()
        self._stopped.set()

    def _accept(self) -> None:
        while True:
            try:
                sock, peer = self._listener.accept()
            except OSError as e:
                if e.errno in (errno.EBADF, errno.EINVAL):
                    return
                log.warning("event=trial_accept_failed cause=%s", quoted(str(e)))
                gevent.sleep(_PAUSE_S)
                continue
            if len(self._sessions) >= MAX_SESSIONS:
                mischief.last_words(sock, replies.TRIAL_BUSY.wire)
                sock.close()
                continue
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            conversation = Conversation(sock, _shown(peer), next(self._numbers), self._shared)
            session = gevent.spawn(conversation.run)
            self._sessions[session] = conversation
            session.rawlink(self._forget)

    def _script_failed(self, problem: str) -> None:
        log.warning("event=trial_script_failed cause=%s", quoted(problem))
        self._journal.add(0, "script", problem=problem)

    def _forget(self, session: "gevent.Greenlet[[], None]") -> None:
        # Not in run's finally: a greenlet that is killed before its first switch never enters it.
        conversation = self._sessions.pop(session, None)
        if conversation is not None:
            conversation.close()


def _shown(address: object) -> str:
    if not isinstance(address, tuple):
        return str(address)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
