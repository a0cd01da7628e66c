"""Rules about listeners and the machine (SETTINGS rows 2, 8, 9, 28)."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from gwsmtp.base.endpoint import Endpoint
from gwsmtp.config.finding import Finding, Rule, error, warning
from gwsmtp.config.root import Config

WILDCARDS = ("0.0.0.0", "::")
# sockaddr_un has 107 bytes; the longest socket name of ours needs about 25
MAX_RUN_PATH = 80


def is_for_this_machine(host_server: str) -> bool:
    """Row 2: the instance belongs here (blank: anywhere). Compares with and without the domain."""
    here = os.uname().nodename.lower()
    wanted = host_server.lower()
    if not wanted or wanted == here:
        return True
    if "." in wanted and "." in here:
        return False
    return wanted.partition(".")[0] == here.partition(".")[0]


def listens_on(endpoint: Endpoint, listeners: tuple[Endpoint, ...]) -> bool:
    """Mail sent to ``endpoint`` would come back to us, as far as the text tells."""
    local_v4 = endpoint.host.startswith("127.") or endpoint.host in ("localhost", "0.0.0.0")
    local_v6 = endpoint.host in ("::1", "localhost", "::")
    for own in listeners:
        if endpoint.port != own.port:
            continue
        everything = (local_v4 and own.host == "0.0.0.0") or (local_v6 and own.host == "::")
        by_name = endpoint.host == "localhost" and (
            own.host.startswith("127.") or own.host == "::1"
        )
        if endpoint.host == own.host or everything or by_name:
            return True
    return False


def all_listeners(config: Config) -> tuple[Endpoint, ...]:
    """Every address the file opens."""
    plain = config.server.listen if config.server.enabled else ()
    return (*plain, *(config.ssl.listen if config.ssl.enabled else ()))


def _machine(config: Config) -> Iterator[Finding]:
    wanted = config.interface.host_server
    if not is_for_this_machine(wanted):
        here = os.uname().nodename
        yield warning("interface.host_server", f"is {wanted}; {here} will not run it")


def _listeners(config: Config) -> Iterator[Finding]:
    if not config.server.enabled and not config.ssl.enabled:
        yield warning("server.enabled", "both servers are off: this interface only delivers")
    seen: set[Endpoint] = set()
    for group, listen in (("server", config.server.listen), ("ssl", config.ssl.listen)):
        for index, endpoint in enumerate(listen):
            if endpoint.port == 0:
                continue  # whichever is free: never the same twice
            if endpoint in seen:
                yield error((group, "listen", index), f"{endpoint} is given twice")
            elif _overlaps(endpoint, seen):
                text = f"{endpoint} is covered by an address that listens on everything"
                yield warning((group, "listen", index), text)
            seen.add(endpoint)


def _overlaps(endpoint: Endpoint, seen: set[Endpoint]) -> bool:
    return any(
        other.port == endpoint.port
        and other.is_ipv6 == endpoint.is_ipv6
        and (other.host in WILDCARDS or endpoint.host in WILDCARDS)
        for other in seen
    )


def unreadable(path: Path) -> str:
    """Why this process cannot read ``path``, "" if it can; a named pipe does not stop us."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as e:
        return f"{path}: {e.strerror}"
    try:
        is_regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
    return "" if is_regular else f"{path}: is not a regular file"


def not_utf8(path: Path) -> str:
    """Why a readable ``path`` is no text, "" if it is."""
    try:
        with path.open(encoding="utf-8") as file:
            for _ in file:
                pass
    except UnicodeDecodeError as e:
        return f"{path}: is not UTF-8 ({e.reason})"
    except OSError as e:
        return f"{path}: {e.strerror}"
    return ""


def _run_directory(config: Config) -> Iterator[Finding]:
    if len(os.fsencode(config.paths.run)) > MAX_RUN_PATH:
        text = f"is longer than {MAX_RUN_PATH} bytes: sockets in it could not be opened"
        yield error("paths.run", text)


def _user(config: Config) -> Iterator[Finding]:
    if config.workers.user in ("root", "0"):
        yield warning("workers.user", "the children would keep root's rights")


LISTEN_RULES = (
    Rule(_machine, "interface"),
    Rule(_listeners, "server", "ssl"),
    Rule(_run_directory, "paths"),
    Rule(_user, "workers"),
)
