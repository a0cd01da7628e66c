"""Kernel shedding on a running gateway: no answer for those who go on, nothing for all others."""

import ctypes
import json
import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator

import pytest

from gwsmtp.base.clock import SystemClock, pause
from gwsmtp.limits.arena import open_table
from gwsmtp.limits.identity import Placement, identify
from gwsmtp.limits.layout import CONTROL, Client, Control, client_row
from gwsmtp.limits.peers import Peers
from gwsmtp.limits.rangelock import OUTSIDER, RangeLock
from gwsmtp.limits.slots import Role
from tests.process.conftest import StartGateway, StartNextHop
from tests.support.gateway import Gateway
from tests.support.netspace import NetSpace
from tests.support.processes import children, generation, table_of, wait_for_generation
from tests.support.rawclient import RawClient
from tests.support.running import python
from tests.support.wait import wait_for

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(os.geteuid() != 0, reason="attaching a filter wants privileges"),
]

ACTING = {"dos_protection": {"enabled": True}}
BANNED, CLEAN = "127.0.0.2", "127.0.0.3"
HERE = "2001:db8::25"
SHED_V6, OTHER_V6 = ("2001:db8:1:1::1", "2001:db8:1:1:ffff::2"), "2001:db8:1:2::1"
PIDFD_GETFD = 438
SO_GET_FILTER = 26


def ban(gateway: Gateway, ip: str, lasts_ms: int = 600_000) -> None:
    """The second ban, as offences would write it."""
    table = open_table(gateway.base / "run" / "test.table")
    try:
        now_ms = SystemClock().boot_ms()
        with RangeLock(table, OUTSIDER, pause):
            row = Peers(table, Placement(table)).take(identify(ip).client, now_ms)
            place = client_row(row)
            table.words[place + Client.STRIKES] = 2
            table.words[place + Client.STRIKE_MS] = now_ms
            table.words[place + Client.PENALTY_UNTIL] = now_ms + lasts_ms
    finally:
        table.close()


def answers(address: str, source: str) -> bool:
    """Whether a connection comes about within a fifth of a second."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), 0.2, (source, 0)).close()
    except TimeoutError:
        return False
    return True


def insist(gateway: Gateway, ip: str, address: str = "") -> None:
    """Ten refusals, and then no answer any more."""
    address = address or gateway.address
    for _ in range(10):
        with RawClient(address, ip) as client:
            assert client.read_reply().code == 421
    wait_for(lambda: not answers(address, ip), "the end of answers", 2)


def shed(gateway: Gateway) -> int:
    with table_of(gateway) as table:
        return int(table.words[CONTROL + Control.SHED])


def is_clean_served(gateway: Gateway, address: str = "", ip: str = CLEAN) -> bool:
    with RawClient(address or gateway.address, ip) as client:
        client.greet()
        reply = client.send_message("a@clean.example", ["user@example.test"], b"hello\r\n")
        client.quit()
    return reply.code == 250


def is_client(sock: socket.socket, port: int) -> bool:
    """Whether it is the worker's end of a connection to ``port``."""
    try:
        is_ours = sock.family == socket.AF_INET and sock.getsockname()[1] == port
        return is_ours and bool(sock.getpeername())
    except OSError:
        return False  # a listener


def accepted_filters(pid: int, port: int) -> Iterator[int]:
    """How many instructions the filter of each client's socket in a worker has."""
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    pidfd = os.pidfd_open(pid)
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            fd = syscall(PIDFD_GETFD, pidfd, int(name), 0)
            if fd < 0:
                continue
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                os.close(fd)
                continue
            with socket.socket(fileno=fd) as sock:
                if is_client(sock, port):
                    # The kernel counts instructions, not octets, and copies them all: ample room.
                    yield len(sock.getsockopt(socket.SOL_SOCKET, SO_GET_FILTER, 1024))
    finally:
        os.close(pidfd)


def test_who_goes_on_gets_no_answer_and_others_notice_nothing(
    start_gateway: StartGateway, start_next_hop: StartNextHop
) -> None:
    gateway = start_gateway(start_next_hop().address, ACTING)
    with RawClient(gateway.address, CLEAN) as early:
        early.greet()
        ban(gateway, BANNED)
        insist(gateway, BANNED)
        assert shed(gateway) == 1
        gateway.wait_for_log("event=kernel_shedding clients=1")
        shown = json.loads(gwsmtp(gateway, "top", "--json"))
        assert shown["clients"]["shed"] == 1
        assert [queue["state"] for queue in shown["queues"]] == ["ready"]
        assert early.command("NOOP").code == 250
        assert is_clean_served(gateway)
        assert not answers(gateway.address, BANNED)


