"""A certificate with its chain and key, read whole and proved before anything is made of it.

What was read is what is used: ``read_unit`` keeps the octets, so that files which are replaced one
after the other are never mixed. Reads files and blocks on the disk, with root's rights where there
are any; used by the master and by ``gwsmtp check``. ``cryptography`` reads what a certificate says
and whether the key is its own; a good unit may have expired, which is for the caller to judge.
"""

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gwsmtp.base.errors import ConfigError
from gwsmtp.config.tls import TlsUnit

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate

MAX_OCTETS = 1 << 20
"""Files beyond this are no certificates of anybody's."""

FileState = tuple[str, int, int, int, int]
"""(path, device, inode, size, mtime in ns): differs when a file may have another content; all
zero where there is no file.
"""


class CertificateProblem(Exception):
    """A unit that cannot be used; ``field`` is the part of it, ``is_missing`` says that a file
    is not there and ``is_unread`` that we could not look at it.
    """

    def __init__(
        self, field: str, text: str, *, is_missing: bool = False, is_unread: bool = False
    ) -> None:
        super().__init__(text)
        self.field = field
        self.text = text
        self.is_missing = is_missing
        self.is_unread = is_unread


class LoadedUnit(NamedTuple):
    """A certificate and key that belong together. ``pem`` is the certificate and its chain;
    ``not_before`` and ``not_after`` are seconds since the epoch; ``key_kind`` is such as RSA.
    """

    place: tuple[str | int, ...]
    pem: bytes
    key: bytes
    phrase: str
    names: tuple[str, ...]
    not_before: float
    not_after: float
    key_kind: str
    serial: str
    chain_fits: bool


def read_unit(unit: TlsUnit) -> LoadedUnit:
    """The unit's files, proved to belong together. Raises CertificateProblem."""
    pem = _read("certificate_file", unit.certificate)
    key_field = "certificate_file" if unit.key == unit.certificate else "key_file"
    key = pem if unit.key == unit.certificate else _read(key_field, unit.key)
    chain = _read("chain_file", unit.chain) if unit.chain is not None else b""
    try:
        phrase = unit.pass_phrase.reveal()
    except ConfigError as e:
        raise CertificateProblem("pass_phrase", e.problems[0], is_unread=True) from e
    certificates = _certificates("certificate_file", pem)
    leaf = certificates[0]
    if chain:
        certificates += _certificates("chain_file", chain)
    private = _private_key(key_field, key, phrase)
    try:
        belongs = _point(leaf.public_key()) == _point(private.public_key())
    except Exception as e:
        raise CertificateProblem("certificate_file", f"holds an unknown kind of key: {e}") from e
    if not belongs:
        raise CertificateProblem(key_field, "the key does not belong to the certificate")
    above = [one.subject for one in certificates[1:]]
    return LoadedUnit(
        unit.place,
        pem.rstrip() + b"\n" + chain,
        key,
        phrase,
        unit.names or _names(leaf),
        leaf.not_valid_before_utc.timestamp(),
        leaf.not_valid_after_utc.timestamp(),
        type(private).__name__.removeprefix("_"),
        f"{leaf.serial_number:x}",
        not above or leaf.issuer in above or leaf.issuer == leaf.subject,
    )


def file_states(units: tuple[TlsUnit, ...]) -> tuple[FileState, ...]:
    """The state of every file the units are read from, the pass phrase's included."""
    return tuple(
        _state(path)
        for unit in units
        for path in (unit.certificate, unit.chain, unit.key, unit.pass_phrase.path)
        if path is not None
    )


def _state(path: Path) -> FileState:
    try:
        found = os.stat(path)
    except OSError:
        return (str(path), 0, 0, 0, 0)
    return (str(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _read(field: str, path: Path) -> bytes:
    problem, data = read_file(path)
    if problem:
        missing = not os.path.lexists(path)
        raise CertificateProblem(field, problem, is_missing=missing, is_unread=True)
    return data


def read_file(path: Path) -> tuple[str, bytes]:
    """(why the file cannot be read or "", its content); a named pipe does not stop us."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return f"{path}: is not a regular file", b""
            data = file.read(MAX_OCTETS + 1)
    except OSError as e:
        return f"{path}: {e.strerror}", b""
    return (f"{path}: is too large", b"") if len(data) > MAX_OCTETS else ("", data)


def _certificates(field: str, pem: bytes) -> "list[Certificate]":
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as e:
        raise CertificateProblem(field, "holds no certificate in PEM form") from e


def _private_key(field: str, pem: bytes, phrase: str) -> "PrivateKeyTypes":
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    # A phrase beside a key that needs none is harmless, to OpenSSL as to us.
    for password in (phrase.encode() or None, None):
        try:
            return load_pem_private_key(pem, password)
        except TypeError as e:
            if password is None:
                raise CertificateProblem(field, "the key needs a pass phrase") from e
        except Exception as e:
            text = "holds no private key in PEM form, or the pass phrase is wrong"
            raise CertificateProblem(field, text) from e
    raise CertificateProblem(field, "holds no private key")


def _point(key: object) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    octets: bytes = key.public_bytes(  # type: ignore[attr-defined]
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return octets


def _names(leaf: "Certificate") -> tuple[str, ...]:
    """The DNS names a certificate is for, in lower case; its common name where it has none."""
    from cryptography.x509 import DNSName, ExtensionNotFound, SubjectAlternativeName
    from cryptography.x509.oid import NameOID

    try:
        extension = leaf.extensions.get_extension_for_class(SubjectAlternativeName)
        return tuple(name.lower() for name in extension.value.get_values_for_type(DNSName))
    except (ExtensionNotFound, ValueError):
        names = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return tuple(str(name.value).lower() for name in names[:1])
