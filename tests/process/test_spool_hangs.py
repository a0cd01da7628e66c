"""A spool on a file system that does not answer: nobody but the one who asks it stands still."""

import os
import signal
from pathlib import Path

import pytest

from gwsmtp.base.clock import SystemClock
from gwsmtp.limits.slots import Gauge, Role
from tests.support.eventlog import events
from tests.support.gateway import Gateway
from tests.support.processes import children, wait_for_child
from tests.support.rawclient import RawClient
from tests.support.rawsink import RawSink
from tests.support.smalldisk import SmallDisk
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

_HANGING = """\
import os, sys

asked = os.statvfs
gate = {gate!r}


def hang(path):
    if os.path.exists(gate):
        open(gate, "rb", 0).read()  # a pipe with a name: until somebody has written and closed it
    return asked(path)


os.statvfs = hang
from gwsmtp.cli.main import main

sys.exit(main())
"""


def is_served(gateway: Gateway) -> bool:
    with RawClient(gateway.address) as client:
        client.greet()
        reply = client.send_message("a@client.example", ["user@example.test"], b"hello\r\n")
        client.quit()
    return reply.code == 250


def looked_s(gateway: Gateway) -> float:
    """How old the queue's word about the spool is."""
    (queue,) = children(gateway, Role.QUEUE)
    return (SystemClock().boot_ms() - queue.gauges[Gauge.SPOOL_LOOKED_MS]) / 1000


def test_the_master_goes_on_while_the_file_system_hangs(folder: Path, sink: RawSink) -> None:
    gate = folder / "gate"
    gateway = Gateway(folder, sink.address)
    gateway.run_code = _HANGING.format(gate=str(gate))
    with gateway:
        wait_for(lambda: looked_s(gateway) < 3, "a word about the spool", 10)
        os.mkfifo(gate, 0o666)
        gate.chmod(0o666)
        gateway.wait_for_log("event=spool_unseen", 20)
        worker = wait_for_child(gateway, Role.WORKER)
        os.kill(worker, signal.SIGKILL)
        wait_for(
            lambda: (
                worker not in [one.pid for one in children(gateway, Role.WORKER)]
                and len(children(gateway, Role.WORKER)) == 2
            ),
            "a successor of the killed worker",
        )
        assert is_served(gateway)
        assert len(events(gateway, "spool_unseen")) == 1
        with gate.open("wb", 0):
            gate.unlink()
        gateway.wait_for_log("event=spool_seen")
        assert looked_s(gateway) < 3
        (queue,) = children(gateway, Role.QUEUE)
        assert queue.gauges[Gauge.SPOOL_FREE] > 0


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk wants root")
def test_a_queue_that_stands_still_says_nothing_and_its_last_word_gets_old(
    folder: Path, sink: RawSink
) -> None:
    """Short of room is pressure; who tells of it is stopped, and nothing is known any more."""
    with SmallDisk(folder / "spool", "nobody", mib=4) as disk:
        settings = {
            "paths": {"spool": str(disk.path)},
            "delivery": {"min_free": 1_000_000},
            "workers": {"hang_timeout": 60},
        }
        with Gateway(folder, sink.address, settings) as gateway:
            disk.leave(1_500_000)
            gateway.wait_for_log("event=pressure level=2 cause=spool")
            (queue,) = children(gateway, Role.QUEUE)
            os.kill(queue.pid, signal.SIGSTOP)
            gateway.wait_for_log("event=spool_unseen", 20)
            os.kill(queue.pid, signal.SIGCONT)
            gateway.wait_for_log("event=spool_seen")
