"""Postfix, unpacked by scripts/tools, as a system to stand beside: smtpd in front of the same next
hop (``smtpd_proxy_filter``), nothing queued, nothing scanned; with TLS for bench/tls.

Its master refuses to run but as root; its daemons run as nobody. Ports are chosen by binding to 0
and letting go, since Postfix cannot choose.
"""

import os
from pathlib import Path

from bench.programs import (
    ROOT,
    Address,
    Program,
    ProgramFailed,
    Sink,
    System,
    free_port,
    wait_for_greeting,
)

_SBIN = ROOT / ".tools" / "root" / "usr" / "lib" / "postfix" / "sbin"
FILTER = "postfix_filter"
FILTER_PROCESSES = 2  # smtpd's, as many as the gateway has workers; with 20 or 100 it is slower
_QUEUE = (
    *("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming"),
    *("maildrop", "pid", "private", "public", "saved", "trace"),
)

MAIN = """\
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
daemon_directory = {sbin}
command_directory = {sbin}/..
shlib_directory = {lib}
meta_directory = {home}
mail_owner = nobody
setgid_group = mail
default_privs = daemon
import_environment = MAIL_CONFIG LD_LIBRARY_PATH
maillog_file = {home}/log
maillog_file_prefixes = {home}
myhostname = gw.example.test
mynetworks =
mydestination =
local_recipient_maps =
relay_domains = example.test
relay_recipient_maps =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_proxy_filter = {host}:{port}
smtpd_recipient_restrictions = reject_unauth_destination
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
max_use = 1000000
max_idle = 1h
"""

MAIN_TLS = """\
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_loglevel = 0
"""

MASTER = """\
127.0.0.1:{plain} inet n - n - {processes} smtpd
rewrite unix - - n - - trivial-rewrite
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
"""

MASTER_TLS = """\
127.0.0.1:{ssl} inet n - n - {processes} smtpd
  -o smtpd_tls_wrappermode=yes
tlsmgr unix - - n 1000? 1 tlsmgr
"""


def why_not() -> str:
    """Why Postfix cannot be run here; empty when it can."""
    if os.geteuid() != 0:
        return "Postfix's master runs as root only"
    return "" if (_SBIN / "master").exists() else "no Postfix: run scripts/tools first"


def start_filter(sink: Sink, folder: Path) -> System:
    """Postfix's before-queue filter: smtpd without TLS, straight to the next hop."""
    started = Postfix(folder, sink.address, processes=FILTER_PROCESSES)
    return System(FILTER, started.plain, started.program, grows=True)


class Postfix:
    """A started Postfix. With a certificate and its key ``plain`` offers STARTTLS and ``ssl`` is
    TLS from the first byte; without them nothing listens on ``ssl``. ``processes`` is the most
    smtpd's (each serves one session at a time) a listener has; more sessions wait to be accepted.
    """

    def __init__(
        self,
        folder: Path,
        next_hop: Address,
        tls: tuple[Path, Path] | None = None,
        processes: int = 100,
    ) -> None:
        if reason := why_not():
            raise ProgramFailed(reason)
        home = folder / "postfix"
        self._make(home)
        self.plain: Address = ("127.0.0.1", free_port())
        self.ssl: Address = ("127.0.0.1", free_port())
        main = MAIN.format(
            home=home, sbin=_SBIN, lib=_SBIN.parent, host=next_hop[0], port=next_hop[1]
        )
        services = MASTER.format(plain=self.plain[1], processes=processes)
        if tls:
            main += MAIN_TLS.format(certificate=tls[0], key=tls[1])
            services += MASTER_TLS.format(ssl=self.ssl[1], processes=processes)
        (home / "main.cf").write_text(main)
        (home / "master.cf").write_text(services)
        (home / "dynamicmaps.cf").write_text("")
        self.log = home / "log"
        environment = {"MAIL_CONFIG": str(home), "LD_LIBRARY_PATH": str(_SBIN.parent)}
        argv = [str(_SBIN / "master"), "-c", str(home), "-d"]
        self.program = Program("postfix", argv, folder, environment=environment)
        try:
            wait_for_greeting(self.program, self.plain, self.log)
        except BaseException:
            self.program.end()
            raise

    def _make(self, home: Path) -> None:
        queue, data = home / "queue", home / "data"
        for path in (home, queue, data, *(queue / name for name in _QUEUE)):
            path.mkdir(exist_ok=True)
            path.chmod(0o755)
        owner = _uid_of_nobody()
        for path in (data, queue / "private", queue / "public"):
            os.chown(path, owner, -1)


def _uid_of_nobody() -> int:
    import pwd

    return pwd.getpwnam("nobody").pw_uid
