"""How a gateway's processes live and end: real forks, signals and kills."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gwsmtp.base import procid
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.limits.slots import Gauge, Role, SlotState, Total
from tests.support.masterproc import Gateway, until

pytestmark = pytest.mark.full


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "g"


@pytest.fixture
def gateway(base: Path) -> Iterator[Gateway]:
    with Gateway(base, count=2) as gateway:
        yield gateway


def test_everybody_is_ready_named_and_in_the_table(gateway: Gateway) -> None:
    assert sorted(gateway.children) == ["engine-0", "queue-0", "worker-0", "worker-1"]
    assert {view.state for view in gateway.slots()} == {SlotState.READY}
    master = gateway.process.pid
    assert {view.owner for view in gateway.slots()} == {(master, procid.start_ticks(master))}
    title = gateway.ask(gateway.connect(), "title")
    assert title.startswith("gwsmtp: worker ")
    assert "[demo] ready" in title
    assert Path(f"/proc/{master}/cmdline").read_bytes().startswith(b"gwsmtp: master [demo] ready")
    pidfile = (gateway.base / "run/demo.pid").read_text().splitlines()
    assert pidfile[0] == str(master)
    assert pidfile[2] == f"127.0.0.1:{gateway.listen[0][1]}"


def test_worker_inherits_only_what_is_its_own(gateway: Gateway) -> None:
    client = gateway.connect()
    names = gateway.ask(client, "fds").split()
    assert sum(name.startswith("pipe:") for name in names) <= 2  # lifeline, libev's own
    assert not any("demo.pid" in name or "engine.sock" in name for name in names)
    assert sum("demo.table" in name for name in names) == 2  # its own description, and its map's
    assert gateway.ask(client, "engine") == f"unix:{gateway.base}/run/demo.engine.sock"


def test_term_drains_and_leaves_nothing(gateway: Gateway) -> None:
    client = gateway.connect()
    pid = int(gateway.ask(client, "pid"))
    gateway.kill(signal.SIGTERM)
    draining = until(
        "the workers are draining",
        lambda: [view for view in gateway.of(Role.WORKER) if view.state is SlotState.DRAINING],
    )
    assert pid in [view.pid for view in draining] or len(draining) == 1
    until("new connections are refused", lambda: not gateway.accepts())
    # The session in progress is served to its end, and the engine is there as long.
    assert int(gateway.ask(client, "pid")) == pid
    assert "engine-0" in gateway.living()
    client.close()
    assert gateway.wait_exit() == ExitCode.OK
    assert gateway.living() == []
    assert gateway.slots() == []
    assert sorted(path.name for path in (gateway.base / "run").iterdir()) == ["demo.table"]
    assert gateway.total(Total.SESSIONS) >= 1


def test_the_queue_ends_after_the_workers_and_the_engine_after_it(gateway: Gateway) -> None:
    gateway.kill(signal.SIGTERM)
    assert gateway.wait_exit() == ExitCode.OK
    ends = [
        line.split("child=")[1].split()[0]
        for line in gateway.log().splitlines()
        if "event=child_ended" in line
    ]
    assert ends[2:] == ["queue-0", "engine-0"]
    assert sorted(ends[:2]) == ["worker-0", "worker-1"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_stop_whatever_is_in_progress(base: Path, signum: signal.Signals) -> None:
    with Gateway(base, drain_timeout=600) as gateway:
        client = gateway.connect()
        gateway.ask(client, "pid")
        gateway.kill(signum)
        assert gateway.wait_exit() == ExitCode.OK
        assert gateway.living() == []
        assert client.recv(1) == b""


def test_second_term_stops(base: Path) -> None:
    with Gateway(base, drain_timeout=600) as gateway:
        client = gateway.connect()
        gateway.ask(client, "pid")
        gateway.kill(signal.SIGTERM)
        until("the worker drains", lambda: gateway.of(Role.WORKER)[0].state is SlotState.DRAINING)
        gateway.kill(signal.SIGTERM)
        assert gateway.wait_exit() == ExitCode.OK
        assert gateway.living() == []


def test_drain_has_a_deadline(base: Path) -> None:
    with Gateway(base, entries={"WORKER": "stubborn"}, drain_timeout=0.3) as gateway:
        gateway.kill(signal.SIGTERM)
        assert gateway.wait_exit() == ExitCode.OK
        assert gateway.living() == []
        assert 'reason="drain deadline"' in gateway.log()


def test_killed_master_lets_sessions_finish_and_nobody_stays(gateway: Gateway) -> None:
    client = gateway.connect()
    pid = gateway.ask(client, "pid")
    gateway.kill(signal.SIGKILL)
    gateway.wait_exit()
    until("the idle worker has ended", lambda: len(gateway.living()) == 3)
    assert gateway.ask(client, "pid") == pid
    assert {"engine-0", "queue-0"} <= set(gateway.living())
    client.close()
    until("all orphans have ended", lambda: gateway.living() == [])
    assert gateway.total(Total.SESSIONS) == 1


def test_master_after_a_killed_one_takes_over(base: Path) -> None:
    with Gateway(base) as first:
        until("a session", lambda: first.ask(first.connect(), "pid"))
        first.kill(signal.SIGKILL)
        first.wait_exit()
        with Gateway(base) as second:
            first.close()
            until("orphans are gone", lambda: first.living() == [])
            until("their slots are free", lambda: len(second.slots()) == 3)
            assert {view.generation for view in second.slots()} == {2}
            second.ask(second.connect(), "pid")
            assert second.total(Total.SESSIONS) == 2


def test_killed_worker_is_replaced_in_its_slot_and_its_totals_stay(gateway: Gateway) -> None:
    client = gateway.connect()
    pid = int(gateway.ask(client, "pid"))
    (before,) = [view for view in gateway.slots() if view.pid == pid]
    assert before.gauges[Gauge.SESSIONS] == 1
    os.kill(pid, signal.SIGKILL)
    after = until(
        "another worker is ready in the same slot",
        lambda: next(
            (
                view
                for view in gateway.of(Role.WORKER)
                if view.index == before.index
                and view.pid not in (0, pid)
                and view.state is SlotState.READY
            ),
            None,
        ),
    )
    assert after is not None
    assert after.number == before.number
    assert after.gauges[Gauge.SESSIONS] == 0
    assert gateway.total(Total.SESSIONS) == 1
    assert client.recv(1) == b""
    assert gateway.ask(gateway.connect(), "pid")
    assert gateway.total(Total.SESSIONS) == 2


def test_hanging_worker_is_aborted_with_its_stack_in_the_log_and_replaced(base: Path) -> None:
    with Gateway(base, hang_timeout=4) as gateway:
        client = gateway.connect()
        pid = int(gateway.ask(client, "pid"))
        client.sendall(b"hang\n")
        until("it is replaced", lambda: gateway.of(Role.WORKER)[0].pid not in (0, pid))
        assert "end=SIGABRT" in gateway.log()
        assert "in _hang" in gateway.log()  # faulthandler
        assert not [
            line for line in gateway.log().splitlines() if "child_hangs child=engine" in line
        ]


def test_stopped_worker_is_killed_and_replaced(base: Path) -> None:
    with Gateway(base, hang_timeout=4) as gateway:
        pid = gateway.of(Role.WORKER)[0].pid
        os.kill(pid, signal.SIGSTOP)
        until("it is replaced", lambda: gateway.of(Role.WORKER)[0].pid not in (0, pid))
        assert "end=SIGKILL" in gateway.log()


@pytest.mark.parametrize("entry", ["dies", "exits", "missing"])
def test_child_that_dies_at_boot_ends_the_master_after_pauses(base: Path, entry: str) -> None:
    gateway = Gateway(base, entries={"WORKER": entry})
    gateway.launch()
    try:
        assert gateway.wait_exit() == ExitCode.BOOT_FAILED
        log = gateway.log()
        assert log.count("child_forked child=worker-0") == 5
        assert "worker-0 died 5 times before it was ready" in log
        until("nobody is left", lambda: not gateway.slots())
    finally:
        gateway.close()


def test_worker_that_crashes_later_never_ends_the_master(gateway: Gateway) -> None:
    seen = set()
    for _ in range(6):
        client = gateway.connect()
        seen.add(gateway.ask(client, "pid"))
        client.sendall(b"crash\n")
        assert client.recv(1) == b""
        until("a worker is ready", lambda: _ready_numbers(gateway))
    assert gateway.process.poll() is None
    assert len(seen) >= 2


def test_signals_of_a_terminal_and_of_habit_do_not_end_it(gateway: Gateway) -> None:
    for signum in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH):
        os.killpg(gateway.process.pid, signum)
    assert gateway.ask(gateway.connect(), "pid")
    assert gateway.process.poll() is None
    assert len(gateway.living()) == 4


def test_ttin_and_ttou_add_and_take_a_worker(base: Path) -> None:
    with Gateway(base) as gateway:
        gateway.kill(signal.SIGTTIN)
        until("two workers are ready", lambda: _ready_numbers(gateway) == [0, 1])
        gateway.kill(signal.SIGTTOU)
        until("one worker is left", lambda: _ready_numbers(gateway) == [0])
        gateway.kill(signal.SIGTTOU)
        until("the last one is kept", lambda: "event=worker_kept" in gateway.log())
        assert _ready_numbers(gateway) == [0]


def _ready_numbers(gateway: Gateway) -> list[int]:
    workers = gateway.of(Role.WORKER)
    return sorted(view.number for view in workers if view.state is SlotState.READY)


def test_second_start_is_refused_in_one_line(gateway: Gateway) -> None:
    second = Gateway(gateway.base)
    second.log_path = gateway.base / "second.log"
    second.launch()
    try:
        assert second.wait_exit() == ExitCode.ALREADY_RUNNING
        assert f"already running (pid {gateway.process.pid}," in second.log()
    finally:
        second.close()
    assert gateway.ask(gateway.connect(), "pid")


def test_taken_address_is_named_with_its_holder(base: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        gateway = Gateway(base, port=port)
        gateway.launch()
        try:
            assert gateway.wait_exit() == ExitCode.CANNOT_BIND
            assert f"cannot listen on 127.0.0.1:{port}: taken by " in gateway.log()
            assert f"(pid {os.getpid()})" in gateway.log()
        finally:
            gateway.close()


def test_damaged_table_is_set_aside_and_said(base: Path) -> None:
    (base / "run").mkdir(parents=True)
    (base / "run/demo.table").write_bytes(b"nonsense")
    with Gateway(base) as gateway:
        assert "event=table_set_aside" in gateway.log()
        assert len(gateway.slots()) == 3
