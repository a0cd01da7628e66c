"""Server, rows 8-13 of the manual: the plain listener, and what concerns the instance as such."""

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from gwsmtp.base.endpoint import Endpoint
from gwsmtp.base.netmatch import parse_pattern
from gwsmtp.config.setting import Applies, Group, setting
from gwsmtp.config.types import (
    ListenAddresses,
    OptionalIp,
    OptionalPath,
    Switch,
    Text,
    Whole,
    split_lines,
)


def _proxy(text: str) -> str:
    return str(parse_pattern(text))


def _one_per_family(addresses: tuple[str, ...]) -> tuple[str, ...]:
    versions = [ipaddress.ip_address(address).version for address in addresses]
    if len(versions) != len(set(versions)):
        raise ValueError("takes at most one IPv4 and one IPv6 address")
    return addresses


class ServerGroup(Group):
    """The plain SMTP server."""

    enabled: Switch = setting(
        True,
        row=8,
        title="Enable SMTP server (plain)",
        description="Listen for plain SMTP. Off: sessions in progress finish, new ones are refused "
        "by TCP.",
        applies=Applies.REBIND,
        enforced=True,
    )
    listen: ListenAddresses = setting(
        (Endpoint("0.0.0.0", 25),),
        row=9,
        title="SMTP server listen address",
        description="Addresses to listen on: IP, IP:PORT or [IPV6]:PORT, a list or separated by "
        "commas or lines; port 25 where none is given.",
        applies=Applies.REBIND,
        enforced=True,
        min_length=1,
        max_length=64,
    )
    source_bind_address: Annotated[
        tuple[OptionalIp, ...], BeforeValidator(split_lines), AfterValidator(_one_per_family)
    ] = setting(
        (),
        row=10,
        title="SMTP source bind address",
        description="Source address of outgoing connections, one for IPv4 and one for IPv6; blank: "
        "the system chooses. A target of the other family is skipped.",
    )
    max_inbound_connections: Whole = setting(
        256,
        row=11,
        title="Max inbound connections",
        description="Sessions of the plain listener at one time, across all workers. Beyond: "
        "421 4.3.2 and close.",
        enforced=True,
        ge=1,
        le=65535,
    )
    dsn_template_file: OptionalPath = setting(
        None,
        row=12,
        title="DSN template file",
        description="Path of the template for the human part of delivery notifications; blank, "
        "missing or bad: the built-in text.",
    )
    keep_spool_files: Switch = setting(
        False,
        row=13,
        title="Keep spool files",
        description="Keep every message's spool file after it is done, for support use. Never "
        "cleaned up by us; keeping stops while less than 10 % of the disk is free.",
    )
    proxy_protocol: Annotated[
        tuple[Annotated[Text, AfterValidator(_proxy)], ...], BeforeValidator(split_lines)
    ] = setting(
        (),
        title="PROXY protocol sources",
        description="Addresses of proxies (patterns as in relay_protection.allowed_sources) whose "
        "connections start with a PROXY header (version 1 or 2, within 3 s), on both listeners. "
        "The client it names is the one that counts, everywhere; the proxy itself is never banned "
        "or counted as a client. From other addresses a header is not believed. Switches kernel "
        "shedding off.",
        enforced=True,
    )
