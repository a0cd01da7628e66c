"""Fixtures that start real gateways and next hops; whatever they started is ended with the test."""

import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import Gateway, open_folder
from tests.support.nexthop import NextHop
from tests.support.rawsink import RawSink
from tests.support.recorder import Recorder

LOG_TAIL_LINES = 40

StartGateway = Callable[..., Gateway]
StartNextHop = Callable[..., NextHop]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Puts the end of every log in the test's folder into the report of a failure."""
    report = yield
    folder = getattr(item, "funcargs", {}).get("folder")
    if report.failed and folder is not None:
        for log in sorted(folder.glob("*.log")):
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            report.sections.append((f"end of {log.name}", "\n".join(lines[-LOG_TAIL_LINES:])))
    return report


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that workers of another user can reach."""
    path = open_folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def running() -> Iterator[ExitStack]:
    """Everything entered here is left in reverse order when the test ends."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def start_gateway(folder: Path, running: ExitStack) -> StartGateway:
    """``start_gateway(next_hop, settings, **options)`` as in Gateway, ready to use."""

    def start(next_hop: str, settings: dict[str, Any] | None = None, **options: Any) -> Gateway:
        return running.enter_context(Gateway(folder, next_hop, settings, **options))

    return start


@pytest.fixture
def start_next_hop(folder: Path, running: ExitStack) -> StartNextHop:
    """``start_next_hop(*rules, name=...)`` as in NextHop, ready to use."""

    def start(*rules: str, name: str = "nexthop") -> NextHop:
        return running.enter_context(NextHop(folder, *rules, name=name))

    return start


@pytest.fixture
def sink(running: ExitStack) -> RawSink:
    """A raw sink that keeps what it receives."""
    return running.enter_context(RawSink())


@pytest.fixture
def start_recorder(running: ExitStack) -> Callable[[str], Recorder]:
    """``start_recorder(target)`` records everything on its way to ``target``."""
    return lambda target: running.enter_context(Recorder(target))
