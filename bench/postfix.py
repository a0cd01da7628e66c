"""Postfix, unpacked by scripts/tools, as a system to stand beside: smtpd with TLS in front of the
same next hop (``smtpd_proxy_filter``), nothing queued.

Its master refuses to run but as root; its daemons run as nobody. Ports are chosen by binding to 0
and letting go, since Postfix cannot choose.
"""

import os
import socket
import time
from pathlib import Path

from bench.programs import READY_SECONDS, ROOT, Address, Program, ProgramFailed

_SBIN = ROOT / ".tools" / "root" / "usr" / "lib" / "postfix" / "sbin"
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
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_loglevel = 0
max_use = 1000000
"""

MASTER = """\
127.0.0.1:{plain} inet n - n - 100 smtpd
127.0.0.1:{ssl} inet n - n - 100 smtpd
  -o smtpd_tls_wrappermode=yes
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A started Postfix; ``plain`` offers STARTTLS, ``ssl`` is TLS from the first byte."""

    def __init__(self, folder: Path, next_hop: Address, certificate: Path, key: Path) -> None:
        if os.geteuid() != 0:
            raise ProgramFailed("Postfix's master runs as root only")
        if not (_SBIN / "master").exists():
            raise ProgramFailed("no Postfix: run scripts/tools first")
        home = folder / "postfix"
        self._make(home)
        ports = [_free_port(), _free_port()]
        self.plain: Address = ("127.0.0.1", ports[0])
        self.ssl: Address = ("127.0.0.1", ports[1])
        text = MAIN.format(
            home=home, sbin=_SBIN, lib=_SBIN.parent, host=next_hop[0], port=next_hop[1],
            certificate=certificate, key=key,
        )  # fmt: skip
        (home / "main.cf").write_text(text)
        (home / "master.cf").write_text(MASTER.format(plain=ports[0], ssl=ports[1]))
        (home / "dynamicmaps.cf").write_text("")
        self.log = home / "log"
        environment = {"MAIL_CONFIG": str(home), "LD_LIBRARY_PATH": str(_SBIN.parent)}
        argv = [str(_SBIN / "master"), "-c", str(home), "-d"]
        self.program = Program("postfix", argv, folder, environment=environment)
        self._wait()

    def _make(self, home: Path) -> None:
        queue, data = home / "queue", home / "data"
        for path in (home, queue, data, *(queue / name for name in _QUEUE)):
            path.mkdir(exist_ok=True)
            path.chmod(0o755)
        owner = _uid_of_nobody()
        for path in (data, queue / "private", queue / "public"):
            os.chown(path, owner, -1)

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if not self.program.is_running():
                raise self.program.failure("ended at start")
            try:
                with socket.create_connection(self.plain, 5) as probe:
                    if probe.recv(3) == b"220":
                        return
            except OSError:
                pass
            time.sleep(0.05)
        said = self.log.read_text() if self.log.exists() else ""
        raise ProgramFailed(f"Postfix did not greet within {READY_SECONDS:.0f} s\n{said[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _uid_of_nobody() -> int:
    import pwd

    return pwd.getpwnam("nobody").pw_uid
