"""HAProxy itself before the gateway: both versions of its header, and its health checks."""

import csv
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest

from gwsmtp.limits.slots import Total
from tests.process.conftest import StartGateway
from tests.support.eventlog import events, wait_for_events
from tests.support.gateway import Gateway, merged
from tests.support.pki import Authority, Files
from tests.support.processes import totals
from tests.support.rawclient import RawClient
from tests.support.rawsink import RawSink
from tests.support.running import Running, tool
from tests.support.tlsclient import begin_tls, client_context
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

PROXY, CLIENT = "127.0.0.100", "127.0.0.5"
LISTED = {"server": {"listen": ["127.0.0.1:0"], "proxy_protocol": [PROXY]}}
SMTP = "option smtpchk EHLO haproxy.example"
CONNECT = ""
"""A check that connects, says LOCAL, or its own address in version 1, and resets."""
CONTENT = b"Subject: x\r\n\r\nhi\r\n"
CONFIGURATION = """\
global
    stats socket {stats} mode 600
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    source {proxy}
listen plain
    bind fd@{plain}
    {check}
    server gateway {address} {send} check inter 50ms
listen ssl
    bind fd@{ssl}
    server gateway {ssl_address} {send} check inter 50ms
"""


class HaProxy(Running):
    """Listens on two sockets of the test's: no port is fixed. ``address``, ``ssl_address``."""

    def __init__(self, folder: Path, gateway: Gateway, send: str, check: str) -> None:
        self._sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        self.address, self.ssl_address = (
            f"127.0.0.1:{sock.getsockname()[1]}" for sock in self._sockets
        )
        plain, ssl = (sock.fileno() for sock in self._sockets)
        self._stats = folder / "haproxy.stats"
        path = folder / "haproxy.cfg"
        path.write_text(
            CONFIGURATION.format(
                stats=self._stats,
                proxy=PROXY,
                check=check,
                send=send,
                address=gateway.address,
                ssl_address=gateway.ssl_address,
                plain=plain,
                ssl=ssl,
            )
        )
        command: list[str | Path] = [tool("haproxy"), "-db", "-f", path]
        super().__init__("haproxy", command, folder / "haproxy.log")

    def start(self) -> Self:
        """Starts it and waits until both servers are up by a check of each."""
        self.spawn(pass_fds=[sock.fileno() for sock in self._sockets])
        for sock in self._sockets:
            sock.close()
        wait_for(
            lambda: self._stats.exists() and all(check.endswith("OK") for check in self.checks()),
            lambda: f"two servers that are up, they are {self.checks()}\n{self.log_tail()}",
        )
        return self

    def stop(self, deadline_s: float = 30) -> None:
        """TERM, by which it dies."""
        self.kill()

    def checks(self) -> list[str]:
        """What the last check of each server has found, such as ``L7OK``."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self._stats))
            sock.sendall(b"show stat\n")
            text = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
        rows = csv.DictReader(text.removeprefix("# ").splitlines())
        return [row["check_status"] for row in rows if row["svname"] == "gateway"]


@pytest.fixture
def files(folder: Path, authority: Authority) -> Files:
    return authority.issue(folder, "gw")


@pytest.fixture
def gateway(start_gateway: StartGateway, sink: RawSink, files: Files) -> Gateway:
    return start_gateway(sink.address, merged(LISTED, {"ssl": files.on_both_listeners}))


def wait_for_checks(gateway: Gateway, count: int) -> None:
    """Sessions begun and ended by checks count as sessions."""
    before = totals(gateway)[Total.SESSIONS]
    wait_for(lambda: totals(gateway)[Total.SESSIONS] >= before + count, f"{count} checks")


@pytest.mark.parametrize("check", [SMTP, CONNECT])
@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2"])
def test_messages_and_checks_through_haproxy(
    gateway: Gateway, sink: RawSink, folder: Path, files: Files, send: str, check: str
) -> None:
    with HaProxy(folder, gateway, send, check) as proxy:
        wait_for_checks(gateway, 6)
        with ExitStack() as stack:
            plain = stack.enter_context(RawClient(proxy.address, CLIENT))
            ssl = stack.enter_context(RawClient(proxy.ssl_address, CLIENT))
            begin_tls(ssl, client_context(files.ca))
            for client in (plain, ssl):
                client.greet()
                reply = client.send_message("a@client.example", ["b@example.test"], CONTENT)
                assert reply.code == 250
                client.quit()
        wait_for_checks(gateway, 6)
        assert all(check.endswith("OK") for check in proxy.checks())
    named = f"([{CLIENT}])".encode()
    assert [named in message.payload for message in sink.messages] == [True, True]
    sessions = wait_for_events(gateway, "session", 2)
    assert {line["listener"] for line in sessions} == {"plain", "ssl"}
    assert {line["peer"] for line in sessions} == {CLIENT}
    assert events(gateway, "proxy-header") == []
    assert not [line for line in gateway.log_lines() if PROXY in line]
