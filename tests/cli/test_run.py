"""``run``, ``status`` and ``stop`` on a real gateway with its trial next hop."""

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gwsmtp.base.endpoint import Endpoint
from gwsmtp.base.errors import ConfigError
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.cli.run import first_message, trial_hop
from gwsmtp.config.organizations import Domain, Organization
from tests.support.wait import wait_for

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-c", "from gwsmtp.cli.main import main; main()"]


def organization(*hosts: str, below: tuple[Organization, ...] = ()) -> Organization:
    domains = [
        Domain.model_validate({"name": f"d{n}.test", "smtp_host": host})
        for n, host in enumerate(hosts)
    ]
    return Organization(name="root", domains=tuple(domains), children=below)


def test_trial_stands_in_for_the_first_hosted_domain() -> None:
    tree = (organization(below=(organization("127.0.0.1:2600", "192.0.2.1"),)),)
    assert trial_hop(Path("f"), tree) == (("127.0.0.1", 2600), "d0.test")
    assert trial_hop(Path("f"), (organization("[::1]:2600"),)) == (("::1", 2600), "d0.test")
    assert trial_hop(Path("f"), (organization("localhost:26"),))[0] == ("127.0.0.1", 26)


@pytest.mark.parametrize("host", ["192.0.2.1:25", "mail.example.test", "0.0.0.0:25"])
def test_trial_never_stands_in_for_a_real_host(host: str) -> None:
    with pytest.raises(ConfigError, match="must be a loopback address"):
        trial_hop(Path("f"), (organization(host),))


def test_trial_needs_a_domain() -> None:
    with pytest.raises(ConfigError, match="needs a hosted domain"):
        trial_hop(Path("f"), ())


def test_first_message_goes_to_an_address_that_can_be_reached() -> None:
    assert "SMTP('127.0.0.1', 25)" in first_message("0.0.0.0:25", "a.test")
    assert "SMTP('::1', 25)" in first_message("[::]:25", "a.test")
    assert "\n" not in first_message("127.0.0.1:2525", "a.test")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def gwsmtp(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    inbound, hop = free_ports(2)
    path = tmp_path / "gwsmtp.yaml"
    path.write_text(
        f"""
interface: {{name: demo}}
server: {{listen: ["127.0.0.1:{inbound}"]}}
protocol: {{host_domain: gw.example.test}}
organizations:
  - name: root
    domains:
      - {{name: example.test, smtp_host: "127.0.0.1:{hop}", recipients: callout}}
workers: {{count: 1, user: ""}}
paths: {{base: ./v}}
"""
    )
    return path


@pytest.fixture
def running(config: Path) -> Iterator["subprocess.Popen[str]"]:
    read_fd, write_fd = os.pipe()
    out = config.with_suffix(".out")
    with out.open("w") as stdout, config.with_suffix(".err").open("w") as stderr:
        process = subprocess.Popen(
            [*PROGRAM, "run", "-c", str(config), "--trial", "--ready-fd", str(write_fd)],
            cwd=ROOT,
            pass_fds=[write_fd],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
        )
    os.close(write_fd)
    readable, _, _ = select.select([read_fd], [], [], 30)
    line = os.read(read_fd, 4096) if readable else b""
    os.close(read_fd)
    try:
        assert line, config.with_suffix(".err").read_text()
        assert json.loads(line)["pid"] == process.pid
        yield process
    finally:
        if process.poll() is None:
            process.kill()  # its children notice
            process.wait()


@pytest.mark.full
def test_printed_command_sends_a_message_that_is_there(
    config: Path, running: "subprocess.Popen[str]"
) -> None:
    out = config.with_suffix(".out")
    wait_for(lambda: "It will be a file in" in out.read_text(), "the welcome")
    text = out.read_text()
    assert "FOR TRYING OUT ONLY" in text
    (line,) = [line.strip() for line in text.splitlines() if "smtplib" in line]
    maildir = Path(text.split("It will be a file in ")[1].strip())
    subprocess.run(["/bin/sh", "-c", line.replace("python3", sys.executable)], check=True)
    (message,) = maildir.iterdir()
    assert b"A first message." in message.read_bytes()
    assert maildir == config.parent / "v/trial-maildir/new"

    status = gwsmtp("status", "-c", config, "--json")
    assert status.returncode == ExitCode.OK, status.stderr
    found = json.loads(status.stdout)
    assert found["running"]
    assert found["pid"] == running.pid
    roles = sorted(process["role"] for process in found["processes"])
    assert roles == ["engine", "queue", "trial", "worker"]
    assert {process["generation"] for process in found["processes"]} == {found["generation"]}
    assert {process["state"] for process in found["processes"]} == {"ready"}
    assert found["totals"]["messages_accepted"] == 1
    shown = gwsmtp("status", "-c", config)
    assert f"demo: running, pid {running.pid}, listens on 127.0.0.1:" in shown.stdout
    assert "worker-0" in shown.stdout
    assert "generation 1, 0 reloads" in shown.stdout

    again = gwsmtp("run", "-c", config)
    assert again.returncode == ExitCode.ALREADY_RUNNING
    assert again.stderr.startswith(f"gwsmtp: already running (pid {running.pid},")
    assert again.stderr.count("\n") == 1

    stopped = gwsmtp("stop", "-c", config)
    assert (stopped.returncode, stopped.stderr) == (ExitCode.OK, "")
    assert running.wait(10) == ExitCode.OK
    after = gwsmtp("status", "-c", config, "--json")
    assert after.returncode == ExitCode.UNAVAILABLE
    assert json.loads(after.stdout)["totals"]["messages_accepted"] == 1
    nothing = gwsmtp("stop", "-c", config)
    assert nothing.returncode == ExitCode.OK
    assert "not running" in nothing.stderr


@pytest.mark.full
def test_stop_has_a_deadline_and_now_does_not_wait(
    config: Path, running: "subprocess.Popen[str]"
) -> None:
    os.kill(running.pid, 19)  # SIGSTOP: it cannot hear us
    late = gwsmtp("stop", "-c", config, "--timeout", "0.2")
    assert late.returncode == ExitCode.FAILED
    assert late.stderr == f"gwsmtp: process {running.pid} still runs after 0.2 s\n"
    os.kill(running.pid, 18)
    assert gwsmtp("stop", "-c", config, "--now").returncode == ExitCode.OK
    assert running.wait(10) == ExitCode.OK


def test_status_of_what_never_ran(config: Path) -> None:
    done = gwsmtp("status", "-c", config)
    assert done.returncode == ExitCode.UNAVAILABLE
    assert done.stdout == "demo: not running\n"


def test_endpoint_type_is_the_configurations() -> None:
    (domain,) = organization("127.0.0.1:2600").domains
    assert domain.smtp_hosts[0].endpoint == Endpoint("127.0.0.1", 2600)
