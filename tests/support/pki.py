"""Certificates of the test's own: a CA, an intermediate, and whatever is wrong with a leaf.

    ca = Authority()
    files = ca.issue(folder, "gw", names=["gw.example.test"])
    files.certificate, files.key

Keys are made once per process and kind: an RSA key costs 50 ms.
"""

import datetime
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Kind = Literal["rsa", "ecdsa"]
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_DAY = datetime.timedelta(days=1)


@functools.cache
def key_of(kind: Kind, number: int = 0) -> Key:
    """RSA-2048 or ECDSA P-256; another ``number`` is another key."""
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class Files:
    """Where a leaf was written; ``chain`` holds the intermediate, ``ca`` what a client trusts."""

    certificate: Path
    chain: Path
    key: Path
    ca: Path
    serial: int

    @property
    def settings(self) -> dict[str, str]:
        """As the group ``ssl`` wants them."""
        return {
            "certificate_file": str(self.certificate),
            "chain_file": str(self.chain),
            "key_file": str(self.key),
        }

    @property
    def on_both_listeners(self) -> dict[str, Any]:
        """The same for a gateway that offers STARTTLS and has an SSL listener."""
        return {"enable_tls": True, "enabled": True, "listen": ["127.0.0.1:0"], **self.settings}


class Authority:
    """A root and an intermediate that issues."""

    def __init__(self, name: str = "test") -> None:
        self._root_key, self._key = key_of("ecdsa", 100), key_of("ecdsa", 101)
        self._root_name = _name(f"{name} root")
        self._issuer_name = _name(f"{name} intermediate")
        self.root = self._ca(self._root_name, self._root_name, self._root_key, self._root_key)
        self.intermediate = self._ca(self._issuer_name, self._root_name, self._key, self._root_key)

    def _ca(self, subject: x509.Name, issuer: x509.Name, own: Key, by: Key) -> x509.Certificate:
        builder = _builder(subject, issuer, own, _now() - _DAY, _now() + 3650 * _DAY)
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        return (
            builder.add_extension(x509.BasicConstraints(True, None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False
            )
            .sign(by, SHA256())
        )

    def issue(
        self,
        folder: Path,
        stem: str,
        *,
        names: tuple[str, ...] = ("gw.example.test",),
        kind: Kind = "ecdsa",
        number: int = 0,
        days: float = 200,
        begins_in_days: float = -1,
        phrase: str = "",
    ) -> Files:
        """A leaf, its chain, its key and the root, written into ``folder`` by renaming."""
        key = key_of(kind, number)
        begins = _now() + begins_in_days * _DAY
        builder = _builder(_name(names[0]), self._issuer_name, key, begins, _now() + days * _DAY)
        issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        leaf = (
            builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
            )
            .add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(issuer_id, critical=False)
            .add_extension(_crl(), critical=False)
            .sign(self._key, SHA256())
        )
        encryption: KeySerializationEncryption = (
            BestAvailableEncryption(phrase.encode()) if phrase else NoEncryption()
        )
        files = Files(
            folder / f"{stem}.crt",
            folder / f"{stem}.chain",
            folder / f"{stem}.key",
            folder / f"{stem}.ca",
            leaf.serial_number,
        )
        _write(files.certificate, leaf.public_bytes(Encoding.PEM))
        _write(files.chain, self.intermediate.public_bytes(Encoding.PEM))
        _write(files.ca, self.root.public_bytes(Encoding.PEM))
        _write(
            files.key,
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption),
            mode=0o600,
        )
        return files


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: Key,
    begins: datetime.datetime,
    ends: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )


def _crl() -> x509.CRLDistributionPoints:
    where = x509.UniformResourceIdentifier("http://crl.example.test/ca.crl")
    return x509.CRLDistributionPoints([x509.DistributionPoint([where], None, None, None)])


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _write(path: Path, data: bytes, mode: int = 0o644) -> None:
    unfinished = path.with_suffix(".new")
    unfinished.write_bytes(data)
    unfinished.chmod(mode)
    unfinished.rename(path)
