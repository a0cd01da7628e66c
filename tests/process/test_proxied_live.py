"""PROXY headers on a running gateway: the client they name is the client, the proxy is nobody."""

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from gwsmtp.base.decision import Action, Reason
from gwsmtp.limits.clients import count_clients
from gwsmtp.limits.identity import Placement, identify
from gwsmtp.limits.layout import Client, client_row
from gwsmtp.limits.peers import Peers
from gwsmtp.limits.ring import DecisionView, read_decisions
from gwsmtp.limits.slots import Gauge, Role, sum_gauge
from tests.process.conftest import StartGateway
from tests.support.eventlog import events, wait_for_events
from tests.support.gateway import Gateway, merged
from tests.support.pki import Authority
from tests.support.processes import children, live, table_of, wait_for_child
from tests.support.proxying import SIGNATURE, v1, v2, v2_local
from tests.support.rawclient import RawClient
from tests.support.rawsink import RawSink
from tests.support.tlsclient import begin_tls, client_context
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

PROXY, OTHER_PROXY, STRANGER = "127.0.0.100", "127.0.0.101", "127.0.0.2"
GUILTY, CLEAN = "192.0.2.7", "192.0.2.200"
LISTED = {"server": {"listen": ["127.0.0.1:0"], "proxy_protocol": ["127.0.0.100/31"]}}
# A ban without the delays on the way to it
BANNING = merged(
    LISTED, {"dos_protection": {"enabled": True, "offences": {"delay_at": 40, "restrict_at": 40}}}
)
HTTP = b"GET / HTTP/1.1\r\n"
CONTENT = b"Subject: x\r\n\r\nhi\r\n"
HEADER_S = 3.0


def through(gateway: Gateway, header: bytes, source: str = PROXY) -> RawClient:
    """A proxy's connection that has sent ``header``."""
    client = RawClient(gateway.address, source)
    client.send(header)
    return client


def live_rows(gateway: Gateway, ip: str) -> int:
    """The client's live connections by its row; -1 without a row."""
    with table_of(gateway) as table:
        row = Peers(table, Placement(table)).find(identify(ip).client)
        return -1 if row < 0 else int(table.words[client_row(row) + Client.LIVE])


def score(gateway: Gateway, ip: str) -> int:
    """In points."""
    with table_of(gateway) as table:
        row = Peers(table, Placement(table)).find(identify(ip).client)
        assert row >= 0, f"no row of {ip}"
        return round(table.words[client_row(row) + Client.SCORE] / 1000)


def unnamed(gateway: Gateway) -> int:
    with table_of(gateway) as table:
        return sum_gauge(table, Gauge.UNNAMED_PLAIN)


def decisions(gateway: Gateway) -> list[DecisionView]:
    with table_of(gateway) as table:
        return read_decisions(table)


def wait_for_live(gateway: Gateway, count: int) -> None:
    wait_for(
        lambda: live(gateway)[0] == count, lambda: f"{count} live, there are {live(gateway)}", 5
    )


@pytest.mark.parametrize("header", [v1, v2])
@pytest.mark.parametrize("ip", [CLEAN, "2001:db8::7"])
def test_the_client_is_whom_the_header_names(
    start_gateway: StartGateway, sink: RawSink, header: Callable[[str], bytes], ip: str
) -> None:
    gateway = start_gateway(sink.address, LISTED)
    with through(gateway, header(ip)) as client:
        client.greet()
        assert client.send_message("a@client.example", ["b@example.test"], CONTENT).code == 250
        assert (live_rows(gateway, ip), live_rows(gateway, PROXY)) == (1, -1)
        client.quit()
    literal = f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]"
    (message,) = sink.messages
    assert message.payload.startswith(f"Received: from client.example ({literal})\r\n".encode())
    (session,) = wait_for_events(gateway, "session", 1)
    assert (session["peer"], session["port"]) == (ip, "4711")
    (line,) = wait_for_events(gateway, "message", 1)
    assert line["peer"] == ip
    wait_for(lambda: live_rows(gateway, ip) == 0, "the end of the connection")
    assert score(gateway, ip) == 0, "the header is no early talk"


