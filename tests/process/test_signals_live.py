"""Every signal of the master's table, on live traffic: a row without a test here fails."""

import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from gwsmtp.limits.slots import Role
from gwsmtp.master.signals import SIGNALS, SignalRow
from tests.process.conftest import StartGateway
from tests.support.gateway import Gateway
from tests.support.processes import children, generation, wait_for_generation
from tests.support.rawclient import RawClient
from tests.support.rawsink import RawSink
from tests.support.traffic import Traffic, waits_in_the_backlog
from tests.support.wait import wait_for

pytestmark = pytest.mark.full


class Scene:
    """A gateway with traffic through it, and a session that was there before."""

    def __init__(self, gateway: Gateway, traffic: Traffic, session: RawClient) -> None:
        self.gateway = gateway
        self.traffic = traffic
        self.session = session

    def session_lives(self) -> bool:
        return self.session.command("NOOP").code == 250

    def session_was_told_to_come_again(self) -> None:
        assert self.session.read_reply().raw.startswith(b"421 4.3.2 ")
        assert self.session.read_to_end() == b""


def hup(scene: Scene) -> bool:
    """A new generation serves; the old session is ended in order."""
    before = generation(scene.gateway)
    scene.gateway.signal(signal.SIGHUP)
    scene.session_was_told_to_come_again()
    wait_for_generation(scene.gateway, before + 1)
    scene.traffic.wait_for_more()
    return False


def term(scene: Scene) -> bool:
    """Everybody may finish; then it has ended."""
    scene.gateway.signal(signal.SIGTERM)
    scene.session_was_told_to_come_again()
    scene.gateway.wait_for_exit(0)
    return True


def stop(signum: signal.Signals) -> Callable[[Scene], bool]:
    """It has ended at once, whoever is in the middle of something."""

    def live(scene: Scene) -> bool:
        scene.session.command("MAIL FROM:<open@client.example>")
        scene.gateway.signal(signum)
        scene.gateway.wait_for_exit(0, deadline_s=8)
        return True

    return live


def usr1(scene: Scene) -> bool:
    """The log goes on in a file of the old name; every message is in one of them, once."""
    folder = scene.gateway.folder
    rotations = 5
    for n in range(rotations):
        (folder / "gw.log").rename(folder / f"gw.log.{n}")
        scene.gateway.signal(signal.SIGUSR1)
        wait_for((folder / "gw.log").exists, "a new log file")
        scene.traffic.wait_for_more()
        for child in children(scene.gateway, Role.WORKER):
            wait_for(partial(writes_to, child.pid, folder / "gw.log"), "a worker writing to it")
    assert scene.session_lives()
    return False


def writes_to(pid: int, path: Path) -> bool:
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            if os.readlink(fd) == str(path):
                return True
    return False


def usr2(scene: Scene) -> bool:
    """Nothing but a line."""
    scene.gateway.signal(signal.SIGUSR2)
    wait_for(lambda: "event=upgrade_unknown" in log_of(scene.gateway), "the line")
    assert scene.session_lives()
    return False


def ttin(scene: Scene) -> bool:
    """One worker more, until a reload."""
    scene.gateway.signal(signal.SIGTTIN)
    wait_for(lambda: len(children(scene.gateway, Role.WORKER)) == 3, "a third worker")
    assert scene.session_lives()
    scene.traffic.wait_for_more()
    before = generation(scene.gateway)
    scene.gateway.signal(signal.SIGHUP)
    assert len(wait_for_generation(scene.gateway, before + 1)) == 2
    return False


def ttou(scene: Scene) -> bool:
    """One worker less, never none; its sessions end in order, those of the other stay."""
    for _ in range(3):
        scene.gateway.signal(signal.SIGTTOU)
        scene.traffic.wait_for_more(3)
    wait_for(
        lambda: len(children(scene.gateway, Role.WORKER, are_ready=False)) == 1, "one worker left"
    )
    scene.traffic.wait_for_more()
    return False


def winch(scene: Scene) -> bool:
    """Nobody is greeted, sessions go on; HUP greets those who waited."""
    scene.gateway.signal(signal.SIGWINCH)
    wait_for(lambda: "event=holding" in log_of(scene.gateway), "the hold")
    waiting = wait_for(lambda: not_greeted(scene.gateway), "a client that is not greeted")
    assert scene.session_lives()
    scene.gateway.signal(signal.SIGHUP)
    assert waiting is not None
    assert waiting.recv(3) == b"220"
    waiting.close()
    scene.traffic.wait_for_more()
    return False


def not_greeted(gateway: Gateway) -> socket.socket | None:
    try:
        return waits_in_the_backlog(gateway.address)
    except AssertionError:
        return None  # the workers have not heard of it yet


LIVE: dict[signal.Signals, Callable[[Scene], bool]] = {
    signal.SIGHUP: hup,
    signal.SIGTERM: term,
    signal.SIGINT: stop(signal.SIGINT),
    signal.SIGQUIT: stop(signal.SIGQUIT),
    signal.SIGUSR1: usr1,
    signal.SIGUSR2: usr2,
    signal.SIGTTIN: ttin,
    signal.SIGTTOU: ttou,
    signal.SIGWINCH: winch,
}
"""What each does to a Scene; True when the gateway has ended."""


def log_of(gateway: Gateway) -> str:
    return (gateway.folder / "gw.log").read_text()


@pytest.mark.parametrize("row", SIGNALS, ids=lambda row: row.name)
def test_signal(
    row: SignalRow, start_gateway: StartGateway, sink: RawSink, running: ExitStack, folder: Path
) -> None:
    gateway = start_gateway(sink.address, {"logging": {"to": "gw.log"}})
    session = running.enter_context(RawClient(gateway.address))
    session.greet()
    with Traffic(gateway.address) as traffic:
        traffic.wait_for_more()
        has_ended = LIVE[row.signum](Scene(gateway, traffic, session))
    stops = row.handler == "handle_stop"
    traffic.check(sink, may_drop=has_ended)
    if not has_ended:
        assert sorted(log_lines(folder, gateway)) == sorted(f"<{one}>" for one in traffic.heard)
    if has_ended and not stops:
        # Before nobody accepted any more, nobody was dropped in the middle.
        assert set(sink.by_sender()) == set(traffic.accepted)


def log_lines(folder: Path, gateway: Gateway) -> list[str]:
    """The senders of all messages in all log files, once the gateway has written them."""
    gateway.stop()
    found = []
    for path in folder.glob("gw.log*"):
        lines = path.read_text().splitlines()
        assert all(" level=" in line for line in lines), "a line was cut"
        found += [line.split(" from=")[1].split()[0] for line in lines if " event=message " in line]
    return found
