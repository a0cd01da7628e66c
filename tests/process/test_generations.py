"""What becomes of a reload when something goes wrong: real masters over children of the tests."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gwsmtp.base import procid
from gwsmtp.limits.arena import open_table
from gwsmtp.limits.layout import SLOT_COUNT
from gwsmtp.limits.slots import Role, SlotState, claim_slot, free_slot
from gwsmtp.master.pidfile import RunningMaster, read_pidfile
from tests.support.masterproc import Gateway, until

pytestmark = pytest.mark.full


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "g"


@pytest.fixture
def gateway(base: Path) -> Iterator[Gateway]:
    with Gateway(base, count=2) as gateway:
        yield gateway


def pidfile(gateway: Gateway) -> RunningMaster:
    found = read_pidfile(gateway.base / "run/demo.pid")
    assert found is not None
    return found


def reload(gateway: Gateway) -> str:
    """HUP, and what was wrong with it once it has been dealt with."""
    before = pidfile(gateway).reloads_asked
    gateway.kill(signal.SIGHUP)
    until("the reload is done", lambda: pidfile(gateway).reloads_done > before)
    return pidfile(gateway).reload_failure


def workers(gateway: Gateway) -> list[tuple[int, int]]:
    return sorted((view.generation, view.number) for view in gateway.of(Role.WORKER))


def ready_pids(gateway: Gateway) -> list[int]:
    return sorted(v.pid for v in gateway.of(Role.WORKER) if v.state is SlotState.READY)


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("refuse", 'event=reload_problem problem="next.json:7 a.b: is wrong"'),
        ("die", 'problem="the reading process ended with -9"'),
    ],
)
def test_reload_that_cannot_read_changes_nothing(gateway: Gateway, does: str, said: str) -> None:
    pids = ready_pids(gateway)
    gateway.configure(does=does)
    assert reload(gateway) == "the configuration has problems"
    assert said in gateway.log()
    assert ready_pids(gateway) == pids
    assert gateway.generation == 1
    gateway.configure(count=1)
    assert reload(gateway) == ""
    assert gateway.generation == 2


def test_sessions_of_the_old_generation_keep_their_engine(gateway: Gateway) -> None:
    """An engine of other settings gets a successor; the old one ends after its last worker."""
    client = gateway.connect()
    old = gateway.ask(client, "engine")
    gateway.configure(count=2, level="info")
    assert reload(gateway) == ""
    new = gateway.ask(gateway.connect(), "engine")
    assert new == f"unix:{gateway.base}/run/demo.engine-2.sock"
    assert gateway.ask(client, "engine") == old
    assert len(gateway.of(Role.ENGINE)) == 2
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(old.removeprefix("unix:"))
    client.close()
    until("the old engine has ended", lambda: len(gateway.of(Role.ENGINE)) == 1)
    assert not Path(old.removeprefix("unix:")).exists()
    assert gateway.of(Role.ENGINE)[0].generation == 2
    gateway.configure(count=1, level="info")
    assert reload(gateway) == ""
    assert gateway.of(Role.ENGINE)[0].generation == 2, "one that has not changed is kept"


def test_generation_that_cannot_live_is_given_up(base: Path) -> None:
    with Gateway(base, entries={"WORKER": "first_only"}, count=2) as gateway:
        pids = ready_pids(gateway)
        client = gateway.connect()
        gateway.configure(count=2)
        assert "died 3 times at boot" in reload(gateway)
        until("only the old ones are left", lambda: workers(gateway) == [(1, 0), (1, 1)])
        assert ready_pids(gateway) == pids
        assert int(gateway.ask(client, "pid")) in pids
        assert gateway.log().count("child_forked child=worker-0") <= 5
        assert gateway.generation == 1


def test_old_worker_killed_while_it_drains_is_not_replaced(gateway: Gateway) -> None:
    client = gateway.connect()
    pid = int(gateway.ask(client, "pid"))
    gateway.configure(count=2)
    assert reload(gateway) == ""
    until("only the busy one is left", lambda: workers(gateway)[:-2] == workers(gateway)[:1])
    os.kill(pid, signal.SIGKILL)
    until("the old generation has gone", lambda: workers(gateway) == [(2, 0), (2, 1)])
    assert gateway.ask(gateway.connect(), "pid")


def test_killed_new_worker_is_replaced_in_its_generation(gateway: Gateway) -> None:
    gateway.configure(count=1)
    assert reload(gateway) == ""
    until("one worker is left", lambda: workers(gateway) == [(2, 0)])
    (pid,) = ready_pids(gateway)
    os.kill(pid, signal.SIGKILL)
    until("another serves", lambda: ready_pids(gateway) not in ([], [pid]))
    assert workers(gateway) == [(2, 0)]


@pytest.mark.parametrize("does", ["hang", None])
def test_master_killed_in_the_middle_of_a_reload(base: Path, does: str | None) -> None:
    """While the file is read, and while new workers are not ready: everybody drains and goes."""
    with Gateway(base, entries={"WORKER": "first_hangs_not"}, count=2) as gateway:
        client = gateway.connect()
        gateway.ask(client, "pid")
        gateway.configure(count=2, does=does)
        gateway.kill(signal.SIGHUP)
        if does:
            until("the file is read", lambda: "event=reloading" in gateway.log())
        else:
            until("new workers are there", lambda: len(gateway.of(Role.WORKER)) == 4)
            until("they have signed in", lambda: all(v.pid for v in gateway.of(Role.WORKER)))
        family = {view.pid for view in gateway.slots()}
        gateway.children = {str(v.index): (v.pid, v.start_ticks) for v in gateway.slots()}
        gateway.kill(signal.SIGKILL)
        gateway.wait_exit()
        assert gateway.ask(client, "pid")  # who has a session finishes it
        client.close()
        until("all have ended", lambda: not gateway.living())
        until("the reading process too", lambda: not session_of(gateway.process.pid) - {0})
        assert family


def session_of(leader: int) -> set[int]:
    """The living processes of the master's session."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and procid.start_ticks(int(entry.name)):
            try:
                if os.getsid(int(entry.name)) == leader:
                    found.add(int(entry.name))
            except ProcessLookupError:
                pass
    return found


