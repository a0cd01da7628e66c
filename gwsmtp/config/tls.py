"""SSL, rows 25-35 of the manual: certificates, the implicit-TLS listener, ciphers, protocols.

Row 25 is a rule: certificate, chain, key and pass phrase count as one unit, that of ``ssl`` where
its ``certificate_file`` is set, else that of ``server_ssl``; cipher list and protocols are
inherited one by one. ``tls_plan`` is the one place that works it out.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator

from gwsmtp.base.endpoint import Endpoint
from gwsmtp.config.secret import PassPhrase, Secret
from gwsmtp.config.setting import Applies, Group, setting
from gwsmtp.config.types import (
    FilePath,
    ListenAddressesSsl,
    OptionalPath,
    Switch,
    Text,
    Whole,
    domain_name,
    split_lines,
)

TlsVersion = Literal["SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2"]
# What an administrator can really choose from; SSLv2 and SSLv3 are gone from the library
USABLE_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2")


DEFAULT_CIPHERS = "DEFAULT:!aNULL:!eNULL:!RC4:!3DES"
DEFAULT_DISABLED = ("SSLv2", "SSLv3", "TLSv1")


def _server_name(text: str) -> str:
    star, dot, rest = text.partition(".")
    return f"*.{domain_name(rest)}" if star == "*" and dot else domain_name(text)


ServerName = Annotated[Text, AfterValidator(_server_name)]


def _chain_file() -> Any:
    return setting(
        None,
        title="Chain file",
        description="PEM file with the intermediate certificates.",
        enforced=True,
    )


def _key_file() -> Any:
    return setting(
        None,
        title="Key file",
        description="PEM file with the private key; blank: it stands in certificate_file.",
        enforced=True,
    )


def _pass_phrase() -> Any:
    return setting(
        Secret(""), title="Pass phrase", description="As ssl.pass_phrase.", enforced=True
    )


class Certificate(Group):
    """One more certificate, chosen by the server name a client asks for (SNI)."""

    certificate_file: FilePath = setting(
        title="Certificate file",
        description="PEM file with the certificate (its chain may follow).",
        enforced=True,
    )
    chain_file: OptionalPath = _chain_file()
    key_file: OptionalPath = _key_file()
    pass_phrase: PassPhrase = _pass_phrase()
    names: Annotated[tuple[ServerName, ...], BeforeValidator(split_lines)] = setting(
        (),
        title="Server names",
        description="Server names it is shown for, *.DOMAIN for any one label; empty: those of the "
        "certificate itself. One of another key type with the same names as a certificate before "
        "it is a second one beside it, and the client's abilities choose.",
        enforced=True,
        max_length=100,
    )


class ServerSslGroup(Group):
    """The server's own certificate, which ssl falls back to (row 25)."""

    certificate_file: OptionalPath = setting(
        None,
        title="Server certificate file",
        description="PEM file with the certificate (its chain may follow). It, its chain, key, "
        "pass phrase and further certificates count as one unit where ssl.certificate_file is "
        "blank.",
        enforced=True,
    )
    chain_file: OptionalPath = _chain_file()
    key_file: OptionalPath = _key_file()
    pass_phrase: PassPhrase = _pass_phrase()
    certificates: tuple[Certificate, ...] = setting(
        (),
        title="Further certificates",
        description="As ssl.certificates, part of the server's unit.",
        enforced=True,
        max_length=1000,
    )
    cipher_list: Text = setting(
        DEFAULT_CIPHERS,
        title="Server cipher list",
        description="As ssl.cipher_list, which it stands in for where that is not written.",
        enforced=True,
        min_length=1,
        max_length=4096,
    )
    disable_protocols: Annotated[tuple[TlsVersion, ...], BeforeValidator(split_lines)] = setting(
        DEFAULT_DISABLED,
        title="Server protocol disable",
        description="As ssl.disable_protocols, which it stands in for where that is not written.",
        enforced=True,
    )


