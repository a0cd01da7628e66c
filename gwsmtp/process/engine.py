"""The embedded scan engine's process: ``engine.server.EngineServer`` on the master's unix socket.

It outlives the workers: the master drains it last, and an orphan waits for them (``Child``).
"""

from gwsmtp.engine.server import EngineServer
from gwsmtp.process.child import Child
from gwsmtp.process.context import ChildContext


def main(context: ChildContext, child: Child) -> None:
    """Serves until drained; blocks its greenlet only."""
    (listener,) = context.listeners
    server = EngineServer(listener)
    child.on_drain(server.drain)
    child.on_stop(server.stop)
    server.start()
    child.ready()
    child.wait()
    server.stop()
