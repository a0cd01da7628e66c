"""The log's descriptor: where it leads, and that reopening changes nothing else."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gwsmtp.base.clock import SystemClock
from gwsmtp.base.errors import HaltMaster
from gwsmtp.master.logfile import LogFile
from tests.support.standin import StandIn, stand_in


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def config(tmp_path: Path) -> StandIn:
    config = stand_in(tmp_path)
    config.paths.log.mkdir()
    config.logging.to = "gw.log"
    return config


def test_reopened_file_is_written_under_the_same_descriptor(config: StandIn) -> None:
    logfile = LogFile(SystemClock())
    logfile.open(config)
    fd, path = logfile.fd, config.paths.log / "gw.log"
    os.write(fd, b"one\n")
    path.rename(path.with_suffix(".1"))
    assert logfile.reopen()
    assert logfile.fd == fd
    os.write(fd, b"two\n")
    assert path.with_suffix(".1").read_text() == "one\n"
    assert path.read_text() == "two\n"
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_what_cannot_be_reopened_stays(config: StandIn) -> None:
    logfile = LogFile(SystemClock())
    logfile.open(config)
    path = config.paths.log / "gw.log"
    path.rename(path.with_suffix(".1"))
    path.mkdir()
    assert not logfile.reopen()
    os.write(logfile.fd, b"still\n")
    assert "still\n" in path.with_suffix(".1").read_text()
    os.close(logfile.fd)


def test_another_file_is_opened_or_nothing_changes(config: StandIn) -> None:
    logfile = LogFile(SystemClock())
    logfile.open(config)
    first = logfile.fd
    config.logging.to = "missing/gw.log"
    with pytest.raises(HaltMaster, match="cannot write the log"):
        logfile.open(config)
    assert logfile.fd == first
    config.logging.to = "other.log"
    logfile.open(config)
    os.write(logfile.fd, b"here\n")
    assert (config.paths.log / "other.log").read_text() == "here\n"
    config.logging.to = "stderr"
    logfile.open(config)
    assert logfile.fd == 2
    assert not logfile.is_file
    assert not logfile.reopen()


def test_fifo_that_nobody_reads_is_an_error_and_no_wait(config: StandIn) -> None:
    os.mkfifo(config.paths.log / "gw.log")
    with pytest.raises(HaltMaster, match=r"gw\.log"):
        LogFile(SystemClock()).open(config)
