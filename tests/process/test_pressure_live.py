"""Pressure on a running gateway: who gets the last places, who has to hurry, what is remembered."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from gwsmtp.base.decision import Action, Reason
from gwsmtp.cli.status import collect
from gwsmtp.limits import layout
from gwsmtp.limits.arena import Table, open_table
from gwsmtp.limits.identity import Placement, identify
from gwsmtp.limits.layout import CONTROL, WORD, Client, Control, Header
from gwsmtp.limits.peers import Peers
from gwsmtp.limits.pressure import Cause, PressureView, read_pressure
from gwsmtp.limits.rangelock import OUTSIDER, RangeLock
from gwsmtp.limits.ring import DecisionView, read_decisions
from gwsmtp.limits.slots import Gauge, Role
from tests.process.conftest import StartGateway
from tests.support.childentries import LATE_S
from tests.support.gateway import Gateway
from tests.support.masterproc import Gateway as MasterAlone
from tests.support.processes import children, live, table_of
from tests.support.rawclient import RawClient
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

MOST, RESERVE = 20, 4
COMMAND_S = 14
SETTINGS = {
    "server": {"listen": ["127.0.0.1:0"], "max_inbound_connections": MOST},
    "dos_protection": {"enabled": True, "limits": {"concurrency": {"mode": "off"}}},
    "protocol": {"client_connection_timeout": 300, "client_protocol_timeout": COMMAND_S},
    "workers": {"count": 1},
}
KNOWN = "127.0.0.200"


def address(number: int) -> str:
    """A client's own address."""
    return f"127.0.1.{number + 1}"


def fill(gateway: Gateway, stack: ExitStack, numbers: range) -> list[RawClient]:
    """Clients that have read their greeting, in the order they came."""
    clients = []
    for number in numbers:
        client = stack.enter_context(RawClient(gateway.address, address(number)))
        assert client.read_reply().code == 220
        clients.append(client)
    return clients


def pressure(gateway: Gateway) -> PressureView:
    with table_of(gateway) as table:
        return read_pressure(table.words)


def wait_for_level(gateway: Gateway, level: int) -> None:
    wait_for(
        lambda: pressure(gateway).level == level,
        lambda: f"pressure {level}, it is {pressure(gateway)}\n{gateway.log_tail()}",
        15,
    )


@contextmanager
def writable(gateway: Gateway) -> Iterator[Table]:
    table = open_table(gateway.base / "run" / "test.table")
    try:
        yield table
    finally:
        table.close()


def give_passes(gateway: Gateway, *ips: str) -> None:
    """30 days from now, as after three clean sessions."""
    with writable(gateway) as table:
        peers, lock = Peers(table, Placement(table)), RangeLock(table, OUTSIDER, time.sleep)
        now_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
        for ip in ips:
            with lock:
                place = layout.client_row(peers.take(identify(ip).client, now_ms))
                table.words[place + Client.PASS_UNTIL] = now_ms + 30 * 86_400_000


def wait_for_beat(gateway: Gateway) -> None:
    """Until the worker has looked at the level, which it does once a second."""
    (worker,) = children(gateway, Role.WORKER)
    wait_for(
        lambda: children(gateway, Role.WORKER)[0].heartbeat_ms > worker.heartbeat_ms,
        "the worker's next heartbeat",
    )


def decisions(gateway: Gateway, reason: Reason) -> list[DecisionView]:
    with table_of(gateway) as table:
        return [view for view in read_decisions(table) if view.reason is reason]


def passes(gateway: Gateway) -> int:
    with table_of(gateway) as table:
        count: int = table.words[CONTROL + Control.PASSES]
    return count


