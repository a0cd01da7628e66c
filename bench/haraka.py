"""Haraka, fetched by scripts/haraka, as a system to stand beside: two nodes
with the plugin ``queue/smtp_forward`` to the same next hop, nothing queued, nothing scanned.

Its configuration is the one it comes with, but for a few files. It logs from ``notice`` up, a few
lines a session, since its default ``info`` would make it slower.
"""

import shutil
from pathlib import Path

from bench.programs import (
    ROOT,
    Address,
    Program,
    ProgramFailed,
    Sink,
    System,
    free_port,
    wait_for_greeting,
)

NAME = "haraka"
NODES = 2  # as many as the gateway has workers
_PACKAGE = ROOT / ".tools" / "haraka" / "node_modules" / "Haraka"

CONFIGURATION = {
    "smtp.ini": "listen=127.0.0.1:{own_port}\nnodes={nodes}\n",
    "smtp_forward.ini": "host={host}\nport={port}\n",
    "plugins": "rcpt_to.in_host_list\nqueue/smtp_forward\n",
    "host_list": "example.test\n",
    "me": "gw.example.test\n",
    "log.ini": "[main]\nlevel=notice\n",
}


def why_not() -> str:
    """Why Haraka cannot be run here; empty when it can."""
    if not _PACKAGE.exists() or shutil.which("node") is None:
        return "no Haraka: scripts/haraka fetches it where node (20 or newer) and npm are"
    return ""


def start(sink: Sink, folder: Path) -> System:
    """Starts it; its configuration and its queue, which stays empty, are in ``folder/haraka``."""
    if reason := why_not():
        raise ProgramFailed(reason)
    home = folder / NAME
    shutil.copytree(_PACKAGE / "config", home / "config")
    (home / "queue").mkdir()
    address: Address = ("127.0.0.1", free_port())
    values = {"own_port": address[1], "nodes": NODES}
    for name, text in CONFIGURATION.items():
        filled = text.format(host=sink.address[0], port=sink.address[1], **values)
        (home / "config" / name).write_text(filled)
    program = Program(NAME, ["node", str(_PACKAGE / "bin" / "haraka"), "-c", str(home)], folder)
    try:
        wait_for_greeting(program, address, program.output_path)
    except BaseException:
        program.end()
        raise
    return System(NAME, address, program)
