"""The embedded engine on a unix socket, and the checks of tests/scan for leaks."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from gevent import socket

from gwsmtp.engine.server import EngineServer
from tests.scan.conftest import no_leaks, pool, stack

__all__ = ["no_leaks", "pool", "stack"]


@pytest.fixture
def server(stack: ExitStack, tmp_path: Path) -> Callable[..., tuple[EngineServer, str]]:
    """Starts an EngineServer; gives it and its address."""

    def start(*, tcp: bool = False, **settings: Any) -> tuple[EngineServer, str]:
        if tcp:
            listener = socket.socket(socket.AF_INET)
            listener.bind(("127.0.0.1", 0))
            address = "127.0.0.1:%d" % listener.getsockname()[1]  # noqa: UP031
        else:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(tmp_path / "engine"))
            address = f"unix:{tmp_path}/engine"
        listener.listen(64)
        made = EngineServer(listener, **settings)

        def stop() -> None:
            made.stop()
            made.join()
            listener.close()

        stack.callback(stop)
        made.start()
        return made, address

    return start
