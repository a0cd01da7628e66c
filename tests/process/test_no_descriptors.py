"""A worker that may open nothing more: what needs a descriptor is put off, what has one goes on.

The limit is lowered while the worker runs, to what it has open.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from gwsmtp.limits.slots import Role
from tests.support.eventlog import Line, events
from tests.support.gateway import Gateway, open_folder
from tests.support.processes import wait_for_child
from tests.support.rawclient import RawClient
from tests.support.rawsink import RawSink
from tests.support.unread import wait_until_read
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

TO = ["user@example.test"]
LINE = b"x" * 1022 + b"\r\n"
SMALL, LARGE = LINE * 10, LINE * 1024
CAUSE = "Too many open files"


@pytest.fixture(scope="module")
def sink() -> Iterator[RawSink]:
    with RawSink() as one:
        yield one


@pytest.fixture(scope="module")
def gateway(sink: RawSink) -> Iterator[Gateway]:
    folder = open_folder()
    try:
        with Gateway(folder, sink.address, {"workers": {"count": 1}}) as one:
            yield one
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def client(gateway: Gateway, sink: RawSink) -> Iterator[RawClient]:
    """Greeted, and its worker has a connection to the next hop; afterwards all is well again."""
    with RawClient(gateway.address) as one:
        one.greet()
        assert one.send_message("first@client.example", TO, SMALL).code == 250
        yield one
        assert one.send_message("last@client.example", TO, LARGE).code == 250
        assert one.quit().code == 221
    assert sink.messages[-1].sender == "last@client.example"
    errors = [line for line in gateway.log_lines() if "level=ERROR" in line]
    assert not [line for line in errors if "event=spool-error" not in line], errors


def allow(pid: int, descriptors: str) -> None:
    """Sets the soft limit; asked as the worker's user, who may, with util-linux's prlimit."""
    is_root = os.geteuid() == 0
    subprocess.run(
        ["prlimit", "--pid", str(pid), f"--nofile={descriptors}:"],
        user="nobody" if is_root else None,
        group="nogroup" if is_root else None,
        check=True,
    )


@contextmanager
def nothing_to_open(gateway: Gateway) -> Iterator[Callable[[], None]]:
    """Inside, every descriptor that the worker may have is taken; what it gives ends that."""
    pid = wait_for_child(gateway, Role.WORKER)
    limits = Path(f"/proc/{pid}/limits").read_text("ascii")
    (soft,) = re.findall(r"Max open files +(\d+)", limits)
    taken = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
    allow(pid, str(next(number for number in count() if number not in taken)))
    try:
        yield lambda: allow(pid, soft)
    finally:
        allow(pid, soft)


def expect_put_off(gateway: Gateway, sink: RawSink, sender: str) -> Line:
    (line,) = wait_for(
        lambda: [m for m in events(gateway, "message") if m["from"] == f"<{sender}>"],
        f"the line of {sender}'s message in the log",
    )
    assert line["outcome"] == "deferred"
    assert CAUSE in line["cause"]
    assert sender not in sink.by_sender()
    return line


def test_for_the_draft(gateway: Gateway, sink: RawSink, client: RawClient) -> None:
    sender = "draft@client.example"
    client.begin_data(sender, TO)
    with nothing_to_open(gateway):
        client.send(LARGE)
        wait_until_read(client)
        client.send(b".\r\n")
        assert client.read_reply().raw.startswith(b"452 4.3.1 ")
        assert client.send_message("small@client.example", TO, SMALL).code == 250
    expect_put_off(gateway, sink, sender)


def test_for_the_engine_to_read_the_draft(
    gateway: Gateway, sink: RawSink, client: RawClient
) -> None:
    """No verdict: SETTINGS row 5, and the session goes on."""
    sender = "scan@client.example"
    client.begin_data(sender, TO)
    client.send(LARGE)
    wait_until_read(client)
    with nothing_to_open(gateway):
        client.send(b".\r\n")
        assert client.read_reply().raw.startswith(b"451 4.3.0 ")
    assert expect_put_off(gateway, sink, sender)["verdict"] == "none"


def test_for_another_connection_to_the_next_hop(
    gateway: Gateway, sink: RawSink, client: RawClient
) -> None:
    """The only one there is waits for its answer."""
    sender, before = "hop@client.example", len(sink.messages)
    sink.hold()
    with RawClient(gateway.address) as other:
        other.greet()
        other.begin_data("other@client.example", TO)
        other.send(SMALL + b".\r\n")
        sink.wait_for_messages(before + 1)
        with nothing_to_open(gateway):
            reply = client.send_message(sender, TO, SMALL)
            assert reply.raw.startswith(b"451 4.3.0 ")
            sink.let_go()
            assert other.read_reply().code == 250
    expect_put_off(gateway, sink, sender)


def pauses(gateway: Gateway) -> list[Line]:
    return events(gateway, "accept-paused")


def test_for_another_client(gateway: Gateway, client: RawClient) -> None:
    """It waits until there is room, and is served then."""
    before = len(pauses(gateway))
    with nothing_to_open(gateway) as end_it, RawClient(gateway.address) as other:
        wait_for(lambda: len(pauses(gateway)) > before, "the pause of accepting in the log")
        assert CAUSE in pauses(gateway)[-1]["cause"]
        assert client.command("NOOP").code == 250
        end_it()
        other.greet()
        assert other.quit().code == 221
