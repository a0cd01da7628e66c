"""A certificate is renewed while sessions live: theirs go on, new ones are shown the new one."""

import os
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from gwsmtp.master.pidfile import read_pidfile
from tests.process.conftest import StartGateway
from tests.support.eventlog import events
from tests.support.gateway import Gateway
from tests.support.pki import Authority, Files
from tests.support.rawclient import RawClient
from tests.support.rawsink import RawSink
from tests.support.tlsclient import by_starttls, client_context, over_ssl
from tests.support.wait import wait_for

pytestmark = pytest.mark.full


@pytest.fixture
def files(folder: Path, authority: Authority) -> Files:
    return authority.issue(folder, "gw")


@pytest.fixture
def gateway(start_gateway: StartGateway, sink: RawSink, files: Files) -> Gateway:
    gateway: Gateway = start_gateway(sink.address, {"ssl": files.on_both_listeners})
    return gateway


def reload(gateway: Gateway, event: str) -> None:
    """HUP, until ``event`` tells its end once more."""
    before = len(events(gateway, event))
    os.kill(gateway.pid, signal.SIGHUP)
    wait_for(lambda: len(events(gateway, event)) > before, f"event={event}")


def shown(client: RawClient) -> int:
    certificate = client.sock.getpeercert()  # type: ignore[attr-defined]
    return int(certificate["serialNumber"], 16)


def test_hup_shows_the_new_certificate_and_drops_no_session(
    gateway: Gateway, sink: RawSink, files: Files, authority: Authority
) -> None:
    context = client_context(files.ca)
    living = by_starttls(gateway.address, context)
    living.command("EHLO client.example")
    living.begin_data("a@client.example", ["b@example.test"])
    living.send(b"Subject: x\r\n")
    new = authority.issue(files.certificate.parent, "gw", number=1)
    reload(gateway, "reloaded")
    for fresh in (by_starttls(gateway.address, context), over_ssl(gateway.ssl_address, context)):
        assert shown(fresh) == new.serial
        fresh.close()
    assert shown(living) == files.serial
    living.send(b"\r\nhi\r\n.\r\n")
    assert living.read_reply().code == 250
    living.close()
    assert len(sink.wait_for_messages(1)) == 1


def test_a_bad_new_certificate_at_hup_leaves_the_good_one(
    gateway: Gateway, files: Files, authority: Authority
) -> None:
    authority.issue(files.certificate.parent, "other", number=2).key.rename(files.key)
    reload(gateway, "reloaded")
    client = over_ssl(gateway.ssl_address, client_context(files.ca))
    assert shown(client) == files.serial
    client.close()
    files.certificate.unlink()
    reload(gateway, "reloaded")
    authority.issue(files.certificate.parent, "gw", days=-0.1, begins_in_days=-9)
    reload(gateway, "reloaded")
    client = by_starttls(gateway.address, client_context(files.ca))
    assert shown(client) == files.serial
    client.close()
    alerts = [line["reason"] for line in events(gateway, "tls_certificate_bad")]
    assert [alert.rpartition(": ")[2] for alert in alerts] == [
        "the key does not belong to the certificate",
        "No such file or directory",
        "the certificate has expired",
    ]


def test_a_start_with_a_key_of_another_certificate_serves_in_clear_until_it_is_mended(
    start_gateway: StartGateway, sink: RawSink, files: Files, authority: Authority
) -> None:
    good = files.key.read_bytes()
    authority.issue(files.certificate.parent, "other", number=9).key.rename(files.key)
    gateway: Gateway = start_gateway(sink.address, {"ssl": files.on_both_listeners})
    client = RawClient(gateway.address)
    client.greet()
    assert "STARTTLS" not in client.command("EHLO client.example").text
    assert client.command("STARTTLS").code == 454
    client.begin_data("a@client.example", ["b@example.test"])
    client.send(b"Subject: x\r\n\r\nhi\r\n.\r\n")
    assert client.read_reply().code == 250
    client.close()
    assert gateway.ready_line["ssl"] == []
    assert [alert["note"] for alert in events(gateway, "tls_unavailable")] == [
        "no usable certificate"
    ]
    files.key.write_bytes(good)
    reload(gateway, "reloaded")
    client = by_starttls(gateway.address, client_context(files.ca))
    assert shown(client) == files.serial
    client.close()


def start_without_a_key(
    start_gateway: StartGateway, sink: RawSink, files: Files
) -> tuple[Gateway, str]:
    """A gateway whose key cannot be read yet, and the address of the SSL listener it is to have."""
    files.key.rename(files.key.with_suffix(".later"))
    with socket.socket() as chosen:  # 0 would be another port than the one to look at
        chosen.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{chosen.getsockname()[1]}"
    group = {"enable_tls": True, "enabled": True, "listen": [address], **files.settings}
    gateway: Gateway = start_gateway(sink.address, {"ssl": group})
    assert gateway.ready_line["ssl"] == []
    assert events(gateway, "tls_unavailable")
    with RawClient(gateway.address) as client:
        client.read_reply()
        assert not offers_starttls(client)
    with pytest.raises(ConnectionRefusedError):
        RawClient(address)
    return gateway, address


def offers_starttls(client: RawClient) -> bool:
    return any("STARTTLS" in line for line in client.command("EHLO client.example").lines)


def check_both_listeners(gateway: Gateway, address: str, files: Files) -> None:
    """TLS is there on both, with this certificate."""
    context = client_context(files.ca)
    for client in (over_ssl(address, context), by_starttls(gateway.address, context)):
        assert shown(client) == files.serial
        client.close()
    assert address in pidfile_addresses(gateway)


def pidfile_addresses(gateway: Gateway) -> tuple[str, ...]:
    master = read_pidfile(gateway.base / "run" / "test.pid")
    assert master is not None
    return master.listen


def test_hup_opens_the_ssl_listener_when_the_first_good_certificate_is_there(
    start_gateway: StartGateway, sink: RawSink, files: Files
) -> None:
    gateway, address = start_without_a_key(start_gateway, sink, files)
    with RawClient(gateway.address) as living:
        living.greet()
        living.begin_data("a@client.example", ["b@example.test"])
        living.send(b"Subject: x\r\n")
        files.key.with_suffix(".later").rename(files.key)
        reload(gateway, "reloaded")
        check_both_listeners(gateway, address, files)
        living.send(b"\r\nhi\r\n.\r\n")
        assert living.read_reply().code == 250
    assert len(sink.wait_for_messages(1)) == 1


@pytest.mark.timeout(150)
def test_new_files_are_noticed_without_a_signal(
    gateway: Gateway,
    folder: Path,
    running: ExitStack,
    sink: RawSink,
    files: Files,
    authority: Authority,
) -> None:
    """One gateway's certificate is renewed, and another's first good one opens its SSL listener:
    together, as both take a minute.
    """
    new = authority.issue(files.certificate.parent, "gw", number=3)
    beside = folder / "beside"
    beside.mkdir(mode=0o755)
    first = authority.issue(beside, "gw")
    other, address = start_without_a_key(
        lambda hop, settings: running.enter_context(Gateway(beside, hop, settings)), sink, first
    )
    first.key.with_suffix(".later").rename(first.key)
    for waiting in (gateway, other):
        wait_for(lambda one=waiting: events(one, "reloaded"), "event=reloaded", 90)  # type: ignore[misc]
    assert events(gateway, "renewing")
    client = over_ssl(gateway.ssl_address, client_context(files.ca))
    assert shown(client) == new.serial
    client.close()
    check_both_listeners(other, address, first)
