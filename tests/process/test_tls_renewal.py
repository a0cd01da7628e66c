"""A certificate is renewed while sessions live: theirs go on, new ones are shown the new one."""

import os
import signal
from pathlib import Path

import pytest

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


@pytest.mark.timeout(150)
def test_new_files_are_noticed_without_a_signal(
    gateway: Gateway, files: Files, authority: Authority
) -> None:
    new = authority.issue(files.certificate.parent, "gw", number=3)
    wait_for(lambda: events(gateway, "renewing"), "event=renewing", 90)
    wait_for(lambda: events(gateway, "reloaded"), "event=reloaded")
    client = over_ssl(gateway.ssl_address, client_context(files.ca))
    assert shown(client) == new.serial
    client.close()


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
