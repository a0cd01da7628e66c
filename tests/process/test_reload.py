"""Reloads of a real gateway under load: no session dropped that should not be, no message lost."""

import os
import re
import signal
import socket
import subprocess
from contextlib import ExitStack

import pytest

from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.limits.slots import Gauge, Role
from tests.process.conftest import StartGateway
from tests.support.gateway import Gateway
from tests.support.processes import children, generation, wait_for_generation
from tests.support.rawclient import RawClient
from tests.support.rawsink import RawSink
from tests.support.running import REPOSITORY
from tests.support.traffic import TO, Traffic
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

BEGINNING, REST = b"Subject: x\r\n\r\n", b"the rest\r\n.\r\n"


def reload(gateway: Gateway, *options: str) -> "subprocess.CompletedProcess[str]":
    """What ``gwsmtp reload`` does and says."""
    return command(gateway, "reload", *options)


def command(gateway: Gateway, name: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """What a command does and says."""
    return subprocess.run(
        [gateway.folder / "gwsmtp", name, "-c", gateway.config_path, *options],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def greeted(address: str) -> None:
    """A client is served at ``address``."""
    with RawClient(address) as client:
        client.greet()


def in_transfer(gateway: Gateway, sender: str, running: ExitStack) -> RawClient:
    client = running.enter_context(RawClient(gateway.address))
    client.greet()
    client.begin_data(sender, [TO])
    client.send(BEGINNING)
    return client


def test_five_reloads_under_load(
    start_gateway: StartGateway, sink: RawSink, running: ExitStack
) -> None:
    # A transfer that waits for five reloads is none that hangs.
    gateway = start_gateway(sink.address, {"protocol": {"client_data_payload_timeout": 60}})
    reloads = 5
    transfers = []
    with Traffic(gateway.address) as traffic:
        traffic.wait_for_more()
        for n in range(reloads):
            transfers.append(in_transfer(gateway, f"transfer{n}@client.example", running))
            gateway.signal(signal.SIGHUP)
            wait_for(lambda n=n: generation(gateway) == n + 2, f"generation {n + 2}")  # type: ignore[misc]
            traffic.wait_for_more()
        for n, client in enumerate(transfers):
            client.send(REST)
            assert client.read_reply().code == 250
            traffic.heard[f"transfer{n}@client.example"] = b"250"
            assert client.read_reply().raw.startswith(b"421 4.3.2 ")
            assert client.read_to_end() == b""
        wait_for_generation(gateway, reloads + 1)
        traffic.wait_for_more()
    traffic.check(sink)
    print(f"\n{len(traffic.accepted)} messages, {traffic.turned_away} sessions told to come again")
    gateway.stop()
    assert " level=ERROR " not in gateway.log_path.read_text()


def test_command_checks_signals_and_waits(start_gateway: StartGateway, sink: RawSink) -> None:
    gateway = start_gateway(sink.address)
    gateway.configure({"protocol": {"host_domain": "new.example.test"}, "workers": {"count": 1}})
    done = reload(gateway)
    assert (done.returncode, done.stdout) == (ExitCode.OK, "test: generation 2 serves\n")
    with RawClient(gateway.address) as client:
        assert b"new.example.test" in client.read_reply().raw
    assert len(wait_for_generation(gateway, 2)) == 1
    gateway.stop()
    done = reload(gateway)
    assert done.returncode == ExitCode.UNAVAILABLE
    assert done.stderr.startswith("gwsmtp: not running (")


def test_broken_file_changes_nothing_and_is_said(
    start_gateway: StartGateway, sink: RawSink
) -> None:
    gateway = start_gateway(sink.address)
    pids = [worker.pid for worker in children(gateway, Role.WORKER)]
    text = gateway.config_path.read_text()
    gateway.config_path.write_text(text.replace("count: 2", "cuont: 2"))
    with Traffic(gateway.address) as traffic:
        traffic.wait_for_more()
        done = reload(gateway)
        assert done.returncode == ExitCode.CONFIG
        assert re.search(r"gwsmtp.yaml:\d+ workers.cuont: ", done.stderr)
        assert "event=reloading" not in gateway.log_path.read_text()  # it was not even asked for
        gateway.signal(signal.SIGHUP)
        line = gateway.wait_for_log("event=reload_problem")
        assert " level=ERROR " in line
        assert re.search(r"gwsmtp.yaml:\d+ workers.cuont: ", line)
        gateway.wait_for_log("event=reload_failed")
        traffic.wait_for_more()
    traffic.check(sink)
    assert traffic.turned_away == 0
    assert [worker.pid for worker in children(gateway, Role.WORKER)] == pids
    assert generation(gateway) == 1


def test_settings_that_need_a_restart_are_kept_and_named(
    start_gateway: StartGateway, sink: RawSink
) -> None:
    gateway = start_gateway(sink.address)
    gateway.configure({"interface": {"name": "other"}, "paths": {"tmp": "/nonexistent/tmp"}})
    gateway.signal(signal.SIGHUP)
    wait_for_generation(gateway, 2)
    kept = [line for line in gateway.log_lines() if "event=setting_kept" in line]
    assert [line.split("key=")[1].split()[0] for line in kept] == ["interface.name", "paths.tmp"]
    assert all(" level=WARNING " in line for line in kept)
    with RawClient(gateway.address) as client:
        client.greet()
        assert client.send_message("a@client.example", [TO], b"x\r\n").code == 250


def test_address_that_is_taken_keeps_the_old_listener(
    start_gateway: StartGateway, sink: RawSink
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = f"127.0.0.1:{holder.getsockname()[1]}"
        gateway = start_gateway(sink.address)
        gateway.configure(
            {"server": {"listen": [taken]}, "protocol": {"host_domain": "new.example.test"}}
        )
        with Traffic(gateway.address) as traffic:
            traffic.wait_for_more()
            assert reload(gateway).returncode == ExitCode.FAILED
            traffic.wait_for_more()
        traffic.check(sink)
        assert " level=ERROR " in gateway.wait_for_log(f"cannot listen on {taken}: taken by")
        with RawClient(gateway.address) as client:
            assert b"new.example.test" in client.read_reply().raw, "the rest is in effect"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs workers of another user")
def test_workers_that_cannot_live_leave_the_old_ones_alone(
    start_gateway: StartGateway, sink: RawSink
) -> None:
    """A spool that its workers may no longer write into."""
    gateway = start_gateway(sink.address)
    spool = gateway.base / "private"
    owner = spool.stat()
    os.chown(spool, os.geteuid(), os.getegid())
    spool.chmod(0o500)
    with Traffic(gateway.address) as traffic:
        traffic.wait_for_more()
        done = reload(gateway)
        assert done.returncode == ExitCode.FAILED
        assert "died 3 times at boot" in done.stderr
        traffic.wait_for_more()
    traffic.check(sink)
    assert len(wait_for_generation(gateway, 1)) == 2
    os.chown(spool, owner.st_uid, owner.st_gid)
    spool.chmod(owner.st_mode & 0o7777)
    assert reload(gateway).stdout == "test: generation 3 serves\n"


def test_a_refused_address_fails_the_command_although_the_rest_of_the_file_acts(
    start_gateway: StartGateway, sink: RawSink
) -> None:
    gateway = start_gateway(sink.address)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        gateway.configure({"server": {"listen": [taken]}, "workers": {"count": 1}})
        done = reload(gateway)
    assert done.returncode == ExitCode.FAILED
    assert done.stdout == "test: generation 2 serves\n"
    assert re.fullmatch(
        rf"gwsmtp: cannot listen on {taken}: taken by .+ \(pid {os.getpid()}\); "
        r"the old listeners stay\n",
        done.stderr,
    )
    assert len(wait_for_generation(gateway, 2)) == 1
    greeted(gateway.address)
    status = command(gateway, "status")
    assert f"not open since the last reload: cannot listen on {taken}: taken by" in status.stdout
    # The address is free now: what was asked for is done by asking again.
    assert reload(gateway).returncode == ExitCode.OK
    greeted(taken)


def test_old_workers_killed_while_they_drain(
    start_gateway: StartGateway, sink: RawSink, running: ExitStack
) -> None:
    """Only what they had in their hands is lost; and as nobody answered it, its client knows."""
    gateway = start_gateway(sink.address)
    with Traffic(gateway.address) as traffic:
        traffic.wait_for_more()
        transfer = in_transfer(gateway, "transfer@client.example", running)
        gateway.signal(signal.SIGHUP)
        wait_for(lambda: generation(gateway) == 2, "generation 2")
        old = [w for w in children(gateway, Role.WORKER, are_ready=False) if w.generation == 1]
        busy = [worker for worker in old if worker.gauges[Gauge.SESSIONS]]
        assert busy
        wait_for(
            lambda: (
                sum(
                    worker.gauges[Gauge.SESSIONS]
                    for worker in children(gateway, Role.WORKER, are_ready=False)
                    if worker.generation == 1
                )
                == 1
            ),
            "the end of all other sessions",
        )
        for worker in old:
            try:
                os.kill(worker.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it had drained
        with pytest.raises((AssertionError, ConnectionResetError)):
            transfer.read_line()
        wait_for_generation(gateway, 2)
        traffic.wait_for_more()
    traffic.check(sink)
    assert "transfer@client.example" not in sink.by_sender()


def test_drain_timeout_ends_an_old_generation(
    start_gateway: StartGateway, sink: RawSink, running: ExitStack
) -> None:
    gateway = start_gateway(sink.address, {"workers": {"drain_timeout": 1}})
    transfer = in_transfer(gateway, "transfer@client.example", running)
    gateway.signal(signal.SIGHUP)
    wait_for_generation(gateway, 2)
    with pytest.raises((AssertionError, ConnectionResetError)):
        transfer.read_line()
    assert sink.by_sender() == {}


def test_a_broken_file_hinders_neither_status_nor_stop(
    start_gateway: StartGateway, sink: RawSink
) -> None:
    gateway = start_gateway(sink.address)
    gateway.configure({"server": {"listen": "nowhere"}, "nonsense": True, "workers": {"count": -1}})
    done = reload(gateway)
    assert done.returncode == ExitCode.CONFIG
    status = command(gateway, "status")
    assert (status.returncode, status.stderr) == (ExitCode.OK, "")
    assert f"test: running, pid {gateway.pid}" in status.stdout
    assert command(gateway, "stop").returncode == ExitCode.OK
    gateway.wait_for_exit()
