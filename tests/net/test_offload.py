"""The bounded thread pool."""

import threading

import gevent
import pytest

from gwsmtp.net.offload import Offload, OffloadBusy


def test_runs_in_a_thread_and_passes_results_and_errors() -> None:
    pool = Offload("test", 2, 2)
    main = threading.get_ident()
    assert pool.run(threading.get_ident) != main
    with pytest.raises(ZeroDivisionError):
        pool.run(lambda: 1 / 0)
    pool.close()


def test_beyond_its_bound_it_is_busy() -> None:
    pool = Offload("test", 1, 1)
    gate = threading.Event()
    waiting = [gevent.spawn(pool.run, gate.wait) for _ in range(2)]
    gevent.sleep(0)
    with pytest.raises(OffloadBusy, match="test"):
        pool.run(lambda: None)
    gate.set()
    gevent.joinall(waiting, timeout=5)
    assert pool.run(lambda: "free again") == "free again"
    pool.close()
