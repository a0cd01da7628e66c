"""Rules about listeners, TLS and the machine (SETTINGS rows 2, 8, 9, 26-34). Reads certificates."""

import os
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

from gwsmtp.base.endpoint import Endpoint
from gwsmtp.base.errors import ConfigError
from gwsmtp.config.finding import Finding, Rule, error, warning
from gwsmtp.config.root import Config
from gwsmtp.config.tls import USABLE_VERSIONS, SslGroup

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


def _protocols(config: Config) -> Iterator[Finding]:
    group = config.ssl
    allowed = [name for name in USABLE_VERSIONS if name not in group.disable_protocols]
    if not allowed:
        yield error("ssl.disable_protocols", "disables every protocol one can choose")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(group.openssl_ciphers)
    except (ssl.SSLError, ValueError):
        yield error("ssl.cipher_list", "is no cipher string OpenSSL understands")
        return
    if not (group.enable_tls or group.enabled):
        return
    old = [name for name in allowed if name in ("TLSv1", "TLSv1.1")]
    if old and "@SECLEVEL=0" in group.openssl_ciphers:
        yield warning("ssl.disable_protocols", f"allows {' and '.join(old)} (RFC 8996: deprecated)")
    elif old:
        text = f"{' and '.join(old)} not disabled, yet OpenSSL 3 needs @SECLEVEL=0 in cipher_list"
        yield warning("ssl.disable_protocols", text)


def _certificate(config: Config) -> Iterator[Finding]:
    group = config.ssl
    if group.certificate_file is None:
        for name in ("chain_file", "key_file", "pass_phrase"):
            if getattr(group, name):
                yield warning(f"ssl.{name}", "counts only together with certificate_file")
        if group.enabled:
            yield error("ssl.enabled", "needs certificate_file")
        if group.enable_tls:
            yield warning("ssl.enable_tls", "STARTTLS is not offered without certificate_file")
        return
    for name in ("certificate_file", "chain_file", "key_file"):
        path: Path | None = getattr(group, name)
        problem = unreadable(path) if path is not None else ""
        if problem:
            missing = isinstance(path, Path) and not os.path.lexists(path)
            make = error if missing and group.enabled else warning
            yield make(f"ssl.{name}", problem)
            return
    yield from _key(group)


def _key(group: SslGroup) -> Iterator[Finding]:
    certificate = str(group.certificate_file)
    key = group.key_file or group.certificate_file
    field = "key_file" if group.key_file else "certificate_file"
    if key is not None and stat.S_IMODE(os.stat(key).st_mode) & 0o044:
        yield warning(f"ssl.{field}", "holds a private key that others can read; chmod 600")
    try:
        phrase = group.pass_phrase.reveal()
    except ConfigError as e:
        yield warning("ssl.pass_phrase", e.problems[0])
        return
    try:
        # a function, so that OpenSSL never asks the terminal
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            certificate, str(key), password=lambda: phrase
        )
    except (ssl.SSLError, ValueError) as e:
        reason = str(getattr(e, "reason", "") or "not in PEM form").replace("_", " ").lower()
        if "mismatch" in reason:
            yield error(f"ssl.{field}", "the key does not belong to the certificate")
        else:
            yield error(f"ssl.{field}", f"certificate and key cannot be used: {reason}")
    except OSError as e:
        yield warning(f"ssl.{field}", str(e.strerror))


def unreadable(path: Path) -> str:
    """Why this process cannot read ``path``, "" if it can."""
    try:
        # a named pipe must not stop a check
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        finally:
            os.close(descriptor)
    except OSError as e:
        return f"{path}: {e.strerror}"
    return "" if is_file else f"{path}: is not a regular file"


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
    Rule(_protocols, "ssl"),
    Rule(_certificate, "ssl"),
    Rule(_run_directory, "paths"),
    Rule(_user, "workers"),
)
