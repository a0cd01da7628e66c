"""Binding: all or none, and a refusal that says why."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gwsmtp.base.errors import HaltMaster
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.master.listeners import (
    ListenerSet,
    address_text,
    bind_tcp,
    bind_unix,
    remove_stale,
)
from tests.support.masterproc import until
from tests.support.standin import Endpoint


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_port_zero_takes_a_free_port_and_tells_it(stack: ExitStack) -> None:
    listeners = ListenerSet()
    bound = listeners.prepare([Endpoint(), Endpoint()], must_bind=True).sockets
    for listener in bound:
        stack.enter_context(listener)
        host, _, port = address_text(listener).rpartition(":")
        stack.enter_context(socket.create_connection((host, int(port))))
        assert listener.getblocking() is False
        assert listener.get_inheritable() is False
    assert len({address_text(listener) for listener in bound}) == 2


def test_both_families_may_have_the_same_port(stack: ExitStack) -> None:
    four = stack.enter_context(bind_tcp("0.0.0.0", 0))
    port = four.getsockname()[1]
    six = stack.enter_context(bind_tcp("::", port))
    assert address_text(six) == f"[::]:{port}"


def test_taken_address_names_its_holder_and_frees_the_others(stack: ExitStack) -> None:
    holder = stack.enter_context(bind_tcp("127.0.0.1", 0))
    port = holder.getsockname()[1]
    with bind_tcp("127.0.0.1", 0) as probe:
        free = probe.getsockname()[1]
    with pytest.raises(HaltMaster) as caught:
        ListenerSet().prepare([Endpoint(port=free), Endpoint(port=port)], must_bind=True)
    assert caught.value.exit_code == ExitCode.CANNOT_BIND
    assert caught.value.reason.startswith(f"cannot listen on 127.0.0.1:{port}: taken by ")
    assert f"(pid {os.getpid()})" in caught.value.reason
    stack.enter_context(bind_tcp("127.0.0.1", free))


def test_foreign_address_is_said_to_be_foreign() -> None:
    with pytest.raises(HaltMaster, match="no such address"):
        bind_tcp("192.0.2.1", 0)


def test_unix_socket_replaces_what_a_dead_master_left(tmp_path: Path, stack: ExitStack) -> None:
    path = tmp_path / "e.sock"
    bind_unix(path, None).close()
    assert path.exists()
    listener = stack.enter_context(bind_unix(path, None))
    assert path.stat().st_mode & 0o777 == 0o660
    assert address_text(listener) == str(path)
    stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(path))


def test_unix_socket_of_a_living_master_is_left_alone(tmp_path: Path, stack: ExitStack) -> None:
    path = tmp_path / "e.sock"
    stack.enter_context(bind_unix(path, None))
    with pytest.raises(HaltMaster, match=f"process {os.getpid()} listens on it"):
        bind_unix(path, None)


def test_unix_socket_behind_which_orphans_drain_is_replaced(
    tmp_path: Path, stack: ExitStack
) -> None:
    path = tmp_path / "e.sock"
    program = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()\n"
        "sys.stdin.read() if os.fork() == 0 else os._exit(0)\n"
    )
    orphan = subprocess.Popen([sys.executable, "-c", program, path], stdin=subprocess.PIPE)
    orphan.wait()
    until("the orphan listens", path.exists)
    listener = stack.enter_context(bind_unix(path, None))
    assert address_text(listener) == str(path)
    assert orphan.stdin is not None
    orphan.stdin.close()


def test_too_long_a_path_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(HaltMaster, match="too long"):
        bind_unix(tmp_path / ("x" * 120), None)


def test_rebinding_keeps_equal_ones_opens_new_ones_and_closes_the_rest(stack: ExitStack) -> None:
    ports = free_ports(3)
    listeners = ListenerSet()
    stack.callback(listeners.close)
    first = listeners.prepare([Endpoint(port=ports[0]), Endpoint(port=ports[1])], must_bind=True)
    listeners.commit(first)
    second = listeners.prepare([Endpoint(port=ports[2]), Endpoint(port=ports[1])], must_bind=False)
    assert second.sockets[1] is first.sockets[1]
    assert second.gone == first.sockets[:1]
    socket.create_connection(("127.0.0.1", ports[0])).close()  # still open: nothing is decided
    listeners.commit(second)
    assert listeners.sockets == second.sockets
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ports[0]))
    for port in ports[1:]:
        socket.create_connection(("127.0.0.1", port)).close()


def test_abandoned_change_leaves_what_there_was(stack: ExitStack) -> None:
    ports = free_ports(2)
    listeners = ListenerSet()
    stack.callback(listeners.close)
    listeners.commit(listeners.prepare([Endpoint(port=ports[0])], must_bind=True))
    listeners.abandon(listeners.prepare([Endpoint(port=ports[1])], must_bind=False))
    socket.create_connection(("127.0.0.1", ports[0])).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ports[1]))


def test_refused_address_closes_no_old_one(stack: ExitStack) -> None:
    holder = stack.enter_context(bind_tcp("127.0.0.1", 0))
    old, other = free_ports(2)
    listeners = ListenerSet()
    stack.callback(listeners.close)
    listeners.commit(listeners.prepare([Endpoint(port=old)], must_bind=True))
    taken = Endpoint(port=holder.getsockname()[1])
    rebind = listeners.prepare([taken, Endpoint(port=other)], must_bind=False)
    assert [address[1] for address, _ in rebind.after] == [other, old]
    assert rebind.gone == ()
    listeners.commit(rebind)
    again = listeners.prepare([Endpoint(port=other)], must_bind=False)
    assert [address[1] for address, _ in again.after] == [other]
    listeners.commit(again)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", old))


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    with ExitStack() as held:
        socks = [held.enter_context(bind_tcp("127.0.0.1", 0)) for _ in range(count)]
        return [sock.getsockname()[1] for sock in socks]


def test_sockets_of_dead_masters_are_removed_and_those_in_use_are_not(
    tmp_path: Path, stack: ExitStack
) -> None:
    bind_unix(tmp_path / "x.engine-2.sock", None).close()
    stack.enter_context(bind_unix(tmp_path / "x.engine-3.sock", None))
    bind_unix(tmp_path / "other.sock", None).close()
    (tmp_path / "x.engine-4.sock").write_text("no socket")
    remove_stale(tmp_path, "x.engine-*.sock")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["other.sock", "x.engine-3.sock", "x.engine-4.sock"]
