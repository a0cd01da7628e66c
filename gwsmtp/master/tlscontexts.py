"""TLS contexts, made by the master before each generation's fork, and kept good.

``build`` makes the material of the next generation: the keys are read here, where there are root's
rights, and every generation gets new ticket keys. A unit of certificate, chain and key that cannot
be used (unreadable, mismatched, expired, not valid yet) does not replace the good one that was
there before: that one is kept, with an ERROR line. At the first start there is none before, and
an expired certificate is better than none: most clients of SMTP do not verify it.

``watch`` looks about once a minute whether the files are others than those that were tried last,
and asks for a new generation when they are good. What is bad is said once per change.

OpenSSL takes files only, so what was read and proved is handed to it through a memory file: it is
the same octets, and nothing is written to a disk. Used by the master's loop alone; blocks on the
disk. Raises nothing: mail goes on in clear.
"""

import logging
import os
import ssl
import warnings
from collections.abc import Iterable
from pathlib import Path

from gwsmtp.base.clock import SystemClock
from gwsmtp.base.quoting import quoted
from gwsmtp.base.seams import Clock
from gwsmtp.config.certificates import (
    CertificateProblem,
    FileState,
    LoadedUnit,
    file_states,
    read_unit,
)
from gwsmtp.config.tls import TlsPlan, TlsUnit
from gwsmtp.net.tlsmaterial import TlsMaterial

log = logging.getLogger(__name__)

WATCH_MS = 60_000
_FORBID = {"TLSv1": "OP_NO_TLSv1", "TLSv1.1": "OP_NO_TLSv1_1", "TLSv1.2": "OP_NO_TLSv1_2"}
_EXPIRED = "the certificate has expired"
_FORBID_ALWAYS = ("OP_NO_SSLv2", "OP_NO_SSLv3")


class TlsContexts:
    """The master's one keeper of certificates; see the module."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._plan: TlsPlan | None = None
        self._good: dict[TlsUnit, LoadedUnit] = {}
        self._tried: dict[TlsUnit, tuple[FileState, ...]] = {}
        self._early: set[TlsUnit] = set()  # good by and by, without any change of a file
        self._told: set[str] = set()
        self._watched_ms = 0

    def build(self, plan: TlsPlan | None) -> TlsMaterial | None:
        """The material of a new generation; None where TLS is off or no certificate is usable.
        Alerts by ERROR lines.
        """
        self._plan = plan
        if plan is None:
            return None
        self._good = {unit: good for unit, good in self._good.items() if unit in plan.units}
        for unit in plan.units:
            self._refresh(unit)
        loaded = [self._good[unit] for unit in plan.units if unit in self._good]
        if not loaded:
            log.error("event=tls_unavailable note=%s", quoted("no usable certificate"))
            return None
        try:
            return _material(plan, loaded)
        except (OSError, ValueError) as error:
            log.error("event=tls_unavailable reason=%s", quoted(str(error)))
            return None

    def watch(self, now_ms: int) -> bool:
        """True when files have changed to something good: begin a new generation. Looks at most
        once in ``WATCH_MS``; ``now_ms`` is CLOCK_BOOTTIME.
        """
        if self._plan is None or now_ms - self._watched_ms < WATCH_MS:
            return False
        self._watched_ms = now_ms
        self._tell_of_expired()
        changed = [
            unit
            for unit in self._plan.units
            if unit in self._early or file_states((unit,)) != self._tried.get(unit)
        ]
        # Not any(): every unit that changed is to be tried, and told about, now.
        return any(self._refresh(unit) for unit in changed)

    def _refresh(self, unit: TlsUnit) -> bool:
        """Tries the files as they are now; True when they gave something new and good."""
        before, state = self._good.get(unit), file_states((unit,))
        is_known = self._tried.get(unit) == state
        self._tried[unit] = state
        is_settled = before is not None and before.not_after > self._clock.now()
        if is_known and is_settled and unit not in self._early:
            return False
        try:
            found = read_unit(unit)
        except CertificateProblem as problem:
            if not is_known:
                self._alert(unit, problem.field, problem.text, kept=before is not None)
            return False
        objection = self._objection(found)
        (self._early.add if found.not_before > self._clock.now() else self._early.discard)(unit)
        if objection and not is_known:
            is_kept = before is not None and not self._objection(before)
            self._alert(unit, "certificate_file", objection, kept=is_kept)
        if before is not None and (found == before or (objection and not self._objection(before))):
            return False
        self._good[unit] = found
        log.info(
            "event=tls_certificate key=%s serial=%s names=%s",
            *(_place(unit), found.serial, quoted(",".join(found.names))),
        )
        return True

    def _tell_of_expired(self) -> None:
        """Time alone makes a certificate bad, too."""
        for unit, good in self._good.items():
            if good.not_after <= self._clock.now() and good.serial not in self._told:
                self._told.add(good.serial)
                self._alert(unit, "certificate_file", _EXPIRED, kept=True)

    def _objection(self, found: LoadedUnit) -> str:
        now = self._clock.now()
        if found.not_after <= now:
            self._told.add(found.serial)
            return _EXPIRED
        return "the certificate is not valid yet" if found.not_before > now else ""

    def _alert(self, unit: TlsUnit, field: str, text: str, *, kept: bool) -> None:
        note = "the last good one is kept" if kept else ""
        log.error(
            "event=tls_certificate_bad key=%s.%s reason=%s note=%s",
            *(_place(unit), field, quoted(text), quoted(note)),
        )


def _material(plan: TlsPlan, loaded: Iterable[LoadedUnit]) -> TlsMaterial:
    """One context for each set of names; a second kind of key stands beside the first in it."""
    contexts: dict[frozenset[str], tuple[ssl.SSLContext, set[str]]] = {}
    by_name: dict[str, ssl.SSLContext] = {}
    first: ssl.SSLContext | None = None
    for unit in loaded:
        context, kinds = contexts.setdefault(frozenset(unit.names), (_context(plan), set()))
        if unit.key_kind in kinds:
            continue
        _load(context, unit)
        kinds.add(unit.key_kind)
        first = first or context
        for name in unit.names:
            by_name.setdefault(name, context)
    if first is None:
        raise ValueError("no certificate")
    return TlsMaterial(first, by_name)


def _context(plan: TlsPlan) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(plan.ciphers)
    context.options |= (
        ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    )
    forbidden = [flag for name, flag in _FORBID.items() if name not in plan.allowed]
    with warnings.catch_warnings():
        # One flag a protocol is what the check boxes of row 34 say; a least version is not.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        for flag in (*_FORBID_ALWAYS, *forbidden):
            context.options |= getattr(ssl, flag)
    context.num_tickets = 1  # a client of SMTP keeps one
    return context


def _load(context: ssl.SSLContext, unit: LoadedUnit) -> None:
    certificate, key = os.memfd_create("certificate"), os.memfd_create("key")
    try:
        Path(f"/proc/self/fd/{certificate}").write_bytes(unit.pem)
        Path(f"/proc/self/fd/{key}").write_bytes(unit.key)
        context.load_cert_chain(
            f"/proc/self/fd/{certificate}",
            f"/proc/self/fd/{key}",
            # A function, so that OpenSSL never asks the terminal.
            password=lambda: unit.phrase,
        )
    finally:
        os.close(certificate)
        os.close(key)


def _place(unit: TlsUnit) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in unit.place)[1:]