@pytest.mark.parametrize("header", [v1(CLEAN), v2(CLEAN, tlvs=b"\x04\0\x10" + bytes(16))])
def test_on_the_ssl_listener_the_header_comes_before_the_handshake(
    start_gateway: StartGateway, folder: Path, authority: Authority, header: bytes
) -> None:
    files = authority.issue(folder, "gw")
    gateway = start_gateway("127.0.0.1:1", merged(LISTED, {"ssl": files.on_both_listeners}))
    with RawClient(gateway.ssl_address, PROXY) as client:
        # The header and the beginning of the handshake in one segment
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        client.send(header)
        begin_tls(client, client_context(files.ca))
        client.greet()
        client.quit()
    with through(gateway, header) as client:
        assert client.read_reply().code == 220
        client.command("EHLO client.example")
        assert client.command("STARTTLS").code == 220
        begin_tls(client, client_context(files.ca))
        client.command("EHLO client.example")
        client.quit()
    found = wait_for_events(gateway, "session", 2)
    assert {(line["listener"], line["peer"]) for line in found} == {
        ("ssl", CLEAN),
        ("plain", CLEAN),
    }
    assert all(line["tls"].startswith("TLSv1.3") for line in found)


def test_octets_behind_the_header_are_the_clients(start_gateway: StartGateway) -> None:
    """Nothing is lost, and what a client says before the greeting is its offence."""
    gateway = start_gateway("127.0.0.1:1", BANNING)
    for header in (v1(GUILTY), v2(GUILTY)):
        with through(gateway, header + b"NOOP\r\nQUIT\r\n") as client:
            codes = [client.read_reply().code for _ in range(3)]
        assert codes == [220, 250, 221]
    assert score(gateway, GUILTY) == 20
    assert live_rows(gateway, PROXY) == -1


@pytest.mark.parametrize("size", [1, 5])
def test_a_header_may_come_in_pieces(start_gateway: StartGateway, size: int) -> None:
    gateway = start_gateway("127.0.0.1:1", LISTED)
    for header in (v1(CLEAN), v2(CLEAN, tlvs=bytes(40)), b"PROXY UNKNOWN\r\n"):
        with RawClient(gateway.address, PROXY) as client:
            client.send_chunks(header, range(size, len(header), size))
            client.greet()
            client.quit()


def misbehave(gateway: Gateway, header: bytes) -> None:
    """Two offences of 20 points: a ban, where anything is counted."""
    for _ in range(2):
        with through(gateway, header) as client:
            assert client.read_reply().code == 220
            client.send(HTTP)
            client.read_to_end()
        wait_for_live(gateway, 0)


