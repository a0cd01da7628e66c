"""bench/throughput for real: smtp-source through the yardstick to smtp-sink."""

import json
import signal
import smtplib
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bench import runs
from bench.programs import ROOT, Sink, start_bare_proxy, start_sink_alone
from bench.runs import Load, RunFailed, running, send
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

THROUGHPUT = [sys.executable, str(ROOT / "bench" / "throughput")]
EICAR = r"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


def test_smallest_run_reports_both_systems(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    options = ["--pairs", "1", "--messages", "100", "--systems", "smtp-sink,bare_proxy"]
    done = subprocess.run(
        [*THROUGHPUT, *options, "--json", str(file)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "new round 1 bare_proxy" in done.stdout  # plain lines: this is no terminal
    document = json.loads(file.read_text())
    assert [(run["mode"], run["messages"]) for run in document["runs"]] == [
        ("new", 100),
        ("new", 100),
        ("persistent", 200),
        ("persistent", 200),
    ]
    figures = document["summary"]["new"]["bare_proxy"]
    assert figures["gateway_us"]["median"] > 10
    assert figures["engine_us"]["median"] > 1
    assert 0 < figures["rate_to_smtp_sink"]["median"] < 5


def test_interrupt_ends_every_program() -> None:
    bench = subprocess.Popen(
        [*THROUGHPUT, "--modes", "new", "--messages", "100000", "--systems", "bare_proxy"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        process = psutil.Process(bench.pid)

        def is_loading() -> bool:
            return any(child.name() == "smtp-source" for child in process.children())

        wait_for(is_loading, "the load did not start")
        family = process.children(recursive=True)
        assert len(family) >= 6  # next hop, load, yardstick's master, two workers, engine
        bench.send_signal(signal.SIGINT)
        assert bench.wait(30) != 0
        _, alive = psutil.wait_procs(family, timeout=10)
        assert alive == []
    finally:
        bench.kill()
        bench.wait()


def test_messages_that_do_not_arrive_are_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "ARRIVAL_SECONDS", 0.2)
    with running({"smtp-sink": start_sink_alone}) as fleet:
        assert fleet.sink is not None
        folder = fleet.folder / "other"
        folder.mkdir()
        other = Sink(folder)
        try:
            elsewhere = start_sink_alone(other, folder)
            with pytest.raises(RunFailed, match="counted 0"):
                send(fleet.sink, elsewhere, Load("new", 20), lambda _done: None)
        finally:
            other.program.end()


def test_a_system_that_is_gone_is_no_figure() -> None:
    with running({"bare_proxy": start_bare_proxy}) as fleet:
        assert fleet.sink is not None
        system = fleet.systems["bare_proxy"]
        system.program.end()
        with pytest.raises(RunFailed, match="smtp-source exit 1"):
            send(fleet.sink, system, Load("new", 20), lambda _done: None)


def test_yardstick_scans_and_relays() -> None:
    with running({"bare_proxy": start_bare_proxy}) as fleet:
        assert fleet.sink is not None
        with smtplib.SMTP(*fleet.systems["bare_proxy"].address, timeout=20) as client:
            client.sendmail("a@client.example", ["b@example.test"], "Subject: x\r\n\r\nhello\r\n")
            with pytest.raises(smtplib.SMTPDataError) as refused:
                client.sendmail("a@client.example", ["b@example.test"], f"\r\n{EICAR}\r\n")
        assert refused.value.smtp_code == 554
        assert fleet.sink.count() == 1
