"""SSL, rows 25-35 of the manual: certificates, the implicit-TLS listener, ciphers, protocols.

Row 25 is a rule: certificate, chain, key and pass phrase count as one unit, this module's where
``certificate_file`` is set, else the server's; cipher list and protocols are inherited singly.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator

from gwsmtp.base.endpoint import Endpoint
from gwsmtp.config.secret import PassPhrase, Secret
from gwsmtp.config.setting import Applies, Group, setting
from gwsmtp.config.types import (
    ListenAddressesSsl,
    OptionalPath,
    Switch,
    Text,
    Whole,
    split_lines,
)

TlsVersion = Literal["SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2"]
# What an administrator can really choose from; SSLv2 and SSLv3 are gone from the library
USABLE_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2")


class SslGroup(Group):
    """TLS towards clients."""

    enable_tls: Switch = setting(
        False,
        row=26,
        title="Enable TLS",
        description="Offer STARTTLS on the plain port; without a usable certificate it is not "
        "offered and mail goes on in clear.",
    )
    enabled: Switch = setting(
        False,
        row=27,
        title="Enable SMTP server (SSL)",
        description="Listen for SMTP that is TLS from the first byte; needs a certificate.",
        applies=Applies.REBIND,
    )
    listen: ListenAddressesSsl = setting(
        (Endpoint("0.0.0.0", 465),),
        row=28,
        title="SMTP server listen address (SSL)",
        description="Addresses of the SSL listener, written as server.listen; port 465 where none "
        "is given.",
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
        ge=1,
        le=65535,
    )
    certificate_file: OptionalPath = setting(
        None,
        row=30,
        title="SSL certificate file",
        description="PEM file with the certificate (its chain may follow); blank: the server's "
        "unit of certificate, chain, key and pass phrase.",
    )
    chain_file: OptionalPath = setting(
        None,
        row=31,
        title="SSL certificate chain file",
        description="PEM file with the intermediate certificates.",
    )
    key_file: OptionalPath = setting(
        None,
        row=32,
        title="SSL key file",
        description="PEM file with the certificate's private key, readable by root alone.",
    )
    cipher_list: Text = setting(
        "DEFAULT:!aNULL:!eNULL:!RC4:!3DES",
        row=33,
        title="SSL cipher list",
        description="OpenSSL cipher string, separated by colons, commas or blanks; governs TLS 1.2 "
        "and older.",
        min_length=1,
        max_length=4096,
    )
    disable_protocols: Annotated[tuple[TlsVersion, ...], BeforeValidator(split_lines)] = setting(
        ("SSLv2", "SSLv3", "TLSv1"),
        row=34,
        title="SSL protocol disable",
        description="Protocols that are disabled, of SSLv2, SSLv3, TLSv1, TLSv1.1, TLSv1.2. SSLv2 "
        "and SSLv3 stay disabled whatever stands here; TLS 1.3 is always on.",
    )
    pass_phrase: PassPhrase = setting(
        Secret(""),
        row=35,
        title="SSL pass phrase",
        description="Pass phrase of the key: absolute path of a file (its first line), file:PATH, "
        "env:NAME or the phrase itself. Never shown or logged.",
    )

    @property
    def openssl_ciphers(self) -> str:
        """The cipher list as OpenSSL separates it."""
        return ":".join(self.cipher_list.replace(",", " ").replace(":", " ").split())