def test_a_banned_client_is_refused_and_the_proxy_and_its_other_clients_are_not(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway("127.0.0.1:1", BANNING)
    misbehave(gateway, v2(GUILTY))
    with through(gateway, v1(GUILTY)) as banned:
        reply = banned.read_reply()
        assert (reply.code, reply.text[:5]) == (421, "4.7.0")
        assert banned.read_to_end() == b""
    for header in (v1(CLEAN), v2_local()):
        with through(gateway, header) as client:
            client.greet()
            client.quit()
    # A chain: what the header names is the client, but a listed proxy is never banned
    misbehave(gateway, v2(OTHER_PROXY))
    misbehave(gateway, v2_local())
    misbehave(gateway, b"PROXY UNKNOWN\r\n")
    with through(gateway, v1(OTHER_PROXY)) as client:
        assert client.read_reply().code == 220
    with through(gateway, v1(CLEAN), OTHER_PROXY) as client:
        assert client.read_reply().code == 220
    refused = [view.client for view in decisions(gateway) if view.action is Action.REFUSED]
    assert refused == [GUILTY]
    assert live_rows(gateway, PROXY) == live_rows(gateway, OTHER_PROXY) == -1
    with table_of(gateway) as table:
        assert count_clients(table) == 2
    wait_for_live(gateway, 0)


def test_limits_are_each_clients_own(start_gateway: StartGateway) -> None:
    limits = {"dos_protection": {"enabled": True, "limits": {"concurrency": {"limit": 2}}}}
    gateway = start_gateway("127.0.0.1:1", merged(LISTED, limits))
    with ExitStack() as stack:
        for ip in ("192.0.2.7", "198.51.100.7", "192.0.2.7", "198.51.100.7"):
            client = stack.enter_context(through(gateway, v1(ip)))
            assert client.read_reply().code == 220
        refused = stack.enter_context(through(gateway, v2("192.0.2.7")))
        assert refused.read_reply().code == 421
        wait_for_live(gateway, 4)
        for _ in range(5):
            check = stack.enter_context(through(gateway, v2_local()))
            assert check.read_reply().code == 220
    wait_for_live(gateway, 0)
    assert [view.client for view in decisions(gateway)] == ["192.0.2.7"]


def test_health_checks_leave_no_line(start_gateway: StartGateway) -> None:
    gateway = start_gateway("127.0.0.1:1", BANNING)
    RawClient(gateway.address, PROXY).close()
    RawClient(gateway.address, PROXY).reset()
    local = v2_local(), v2_local(b"\x21" + bytes(36)), b"PROXY UNKNOWN x y\r\n", v1(PROXY)
    for header in local:
        with through(gateway, header) as check:
            check.greet()
            check.quit()
        with through(gateway, header) as check:
            assert check.read_reply().code == 220
        through(gateway, header).reset()
    wait_for_live(gateway, 0)
    with through(gateway, v1(CLEAN)) as client:
        assert client.read_reply().code == 220
        client.quit()
    (session,) = wait_for_events(gateway, "session", 1)
    assert session["peer"] == CLEAN
    assert not [line for line in gateway.log_lines() if PROXY in line]


def test_a_message_of_the_proxys_own_is_logged(start_gateway: StartGateway, sink: RawSink) -> None:
    gateway = start_gateway(sink.address, LISTED)
    with through(gateway, v2_local()) as client:
        client.greet()
        assert client.send_message("a@client.example", ["b@example.test"], CONTENT).code == 250
        client.quit()
    (session,) = wait_for_events(gateway, "session", 1)
    assert (session["peer"], session["messages"]) == (PROXY, "1")


@pytest.mark.parametrize(
    ("octets", "cause"),
    [
        (b"EHLO x\r\n", "no PROXY header"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n", "version 1: wrong number of fields"),
        (SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216), "transport 0x31"),
        (SIGNATURE + b"\x21\x00\x00\x00", "transport 0x00"),
        (SIGNATURE + b"\x21\x11\xff\xff" + bytes(3000), "more than 4096 octets"),
    ],
)
def test_what_is_no_header_is_closed_without_a_word(
    start_gateway: StartGateway, octets: bytes, cause: str
) -> None:
    gateway = start_gateway("127.0.0.1:1", LISTED | {"workers": {"count": 1}})
    for _ in range(3):
        with through(gateway, octets) as client:
            assert said(client) == b""
    wait_for_live(gateway, 0)
    (line,) = wait_for_events(gateway, "proxy-header", 1)
    assert (line["peer"], line["listener"], line["suppressed"]) == (PROXY, "plain", "0")
    assert cause in line["cause"]
    assert " level=WARNING " in gateway.wait_for_log("event=proxy-header")
    assert events(gateway, "session") == []


def said(client: RawClient) -> bytes:
    """All it says until it closes, or resets."""
    try:
        return client.read_to_end()
    except ConnectionResetError:
        return b""


def test_a_header_cut_off_is_no_health_check(start_gateway: StartGateway) -> None:
    gateway = start_gateway("127.0.0.1:1", LISTED)
    through(gateway, v1(CLEAN)[:20]).close()
    (line,) = wait_for_events(gateway, "proxy-header", 1)
    assert line["cause"] == "closed in the header"


@pytest.mark.parametrize("dripped", [b"", v1(CLEAN), v2(CLEAN, tlvs=bytes(200))])
def test_a_header_must_be_whole_within_3_s(start_gateway: StartGateway, dripped: bytes) -> None:
    gateway = start_gateway("127.0.0.1:1", LISTED)
    with RawClient(gateway.address, PROXY, timeout_s=0.1) as client:
        began, is_open, left = time.monotonic(), True, list(dripped)
        while is_open and time.monotonic() - began < 3 * HEADER_S:
            try:
                if len(left) > 1:
                    client.send(bytes([left.pop(0)]))
                is_open = client.sock.recv(1) != b""
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                is_open = False
        took = time.monotonic() - began
    assert not is_open
    assert HEADER_S - 0.2 < took < HEADER_S + 1.5
    (line,) = wait_for_events(gateway, "proxy-header", 1)
    assert line["cause"] == "not within 3 s"
    wait_for_live(gateway, 0)
    assert unnamed(gateway) == 0


def test_a_tenth_of_the_places_may_be_without_a_header(start_gateway: StartGateway) -> None:
    settings = merged(LISTED, {"server": {"max_inbound_connections": 20}})
    gateway = start_gateway("127.0.0.1:1", settings)
    with ExitStack() as stack:
        silent = [stack.enter_context(RawClient(gateway.address, PROXY)) for _ in range(2)]
        wait_for(lambda: unnamed(gateway) == 2, "both waited for")
        for _ in range(3):
            with RawClient(gateway.address, OTHER_PROXY) as one_too_many:
                assert said(one_too_many) == b""
        with RawClient(gateway.address, STRANGER) as client:
            assert client.read_reply().code == 220, "clients without a proxy are not concerned"
            client.quit()
        for client in silent:
            client.send(v1(CLEAN))
            assert client.read_reply().code == 220
        named = stack.enter_context(through(gateway, v1(CLEAN)))
        assert named.read_reply().code == 220
    found = decisions(gateway)
    assert {(view.reason, view.action, view.client) for view in found} == {
        (Reason.UNNAMED, Action.REFUSED, OTHER_PROXY)
    }
    assert {(view.counter, view.threshold) for view in found} == {(2, 2)}
    wait_for(lambda: events(gateway, "decision"), "a line about it")
    assert len(events(gateway, "decision")) <= 2, "at most one a second and worker"
    wait_for_live(gateway, 0)


@pytest.mark.parametrize("header", [v1(CLEAN), v2(CLEAN)])
def test_from_anybody_else_a_header_is_not_believed(
    start_gateway: StartGateway, header: bytes
) -> None:
    gateway = start_gateway("127.0.0.1:1", BANNING)
    with RawClient(gateway.address, STRANGER) as client:
        assert client.read_reply().code == 220
        client.send(header + b"\r\n")
        assert client.read_reply().code == 500
    (session,) = wait_for_events(gateway, "session", 1)
    assert session["peer"] == STRANGER
    assert score(gateway, STRANGER) > 0
    assert live_rows(gateway, CLEAN) == -1


def test_a_full_listener_is_full_for_proxies_too(start_gateway: StartGateway) -> None:
    settings = merged(LISTED, {"server": {"max_inbound_connections": 3}})
    gateway = start_gateway("127.0.0.1:1", settings)
    with ExitStack() as stack:
        for header in (v1(CLEAN), v2_local(), v2(GUILTY)):
            client = stack.enter_context(through(gateway, header))
            assert client.read_reply().code == 220
        with RawClient(gateway.address, PROXY) as one_too_many:
            reply = one_too_many.read_reply()
            assert (reply.code, reply.text[:5]) == (421, "4.3.2")
    wait_for_live(gateway, 0)


def test_a_killed_workers_unnamed_connections_are_free_again(start_gateway: StartGateway) -> None:
    settings = merged(LISTED, {"server": {"max_inbound_connections": 100}, "workers": {"count": 1}})
    gateway = start_gateway("127.0.0.1:1", settings)
    with ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(RawClient(gateway.address, PROXY))
        for header in (v1(CLEAN), v2(CLEAN), v2_local()):
            client = stack.enter_context(through(gateway, header))
            assert client.read_reply().code == 220
        wait_for(
            lambda: (live(gateway)[0], unnamed(gateway)) == (9, 6), "nine, six of them unnamed"
        )
        assert live_rows(gateway, CLEAN) == 2
        (victim,) = children(gateway, Role.WORKER)
        os.kill(victim.pid, signal.SIGKILL)
        wait_for_child(gateway, Role.WORKER, victim.pid)
        wait_for(lambda: (live(gateway)[0], unnamed(gateway)) == (0, 0), "nobody counted")
        assert live_rows(gateway, CLEAN) == 0
    with through(gateway, v1(CLEAN)) as client:
        client.greet()
        assert (live(gateway)[0], live_rows(gateway, CLEAN)) == (1, 1)
        client.quit()


def test_a_drain_waits_for_the_header(start_gateway: StartGateway) -> None:
    gateway = start_gateway("127.0.0.1:1", merged(LISTED, {"workers": {"count": 1}}))
    with RawClient(gateway.address, PROXY) as client:
        wait_for(lambda: unnamed(gateway) == 1, "the connection")
        gateway.signal(signal.SIGTERM)
        gateway.wait_for_log("event=drain")
        client.send(v1(CLEAN))
        assert client.read_reply().code == 220
        assert client.read_reply().code == 421
    gateway.wait_for_exit()
    (session,) = events(gateway, "session")
    assert session["reason"] == "shutting down"
