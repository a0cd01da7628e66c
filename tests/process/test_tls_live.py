"""TLS on real processes: both listeners at once, and clients that others wrote."""

from pathlib import Path
from typing import Any

import pytest

from tests.process.conftest import StartGateway
from tests.support.eventlog import wait_for_events
from tests.support.gateway import Gateway
from tests.support.pki import Authority, Files
from tests.support.rawsink import RawSink
from tests.support.tlsclient import by_starttls, client_context, over_ssl

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def files(folder: Path, authority: Authority) -> Files:
    return authority.issue(folder, "gw")


def settings_of(files: Files, **more: Any) -> dict[str, Any]:
    ssl = {"enable_tls": True, "enabled": True, "listen": ["127.0.0.1:0"], **files.settings}
    return {"ssl": ssl | more}


CONTENT = b"Subject: x\r\n\r\nhi\r\n"


def test_a_message_over_each_listener(
    start_gateway: StartGateway, sink: RawSink, files: Files
) -> None:
    gateway: Gateway = start_gateway(sink.address, settings_of(files))
    context = client_context(files.ca)
    plain, ssl = by_starttls(gateway.address, context), over_ssl(gateway.ssl_address, context)
    assert ssl.read_reply().code == 220
    for client in (plain, ssl):
        assert "STARTTLS" not in client.command("EHLO client.example").lines
        reply = client.send_message("a@client.example", ["b@example.test"], CONTENT)
        assert reply.code == 250, reply
        assert client.quit().code == 221
    assert [b"with ESMTPS id" in message.payload for message in sink.messages] == [True, True]
    sessions = wait_for_events(gateway, "session", 2)
    assert {line["listener"] for line in sessions} == {"plain", "ssl"}
    for line in sessions:
        assert line["tls"] == "TLSv1.3,TLS_AES_256_GCM_SHA384"
        assert (line["sni"], line["reason"]) == ("gw.example.test", "quit")
