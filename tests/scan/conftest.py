"""Every test here leaves no descriptor, no watcher's socket and no file behind."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from gevent import get_hub

from gwsmtp.scan.connection import Timings
from gwsmtp.scan.pool import ScanPool
from tests.scan.support import (
    QUICK,
    Conversation,
    FakeEngine,
    make_pool,
    open_descriptors,
    wait_for,
)


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Compares the open descriptors before and after."""
    get_hub().threadpool.apply(int)  # what the hub makes once is not a leak
    before = open_descriptors()
    yield

    def leaked() -> dict[str, str]:
        now = open_descriptors()
        return {number: what for number, what in now.items() if before.get(number) != what}

    wait_for(lambda: not leaked(), f"closing of {leaked()}")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What a test opens is closed at its end, newest first."""
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def engine(stack: ExitStack, tmp_path: Path) -> Callable[..., str]:
    """Starts a FakeEngine with a script; gives its address."""
    count = iter(range(100))

    def start(script: Callable[[Conversation], None], *, tcp: bool = False) -> str:
        path = None if tcp else tmp_path / f"engine{next(count)}"
        fake = FakeEngine(path, script)
        stack.callback(fake.close)
        return fake.address

    return start


@pytest.fixture
def pool(stack: ExitStack) -> Callable[..., ScanPool]:
    """Starts a pool over addresses."""

    def start(*addresses: str, deadline_s: float = 10.0, timings: Timings = QUICK) -> ScanPool:
        made = make_pool(*addresses, deadline_s=deadline_s, timings=timings)
        stack.callback(made.close)
        return made

    return start
