"""A client over TLS: RawClient behind a handshake of Python's ssl, verifying the test's CA."""

import ssl
from pathlib import Path

from tests.support.rawclient import RawClient


def client_context(ca: Path, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """Trusts ``ca`` alone; ``version`` is the only one spoken."""
    context = ssl.create_default_context(cafile=str(ca))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def over_ssl(
    address: str,
    context: ssl.SSLContext,
    name: str = "gw.example.test",
    session: ssl.SSLSession | None = None,
) -> RawClient:
    """Connects and shakes hands at once; the greeting is still to be read."""
    client = RawClient(address)
    begin_tls(client, context, name, session)
    return client


def by_starttls(
    address: str,
    context: ssl.SSLContext,
    name: str = "gw.example.test",
    session: ssl.SSLSession | None = None,
) -> RawClient:
    """Greeting, EHLO, STARTTLS, handshake; EHLO is to be said again."""
    client = RawClient(address)
    assert client.read_reply().code == 220
    assert any(line == "STARTTLS" for line in client.command("EHLO client.example").lines)
    assert client.command("STARTTLS").code == 220
    begin_tls(client, context, name, session)
    return client


def begin_tls(
    client: RawClient,
    context: ssl.SSLContext,
    name: str = "gw.example.test",
    session: ssl.SSLSession | None = None,
) -> ssl.SSLSocket:
    """Replaces the client's socket by one behind a handshake."""
    wrapped = context.wrap_socket(client.sock, server_hostname=name, session=session)
    client.sock = wrapped
    return wrapped