def test_the_last_places_are_kept_for_a_client_with_a_pass(start_gateway: StartGateway) -> None:
    gateway = start_gateway("127.0.0.1:1", SETTINGS)
    give_passes(gateway, KNOWN, *(f"198.51.100.{number}" for number in range(100)))
    wait_for(lambda: passes(gateway) == 101, "the leader's count of passes", 15)
    with ExitStack() as stack:
        clients = fill(gateway, stack, range(MOST * 9 // 10 - 1))
        assert pressure(gateway) == PressureView(0, Cause.NONE, 0)
        clients += fill(gateway, stack, range(len(clients), MOST * 9 // 10))
        wait_for_level(gateway, 1)
        with RawClient(gateway.address, address(100)) as stranger:
            reply = stranger.read_reply()
            assert (reply.code, reply.text[:5]) == (421, "4.3.2")
            assert stranger.read_to_end() == b""
        (decision,) = decisions(gateway, Reason.RESERVED)
        assert decision.action is Action.REFUSED
        assert (decision.counter, decision.threshold) == (len(clients), MOST - RESERVE)
        assert f"[{decision.session_id}]" in reply.text
        with RawClient(gateway.address, KNOWN) as known:
            assert known.read_reply().code == 220
            gateway.wait_for_log("event=pressure level=1 cause=connections")
            shown = collect(gateway.base / "run", "test", pressure(gateway).since_ms + 5000)
            assert shown["pressure"] == {"level": 1, "cause": "connections", "since_s": 5.0}


def test_waits_that_have_begun_and_those_to_come_are_halved(start_gateway: StartGateway) -> None:
    gateway = start_gateway("127.0.0.1:1", SETTINGS)
    with ExitStack() as stack:
        early = stack.enter_context(RawClient(gateway.address, address(90)))
        early.greet()
        began = time.monotonic()
        fill(gateway, stack, range(MOST * 9 // 10 - 1))
        wait_for_level(gateway, 1)
        wait_for_beat(gateway)
        late = stack.enter_context(RawClient(gateway.address, address(91)))
        late.greet()
        began_late = time.monotonic()
        for client, since in ((early, began), (late, began_late)):
            assert client.read_reply().text.startswith("4.4.2 Timeout")
            assert COMMAND_S / 2 - 0.1 < time.monotonic() - since < COMMAND_S - 1
        wrong = stack.enter_context(RawClient(gateway.address, address(92)))
        wrong.greet()
        codes = [wrong.command(b"NONSENSE").code for _ in range(3)]
        assert codes == [500, 500, 421]


def test_a_full_listener_ends_its_slowest_session_for_a_new_client(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway("127.0.0.1:1", SETTINGS)
    give_passes(gateway, address(1))
    with ExitStack() as stack:
        clients = fill(gateway, stack, range(MOST))
        with RawClient(gateway.address, address(100)) as too_early:
            assert too_early.read_reply().code == 421
        wait_for_level(gateway, 2)
        clients[0].command(b"EHLO client.example")  # does something, so 1 is the slowest now;
        newcomer = stack.enter_context(RawClient(gateway.address, address(101)))
        assert newcomer.read_reply().code == 220  # but has a pass, so it is 2's turn
        reply = clients[2].read_reply()
        assert (reply.code, reply.text[:20]) == (421, "4.3.2 Idle too long ")
        assert clients[2].read_to_end() == b""
        assert live(gateway) == (MOST, 0)
        (decision,) = decisions(gateway, Reason.PRESSURE)
        assert (decision.action, decision.client) == (Action.ENDED, address(2))
        assert f"[{decision.session_id}]" in reply.text
        assert newcomer.command(b"EHLO new.example").code == 250
        for client in (clients[0], clients[1], *clients[3:]):
            assert client.command(b"NOOP").code == 250
        more = fill(gateway, stack, range(102, 106))
        assert live(gateway) == (MOST, 0)
        assert [client.command(b"NOOP").code for client in more] == [250] * 4
    wait_for(lambda: live(gateway) == (0, 0), "the end of all connections")


def test_with_row_86_off_the_level_is_told_and_nothing_comes_of_it(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway("127.0.0.1:1", {**SETTINGS, "dos_protection": {"enabled": False}})
    with ExitStack() as stack:
        clients = fill(gateway, stack, range(MOST))
        wait_for_level(gateway, 2)
        with RawClient(gateway.address, address(100)) as one_too_many:
            assert one_too_many.read_reply().code == 421
        assert [client.command(b"NOOP").code for client in clients] == [250] * MOST
    assert decisions(gateway, Reason.PRESSURE) == []


def delete(table: Path) -> None:
    table.unlink()


def of_another_boot(table: Path) -> None:
    with table.open("r+b") as file:
        file.seek(Header.BOOT_ID_LOW * WORD)
        file.write(bytes(WORD))


def get_banned(gateway: Gateway, source: str) -> None:
    for _ in range(2):
        with RawClient(gateway.address, source) as client:
            assert client.read_reply().code == 220
            client.send(b"GET / HTTP/1.1\r\n")
            client.read_to_end()
        wait_for(lambda: live(gateway)[0] == 0, "the end of the connection")
    assert is_banned(gateway, source)


def is_banned(gateway: Gateway, source: str) -> bool:
    with RawClient(gateway.address, source) as client:
        reply = client.read_reply()
    return (reply.code, reply.text[:5]) == (421, "4.7.0")


@pytest.mark.parametrize("lose", [delete, of_another_boot])
def test_penalties_outlive_the_table(
    start_gateway: StartGateway, lose: Callable[[Path], None]
) -> None:
    settings = {
        "dos_protection": {"enabled": True, "offences": {"delay_at": 40, "restrict_at": 40}}
    }
    gateway = start_gateway("127.0.0.1:1", settings)
    table = gateway.base / "run" / "test.table"
    get_banned(gateway, "127.0.0.2")
    gateway.stop()
    assert (gateway.base / "private" / "test.table-snapshot").stat().st_mode & 0o777 == 0o600
    lose(table)
    gateway.start()
    gateway.wait_for_log("event=snapshot_loaded clients=1")
    assert is_banned(gateway, "127.0.0.2")
    assert not is_banned(gateway, "127.0.0.3")
    gateway.signal(signal.SIGKILL)  # no last word: what the earlier stop has kept stays
    gateway.wait_for_exit(-signal.SIGKILL, children_deadline_s=20)
    lose(table)
    gateway.start()
    assert is_banned(gateway, "127.0.0.2")


def test_a_loop_that_stands_still_is_noticed(start_gateway: StartGateway) -> None:
    gateway = start_gateway("127.0.0.1:1", SETTINGS)
    (worker,) = children(gateway, Role.WORKER)
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        wait_for_level(gateway, 2)
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    wait_for(
        lambda: children(gateway, Role.WORKER)[0].gauges[Gauge.LOOP_LAG_US] > 1_000_000,
        "what the worker says of its own lag, for a second",
    )
    gateway.wait_for_log("event=pressure level=2 cause=loop")


def test_a_long_birth_says_nothing_of_the_loop(tmp_path: Path) -> None:
    lags: list[int] = []
    with MasterAlone(tmp_path / "alone", entries={"WORKER": "late"}) as alone:

        def is_old() -> bool:
            (worker,) = alone.of(Role.WORKER)
            lags.append(worker.gauges[Gauge.LOOP_LAG_US])
            return worker.heartbeat_ms > worker.ready_ms + 2_000

        (born,) = alone.of(Role.WORKER)
        assert born.ready_ms - born.claimed_ms > LATE_S * 1000
        wait_for(is_old, "three heartbeats of the worker")
    assert max(lags) < 2_000_000
