"""The built-in next hop's process: ``trial.server.TrialServer``, for trying gwsmtp out only.

Started by ``gwsmtp run --trial`` on the loopback address that the configuration names as the first
hosted domain's SMTP host. Files what it receives into ``context.maildir``.
"""

import logging

from gwsmtp.process.child import Child
from gwsmtp.process.context import ChildContext
from gwsmtp.trial.server import TrialServer

log = logging.getLogger(__name__)


def main(context: ChildContext, child: Child) -> None:
    """Serves until told to end. There is nothing to drain: by then no worker lives."""
    (listener,) = context.listeners
    if context.maildir is None:
        raise ValueError("the trial next hop needs a maildir")
    server = TrialServer(listener, maildir=context.maildir)
    child.on_drain(server.stop)
    child.on_stop(server.stop)
    server.start()
    log.warning("event=trial_next_hop maildir=%s note=%r", context.maildir, "for trying out only")
    child.ready()
    child.wait()
