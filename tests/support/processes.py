"""The processes and totals of a real gateway, out of its shared table, while it runs or after."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gwsmtp.base import procid
from gwsmtp.limits.admission import live_connections
from gwsmtp.limits.arena import Table, open_table
from gwsmtp.limits.slots import Role, SlotState, SlotView, Total, read_slots, sum_totals
from tests.support.gateway import Gateway
from tests.support.wait import wait_for

_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp


@contextmanager
def table_of(gateway: Gateway) -> Iterator[Table]:
    """The gateway's table, read-only; also when its processes are gone."""
    table = open_table(gateway.base / "run" / "test.table", readonly=True)
    try:
        yield table
    finally:
        table.close()


def live(gateway: Gateway) -> tuple[int, int]:
    """Live connections of the plain listener and of the SSL listener, by the table's counts."""
    with table_of(gateway) as table:
        return live_connections(table)


def children(gateway: Gateway, role: Role, *, are_ready: bool = True) -> list[SlotView]:
    """The living children of one role, those that are ready or all."""
    with table_of(gateway) as table:
        return [
            view
            for view in read_slots(table)
            if view.role is role
            and (view.state is SlotState.READY or not are_ready)
            and procid.is_alive(view.pid, view.start_ticks)
        ]


def wait_for_child(gateway: Gateway, role: Role, *not_pids: int, deadline_s: float = 20) -> int:
    """The pid of a ready child of ``role`` that is none of ``not_pids``."""
    return wait_for(
        lambda: next((c.pid for c in children(gateway, role) if c.pid not in not_pids), 0),
        lambda: f"a ready {role.name} besides {not_pids}\n{gateway.log_tail()}",
        deadline_s,
    )


def wait_for_closed_port(gateway: Gateway) -> None:
    """Until no process listens on the gateway's address any more: the kernel is asked, for who
    connects may be taken by a worker that has not heard of the drain yet.
    """
    host, _, port = gateway.address.rpartition(":")
    ours = f"{socket.inet_aton(host)[::-1].hex().upper()}:{int(port):04X}"

    def is_closed() -> bool:
        sockets = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
        return all(line.split()[1:4:2] != [ours, _LISTEN] for line in sockets)

    wait_for(is_closed, f"the end of all listening on {gateway.address}")


def generation(gateway: Gateway) -> int:
    """The number of the serving generation."""
    with table_of(gateway) as table:
        return table.generation


def wait_for_generation(gateway: Gateway, number: int, deadline_s: float = 30) -> list[SlotView]:
    """The workers once those of generation ``number`` serve and no others live."""
    wait_for(
        lambda: (
            generation(gateway) == number
            and {w.generation for w in children(gateway, Role.WORKER, are_ready=False)} == {number}
        ),
        lambda: (
            f"generation {number} alone; it is {generation(gateway)}: "
            f"{children(gateway, Role.WORKER, are_ready=False)}\n{gateway.log_tail()}"
        ),
        deadline_s,
    )
    return children(gateway, Role.WORKER)


@contextmanager
def killed_at_sight(gateway: Gateway, role: Role) -> Iterator[list[int]]:
    """Inside, each child of ``role`` is killed as soon as it is seen; the list holds their pids."""
    killed: list[int] = []
    is_over = threading.Event()

    def kill() -> None:
        while not is_over.wait(0.005):
            for child in children(gateway, role, are_ready=False):
                if child.pid not in killed:
                    killed.append(child.pid)
                    os.kill(child.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        wait_for(lambda: killed, f"a {role.name} to kill")
        yield killed
    finally:
        is_over.set()
        killer.join()


def totals(gateway: Gateway) -> dict[Total, int]:
    """All totals since the table began."""
    with table_of(gateway) as table:
        return dict(sum_totals(table))