class SslGroup(Group):
    """TLS towards clients."""

    enable_tls: Switch = setting(
        False,
        row=26,
        title="Enable TLS",
        description="Offer STARTTLS on the plain port; without a usable certificate it is not "
        "offered and mail goes on in clear.",
        enforced=True,
    )
    enabled: Switch = setting(
        False,
        row=27,
        title="Enable SMTP server (SSL)",
        description="Listen for SMTP that is TLS from the first byte; needs a certificate.",
        enforced=True,
        applies=Applies.REBIND,
    )
    listen: ListenAddressesSsl = setting(
        (Endpoint("0.0.0.0", 465),),
        row=28,
        title="SMTP server listen address (SSL)",
        description="Addresses of the SSL listener, written as server.listen; port 465 where none "
        "is given.",
        enforced=True,
        applies=Applies.REBIND,
        min_length=1,
        max_length=64,
    )
    max_inbound_connections: Whole = setting(
        256,
        row=29,
        title="Max inbound connections",
        description="Sessions of the SSL listener at one time, across all workers, handshakes "
        "included. Beyond: close.",
        enforced=True,
        ge=1,
        le=65535,
    )
    certificate_file: OptionalPath = setting(
        None,
        row=30,
        title="SSL certificate file",
        description="PEM file with the certificate (its chain may follow); blank: the server's "
        "unit of certificate, chain, key and pass phrase.",
        enforced=True,
    )
    chain_file: OptionalPath = setting(
        None,
        row=31,
        title="SSL certificate chain file",
        description="PEM file with the intermediate certificates.",
        enforced=True,
    )
    key_file: OptionalPath = setting(
        None,
        row=32,
        title="SSL key file",
        description="PEM file with the certificate's private key, readable by root alone.",
        enforced=True,
    )
    cipher_list: Text = setting(
        DEFAULT_CIPHERS,
        row=33,
        title="SSL cipher list",
        description="OpenSSL cipher string, separated by colons, commas or blanks; governs TLS 1.2 "
        "and older.",
        enforced=True,
        min_length=1,
        max_length=4096,
    )
    disable_protocols: Annotated[tuple[TlsVersion, ...], BeforeValidator(split_lines)] = setting(
        DEFAULT_DISABLED,
        row=34,
        title="SSL protocol disable",
        description="Protocols that are disabled, of SSLv2, SSLv3, TLSv1, TLSv1.1, TLSv1.2. SSLv2 "
        "and SSLv3 stay disabled whatever stands here; TLS 1.3 is always on.",
        enforced=True,
    )
    pass_phrase: PassPhrase = setting(
        Secret(""),
        row=35,
        title="SSL pass phrase",
        description="Pass phrase of the key: absolute path of a file (its first line), file:PATH, "
        "env:NAME or the phrase itself. Never shown or logged.",
        enforced=True,
    )
    certificates: tuple[Certificate, ...] = setting(
        (),
        title="Further certificates",
        description="More certificates for other server names (SNI), part of the unit of "
        "certificate_file; a client that asks for none of their names gets certificate_file.",
        enforced=True,
        max_length=1000,
    )


class TlsUnit(NamedTuple):
    """A certificate with what belongs to it. ``place`` is its key in the file, as steps; ``names``
    are () to be taken from the certificate.
    """

    place: tuple[str | int, ...]
    certificate: Path
    chain: Path | None
    key: Path
    pass_phrase: Secret
    names: tuple[str, ...]


class TlsPlan(NamedTuple):
    """What counts after inheritance: the first unit is for clients without a known server name;
    ``ciphers`` as OpenSSL separates them, ``allowed`` of USABLE_VERSIONS.
    """

    units: tuple[TlsUnit, ...]
    ciphers: str
    ciphers_place: str
    allowed: tuple[str, ...]
    allowed_place: str


def tls_plan(own: SslGroup, server: ServerSslGroup) -> TlsPlan:
    """Row 25: the unit as one, cipher list and protocols each where it is written."""
    ciphers, ciphers_place = _inherited("cipher_list", own, server)
    disabled, disabled_place = _inherited("disable_protocols", own, server)
    return TlsPlan(
        _units("ssl", own) or _units("server_ssl", server),
        ":".join(ciphers.replace(",", " ").replace(":", " ").split()),
        ciphers_place,
        tuple(name for name in USABLE_VERSIONS if name not in disabled),
        disabled_place,
    )


def _inherited(name: str, own: SslGroup, server: ServerSslGroup) -> tuple[Any, str]:
    if name not in own.model_fields_set and name in server.model_fields_set:
        return getattr(server, name), f"server_ssl.{name}"
    return getattr(own, name), f"ssl.{name}"


def _units(place: str, group: SslGroup | ServerSslGroup) -> tuple[TlsUnit, ...]:
    if group.certificate_file is None:
        return ()
    more = (
        _unit((place, "certificates", index), row, row.certificate_file, row.names)
        for index, row in enumerate(group.certificates)
    )
    return (_unit((place,), group, group.certificate_file, ()), *more)


def _unit(
    place: tuple[str | int, ...],
    group: SslGroup | ServerSslGroup | Certificate,
    certificate: Path,
    names: tuple[str, ...],
) -> TlsUnit:
    key = group.key_file or certificate
    return TlsUnit(place, certificate, group.chain_file, key, group.pass_phrase, names)
