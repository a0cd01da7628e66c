"""``explain``, ``table`` and ``top`` beside a running gateway, and beside what a killed one left.

As root the commands run as the service user, who may read and write the table.
"""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from typing import Any

import pytest

from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.limits.slots import Role
from tests.process.conftest import StartGateway
from tests.support.gateway import Gateway
from tests.support.processes import children, live
from tests.support.rawclient import RawClient, RawReply
from tests.support.running import REPOSITORY
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

# A ban without the delays on the way to it.
OFFENCES = {"delay_at": 40, "restrict_at": 40}
SETTINGS = {
    "dos_protection": {
        "enabled": True,
        "offences": OFFENCES,
        "limits": {"concurrency": {"limit": 2, "mode": "enforce"}},
    }
}
CLIENT = "127.0.0.2"
OTHER = "127.0.0.3"
PENALTY = r"refused by rule penalty: (5\d\d|600) s left"


def gwsmtp(gateway: Gateway, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs a command as the service user."""
    code = "from gwsmtp.cli.main import main; main()"
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        who = {"user": "nobody", "group": "nogroup", "extra_groups": []}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments, "-c", str(gateway.config_path)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        **who,
    )


def done(gateway: Gateway, *arguments: str) -> str:
    """What a command that must succeed prints."""
    result = gwsmtp(gateway, *arguments)
    assert (result.returncode, result.stderr) == (ExitCode.OK, ""), result
    return result.stdout


def greeting(gateway: Gateway, source: str) -> RawReply:
    """The first reply to a connection that goes at once."""
    with RawClient(gateway.address, source) as client:
        reply = client.read_reply()
    wait_for(lambda: live(gateway)[0] == 0, "the end of the connection")
    return reply


def ban(gateway: Gateway, source: str) -> RawReply:
    """Offends until ``source`` is refused; that refusal."""
    for _ in range(2):
        with RawClient(gateway.address, source) as client:
            client.read_reply()
            client.send(b"GET / HTTP/1.1\r\n")
            client.read_to_end()
        wait_for(lambda: live(gateway)[0] == 0, "the end of the connection")
    refusal = greeting(gateway, source)
    assert refusal.code == 421, refusal
    return refusal


def reference(reply: RawReply) -> str:
    """The session id at the end of a refusal."""
    found = re.search(r"\[([b-z]{10})\]$", reply.text)
    assert found, reply
    return found[1]


def test_the_reference_of_a_refusal_is_explained_also_when_the_master_is_gone(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway("127.0.0.1:1", SETTINGS)
    session = reference(ban(gateway, CLIENT))
    workers = {f"worker-{child.number}" for child in children(gateway, Role.WORKER)}
    text = done(gateway, "explain", session)
    assert re.search(PENALTY, text)
    assert any(f"client {CLIENT}, plain listener, {name}, session {session}" in text
               for name in workers), text  # fmt: skip
    of_client = json.loads(done(gateway, "explain", CLIENT, "--json"))
    assert of_client["client"]["penalty_s"] > 500
    assert of_client["client"]["strikes"] == 1
    assert "penalty" in {one["reason"] for one in of_client["decisions"]}

    gateway.signal(signal.SIGKILL)
    gateway.wait_for_exit(-signal.SIGKILL, children_deadline_s=20)
    assert re.search(PENALTY, done(gateway, "explain", session))
    shown = done(gateway, "top", "--once", "--interval", "0.1")
    assert shown.startswith("test: not running, this is what it left behind")
    assert CLIENT in shown
    assert CLIENT in done(gateway, "table", "top")


def test_a_decision_in_table_and_log_is_told_once(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway("127.0.0.1:1", SETTINGS)
    gateway.configure({"logging": {"to": str(gateway.log_path)}})  # only for who reads the file
    gateway.log_path.chmod(0o644)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(RawClient(gateway.address, CLIENT)).read_reply()
        with RawClient(gateway.address, CLIENT) as third:
            session = reference(third.read_reply())
        gateway.wait_for_log(f"sid={session} ")
        (told,) = json.loads(done(gateway, "explain", session, "--json"))["decisions"]
        assert (told["reason"], told["counter"], told["threshold"]) == ("concurrency", 2, 2)
        assert told["source"] == "table"


def test_unban_allow_and_shadow_act_on_running_workers_without_a_reload(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway("127.0.0.1:1", SETTINGS)
    before = {child.pid for child in children(gateway, Role.WORKER)}
    ban(gateway, CLIENT)
    ban(gateway, OTHER)
    assert f"event=unban client={CLIENT} known=yes" in done(gateway, "table", "unban", CLIENT)
    assert greeting(gateway, CLIENT).code == 220
    assert greeting(gateway, OTHER).code == 421

    done(gateway, "table", "allow", f"{OTHER}/32", "--ttl", "300")
    assert greeting(gateway, OTHER).code == 220
    done(gateway, "table", "allow", f"{OTHER}/32", "--remove")
    assert greeting(gateway, OTHER).code == 421

    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(RawClient(gateway.address, CLIENT)).read_reply()

        def third() -> int:
            with RawClient(gateway.address, CLIENT) as client:
                code = client.read_reply().code
            wait_for(lambda: live(gateway)[0] == 2, "the end of the third connection")
            return code

        assert third() == 421
        done(gateway, "table", "shadow", "concurrency", "on")
        assert third() == 220
        found = json.loads(done(gateway, "explain", CLIENT, "--json"))["decisions"][-1]
        assert (found["reason"], found["action"]) == ("concurrency", "would-refuse")
        done(gateway, "table", "shadow", "concurrency", "off")
        assert third() == 421
    assert {child.pid for child in children(gateway, Role.WORKER)} == before


def test_top_shows_what_the_gateway_does(start_gateway: StartGateway) -> None:
    gateway = start_gateway("127.0.0.1:1", SETTINGS)
    ban(gateway, OTHER)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(RawClient(gateway.address, CLIENT)).read_reply()
        result = done(gateway, "top", "--once", "--interval", "0.2")
        assert "\x1b" not in result
        assert result.startswith(f"test: running, pid {gateway.pid}, generation 1")
        shown = json.loads(done(gateway, "top", "--json", "--interval", "0.2"))
    assert shown["listeners"] == [{"name": "plain", "live": 2, "most": 256}]
    assert sum(worker["sessions"] for worker in shown["workers"]) == 2
    pids = {child.pid for child in children(gateway, Role.WORKER)}
    assert {worker["pid"] for worker in shown["workers"]} == pids
    assert {worker["state"] for worker in shown["workers"]} == {"ready"}
    assert all(worker["heartbeat_s"] < 10 for worker in shown["workers"])
    assert [engine["state"] for engine in shown["engines"]] == ["ready"]
    worst = {client["client"]: client for client in shown["worst"]}
    assert list(worst) == [OTHER, CLIENT]
    assert worst[CLIENT]["live"] == 2
    assert shown["rates"]["decisions"]["penalty"] == 0  # none between the two readings
