"""bench.cpu: process clocks and process trees."""

import os
import time

import pytest

from bench.cpu import Reading, TreeChanged, machine_busy_seconds, process_cpu_seconds, read_tree


def test_process_clock_agrees_with_our_own() -> None:
    own = time.process_time()
    assert process_cpu_seconds(os.getpid()) == pytest.approx(own, abs=0.05)


def test_no_such_process_is_said() -> None:
    with pytest.raises(ProcessLookupError):
        process_cpu_seconds(2**22 + 1)  # above the highest possible pid


def test_tree_contains_its_root() -> None:
    assert os.getpid() in read_tree(os.getpid()).clocks


def test_spent_keeps_the_engine_apart() -> None:
    before = Reading({1: (False, 1.0), 2: (False, 2.0), 3: (True, 5.0)})
    later = Reading({1: (False, 1.5), 2: (False, 4.0), 3: (True, 5.25)})
    used = before.spent(later)
    assert used.gateway == pytest.approx(2.5)
    assert used.engine == pytest.approx(0.25)


def test_a_process_that_ended_spoils_the_figures() -> None:
    before = Reading({1: (False, 1.0), 2: (False, 2.0)})
    with pytest.raises(TreeChanged, match=r"ended \[2\], new \[9\]"):
        before.spent(Reading({1: (False, 1.0), 9: (False, 0.0)}))


def test_a_tree_that_grows_counts_the_new_from_birth_but_loses_none() -> None:
    before = Reading({1: (False, 1.0)})
    used = before.spent(Reading({1: (False, 1.5), 9: (False, 0.25)}), grows=True)
    assert used.gateway == pytest.approx(0.75)
    with pytest.raises(TreeChanged, match=r"ended \[1\], new \[9\]"):
        before.spent(Reading({9: (False, 0.25)}), grows=True)


def test_machine_has_been_busy() -> None:
    assert machine_busy_seconds() > 0
