"""The forked child that reads the configuration: whatever it does, the master only learns of it."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from gwsmtp.master.loader import Loaded, Loader
from gwsmtp.process.context import Settings
from tests.support.standin import stand_in
from tests.support.wait import wait_for


def result_of(load: Callable[[Settings], Loaded], base: Path, later_ms: int = 0) -> Loaded:
    lifeline, held = os.pipe()
    loader = Loader(load, lifeline)
    assert not loader.is_running
    loader.start(stand_in(base), 2, 0)

    def ended() -> Loaded | None:
        loader.watch(later_ms)
        pid, status = os.waitpid(-1, os.WNOHANG)
        return loader.take_result({pid: os.waitstatus_to_exitcode(status)} if pid else {})

    found = wait_for(ended, "the loader's result")
    assert found is not None
    os.close(lifeline)
    os.close(held)
    return found


def test_result_comes_back_as_it_was(tmp_path: Path) -> None:
    def load(old: Settings) -> Loaded:
        return Loaded(old, warnings=["w"], changed=["a.b"], kept=["c.d"])

    found = result_of(load, tmp_path)
    assert found == Loaded(stand_in(tmp_path), warnings=["w"], changed=["a.b"], kept=["c.d"])


def dies(old: Settings) -> Loaded:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def crashes(old: Settings) -> Loaded:
    raise RuntimeError("a bug")


def leaves_halves(old: Settings) -> Loaded:
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            if "memfd" in os.readlink(f"/proc/self/fd/{fd}"):
                os.write(fd, b"nonsense")
        except OSError:
            pass
    os._exit(0)


def is_something_else(old: Settings) -> Loaded:
    return {"config": 1}  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("load", "problem"),
    [
        (dies, "the reading process ended with -9"),
        (crashes, "the reading process ended with 1"),
        (leaves_halves, "the reading process left nonsense: UnpicklingError"),
        (is_something_else, "the reading process left nonsense: TypeError"),
    ],
)
def test_whatever_goes_wrong_is_a_problem_and_no_configuration(
    load: Callable[[Settings], Loaded], problem: str, tmp_path: Path
) -> None:
    assert result_of(load, tmp_path) == Loaded(problems=[problem])


def test_who_takes_too_long_is_ended(tmp_path: Path) -> None:
    def hangs(old: Settings) -> Loaded:
        signal.pause()
        return Loaded()

    found = result_of(hangs, tmp_path, later_ms=121_000)
    assert found.problems == ["the reading process ended with -9"]


def test_it_ends_with_the_master(tmp_path: Path) -> None:
    """And so holds no writing end of the lifeline: children notice the master's death too."""

    def hangs(old: Settings) -> Loaded:
        signal.pause()
        return Loaded()

    lifeline, held = os.pipe()
    loader = Loader(hangs, lifeline)
    loader.start(stand_in(tmp_path), 2, 0)
    os.close(held)
    pid, status = os.waitpid(-1, 0)
    assert os.WTERMSIG(status) == signal.SIGIO or os.WEXITSTATUS(status) == 1
    found = loader.take_result({pid: os.waitstatus_to_exitcode(status)})
    assert found is not None
    assert found.config is None
    os.close(lifeline)


def test_killed_one_leaves_no_result(tmp_path: Path) -> None:
    lifeline, held = os.pipe()
    loader = Loader(Loaded, lifeline)
    others = psutil.Process().children()  # of other tests
    loader.start(stand_in(tmp_path), 2, 0)
    assert len(psutil.Process().children()) == len(others) + 1
    loader.kill()
    assert not loader.is_running
    assert not set(psutil.Process().children()) - set(others)
    os.close(lifeline)
    os.close(held)