def test_term_during_a_reload_ends_everything(base: Path) -> None:
    with Gateway(base, entries={"WORKER": "first_hangs_not"}, count=2) as gateway:
        gateway.configure(count=2)
        gateway.kill(signal.SIGHUP)
        until("new workers are there", lambda: len(gateway.of(Role.WORKER)) == 4)
        gateway.kill(signal.SIGTERM)
        assert gateway.wait_exit() == 0
        assert gateway.slots() == []
        assert sorted(path.name for path in (gateway.base / "run").iterdir()) == ["demo.table"]


def test_many_hups_are_few_reloads(gateway: Gateway) -> None:
    """Those that come meanwhile are one; the last one's file is what is in effect."""
    for count in (3, 1, 2, 1, 3, 2, 1):
        gateway.configure(count=count)
        gateway.kill(signal.SIGHUP)
    until("all are done", lambda: pidfile(gateway).reloads_done == pidfile(gateway).reloads_asked)
    until("one worker is left", lambda: [n for _, n in workers(gateway)] == [0])
    assert pidfile(gateway).reloads_asked >= 1
    assert gateway.generation <= 4
    assert gateway.ask(gateway.connect(), "pid")


def test_reload_waits_for_room_in_the_table(gateway: Gateway) -> None:
    """As when generations before still drain; nobody is harmed, and it goes on by itself."""
    with contextlib.closing(open_table(gateway.base / "run/demo.table")) as table:
        ours = procid.own_id()
        taken = [claim_slot(table, Role.WORKER, n, 9, ours, 1) for n in range(SLOT_COUNT - 5)]
        gateway.configure(count=2)
        gateway.kill(signal.SIGHUP)
        until("it waits", lambda: "event=reload_waits" in gateway.log())
        assert gateway.generation == 1
        assert gateway.ask(gateway.connect(), "pid")
        for index in taken:
            free_slot(table, index)
    until("the new generation serves", lambda: gateway.generation == 2)
    assert gateway.log().count("event=reload_waits") == 1


def test_systemd_hears_when_a_reload_begins_and_ends(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sd_notify(3), Type=notify-reload: READY also when nothing has changed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with Gateway(base) as gateway:
            assert systemd.recv(200) == f"READY=1\nMAINPID={gateway.process.pid}".encode()
            for does in (None, "refuse"):
                gateway.configure(does=does)
                before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                assert bool(reload(gateway)) == bool(does)
                first, _, second = systemd.recv(200).decode().partition("\n")
                assert first == "RELOADING=1"
                stamp = int(second.removeprefix("MONOTONIC_USEC="))
                assert before <= stamp <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                assert systemd.recv(200) == b"READY=1"
            gateway.kill(signal.SIGTERM)
            assert systemd.recv(200) == b"STOPPING=1"
            gateway.wait_exit()


def test_rebinding(gateway: Gateway) -> None:
    client = gateway.connect()
    gateway.ask(client, "pid")
    old = gateway.listen[0]
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = holder.getsockname()[1]
        gateway.configure(count=2, port=taken)
        assert reload(gateway) == ""
        log = gateway.log()
        assert f'reason="cannot listen on 127.0.0.1:{taken}: taken by ' in log
        assert f"event=listeners_kept listen=127.0.0.1:{old[1]}" in log
        assert gateway.ask(gateway.connect(), "pid")
        assert pidfile(gateway).listen == (f"127.0.0.1:{old[1]}",)
    assert reload(gateway) == ""
    assert pidfile(gateway).listen == (f"127.0.0.1:{taken}",)
    until("the old one is closed", lambda: not gateway.accepts())
    gateway.listen = [("127.0.0.1", taken)]
    assert gateway.ask(gateway.connect(), "pid")
    assert gateway.ask(client, "pid")  # whom the old listener took
