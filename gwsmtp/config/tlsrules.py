"""Rules about TLS (SETTINGS rows 25-35). Reads certificates and keys.

A certificate that cannot be had is a fault where the SSL listener was asked for and a warning
where only STARTTLS was; one whose parts do not belong together is a fault always: a check refuses
it, a start goes on without TLS, in clear (row 26). What is merely old or too readable is a warning.
"""

import os
import ssl
import stat
from collections.abc import Iterator
from datetime import UTC, datetime

from gwsmtp.base.clock import SystemClock
from gwsmtp.config.certificates import CertificateProblem, LoadedUnit, read_unit
from gwsmtp.config.finding import Finding, Rule, error, fault, warning
from gwsmtp.config.root import Config
from gwsmtp.config.tls import TlsUnit, tls_plan

_DAY_S = 86400
EXPIRY_NOTICE_DAYS = 14
_OLD_VERSIONS = ("TLSv1", "TLSv1.1")


def _protocols(config: Config) -> Iterator[Finding]:
    plan = tls_plan(config.ssl, config.server_ssl)
    if not plan.allowed:
        yield error(plan.allowed_place, "disables every protocol one can choose")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(plan.ciphers)
    except (ssl.SSLError, ValueError):
        yield error(plan.ciphers_place, "is no cipher string OpenSSL understands")
        return
    if not (config.ssl.enable_tls or config.ssl.enabled):
        return
    old = [name for name in plan.allowed if name in _OLD_VERSIONS]
    if old and "@SECLEVEL=0" in plan.ciphers:
        text = f"allows {' and '.join(old)} (RFC 8996: deprecated)"
        yield warning(plan.allowed_place, text)
    elif old:
        text = f"{' and '.join(old)} not disabled, yet OpenSSL 3 needs @SECLEVEL=0 in cipher_list"
        yield warning(plan.allowed_place, text)


def _certificate(config: Config) -> Iterator[Finding]:
    for name in ("ssl", "server_ssl"):
        group = config.ssl if name == "ssl" else config.server_ssl
        if group.certificate_file is None:
            for part in ("chain_file", "key_file", "pass_phrase", "certificates"):
                if getattr(group, part):
                    yield warning(f"{name}.{part}", "counts only together with certificate_file")
    plan = tls_plan(config.ssl, config.server_ssl)
    if not plan.units:
        if config.ssl.enabled:
            yield error("ssl.enabled", "needs certificate_file, here or in server_ssl")
        if config.ssl.enable_tls:
            yield warning("ssl.enable_tls", "STARTTLS is not offered without certificate_file")
        return
    seen: dict[tuple[str, str], TlsUnit] = {}
    for unit in plan.units:
        yield from _key_mode(unit)
        try:
            loaded = read_unit(unit)
        except CertificateProblem as e:
            # Who checks may be another user than who runs: what cannot be read may be right.
            is_sure = not e.is_unread or (e.is_missing and config.ssl.enabled)
            yield (fault if is_sure else warning)((*unit.place, e.field), e.text)
            continue
        yield from _judge(unit, loaded)
        for server_name in loaded.names:
            first = seen.setdefault((server_name, loaded.key_kind), unit)
            if first is not unit:
                text = f"is for {server_name} like one before it, which is shown instead"
                yield warning((*unit.place, "certificate_file"), text)


def _key_mode(unit: TlsUnit) -> Iterator[Finding]:
    try:
        mode = stat.S_IMODE(os.stat(unit.key).st_mode)
    except OSError:
        return
    if mode & 0o044:
        text = "holds a private key that others can read; chmod 600"
        yield warning((*unit.place, _key_field(unit)), text)


def _judge(unit: TlsUnit, loaded: LoadedUnit) -> Iterator[Finding]:
    """What a unit that can be used is warned about."""
    now = SystemClock().now()
    place = (*unit.place, "certificate_file")
    day = datetime.fromtimestamp(loaded.not_after, UTC).date()
    if loaded.not_after <= now:
        yield warning(place, f"the certificate has expired on {day}")
    elif loaded.not_after - now < EXPIRY_NOTICE_DAYS * _DAY_S:
        yield warning(place, f"the certificate expires on {day}")
    if loaded.not_before > now:
        yield warning(place, "the certificate is not valid yet")
    if not loaded.chain_fits:
        field = "chain_file" if unit.chain is not None else "certificate_file"
        text = "the chain does not hold the issuer of the certificate"
        yield warning((*unit.place, field), text)


def _key_field(unit: TlsUnit) -> str:
    return "certificate_file" if unit.key == unit.certificate else "key_file"


TLS_RULES = (
    Rule(_protocols, "ssl", "server_ssl"),
    Rule(_certificate, "ssl", "server_ssl"),
)