def gwsmtp(gateway: Gateway, *arguments: str) -> str:
    """What the command prints."""
    code = "from gwsmtp.cli.main import main; main()"
    command = [*python(code), *arguments, "-c", str(gateway.config_path)]
    return subprocess.run(command, check=True, timeout=30, capture_output=True, text=True).stdout


def unban(gateway: Gateway, ip: str, address: str) -> None:
    """By the command; answers come within a second."""
    gwsmtp(gateway, "table", "unban", ip)
    began = time.monotonic()
    wait_for(lambda: answers(address, ip), "an answer after the unban", 5)
    assert time.monotonic() - began <= 1.0


def test_an_unban_is_felt_within_a_second(
    start_gateway: StartGateway, start_next_hop: StartNextHop
) -> None:
    gateway = start_gateway(start_next_hop().address, ACTING)
    ban(gateway, BANNED)
    insist(gateway, BANNED)
    unban(gateway, BANNED, gateway.address)
    with RawClient(gateway.address, BANNED) as client:
        client.greet()
    wait_for(lambda: shed(gateway) == 0, "nobody shed")


def test_the_end_of_the_ban_is_felt_within_a_second(start_gateway: StartGateway) -> None:
    gateway = start_gateway("127.0.0.1:1", ACTING)
    ban(gateway, BANNED, 4000)
    began = time.monotonic()
    insist(gateway, BANNED)
    wait_for(lambda: answers(gateway.address, BANNED), "an answer after the ban", 10)
    assert 3.7 <= time.monotonic() - began <= 5.0
    with RawClient(gateway.address, BANNED) as client:
        client.greet()


def test_over_ipv6_and_only_there(start_gateway: StartGateway) -> None:
    gateway = start_gateway(
        "127.0.0.1:1", {**ACTING, "server": {"listen": ["127.0.0.1:0", "[::1]:0"]}}
    )
    plain, over_v6 = gateway.addresses
    ban(gateway, "::1")
    insist(gateway, "::1", over_v6)
    with RawClient(plain, CLEAN) as client:
        client.greet()


@pytest.fixture
def netspace() -> Iterator[NetSpace]:
    """A network with IPv6 addresses that are no loopback's."""
    with NetSpace(HERE, *SHED_V6, OTHER_V6) as space:
        yield space


def test_an_ipv6_client_is_its_64_and_nobody_else(
    netspace: NetSpace, start_gateway: StartGateway, start_next_hop: StartNextHop
) -> None:
    """Over addresses as they come from outside: the one that is banned, its neighbour in the same
    /64, somebody in the next /64 of the same /48, and IPv4.
    """
    gateway = start_gateway(
        start_next_hop().address,
        {**ACTING, "server": {"listen": ["127.0.0.1:0", f"[{HERE}]:0"]}},
    )
    plain, over_v6 = gateway.addresses
    banned, neighbour = SHED_V6
    with RawClient(over_v6, OTHER_V6) as early:
        early.greet()
        ban(gateway, banned)
        insist(gateway, banned, over_v6)
        assert shed(gateway) == 1
        assert not answers(over_v6, neighbour)
        assert early.command("NOOP").code == 250
        assert is_clean_served(gateway, over_v6, OTHER_V6)
        assert is_clean_served(gateway, plain)
        assert not answers(over_v6, banned)
    unban(gateway, banned, over_v6)
    assert is_clean_served(gateway, over_v6, neighbour)
    wait_for(lambda: shed(gateway) == 0, "nobody shed")


def test_what_is_accepted_loses_the_filter_it_inherited(start_gateway: StartGateway) -> None:
    gateway = start_gateway("127.0.0.1:1", ACTING)
    ban(gateway, BANNED)
    insist(gateway, BANNED)
    port = int(gateway.address.rpartition(":")[2])
    with RawClient(gateway.address, CLEAN) as client:
        client.greet()
        workers = children(gateway, Role.WORKER)
        found = [length for worker in workers for length in accepted_filters(worker.pid, port)]
        assert found == [0]


def test_a_reload_goes_on_with_it_on_new_listeners_too(start_gateway: StartGateway) -> None:
    gateway = start_gateway("127.0.0.1:1", ACTING)
    ban(gateway, BANNED)
    insist(gateway, BANNED)
    before = generation(gateway)
    gateway.configure({"server": {"listen": ["127.0.0.1:0", "127.0.0.10:0"]}})
    gateway.signal(signal.SIGHUP)
    wait_for_generation(gateway, before + 1)
    assert not answers(gateway.address, BANNED)
    gateway.configure({"dos_protection": {"kernel_shedding": False}})
    gateway.signal(signal.SIGHUP)
    wait_for_generation(gateway, before + 2)
    wait_for(lambda: answers(gateway.address, BANNED), "an answer once it is switched off", 2)
    with RawClient(gateway.address, BANNED) as client:
        assert client.read_reply().code == 421
