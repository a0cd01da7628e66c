"""Every dialog of tests/dialogs on a live gateway, as in memory: same replies, same messages.

Recipients are asked of the next hop, whose script knows no mailbox ``unknown*``.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.corpus import without_trace
from tests.support.dialog import all_dialogs, run_in_memory, run_live
from tests.support.eventlog import events
from tests.support.gateway import Gateway, open_folder
from tests.support.nexthop import NextHop
from tests.support.wait import wait_for

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    path = open_folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def next_hop(folder: Path) -> Iterator[NextHop]:
    with NextHop(folder, "rcpt:unknown*=550 5.1.1 no such mailbox") as hop:
        yield hop


@pytest.fixture(scope="module")
def gateway(folder: Path, next_hop: NextHop) -> Iterator[Gateway]:
    with Gateway(folder, next_hop.address, recipients="callout") as gateway:
        yield gateway


@pytest.mark.parametrize("path", all_dialogs(), ids=lambda path: path.stem)
def test_dialog(path: Path, gateway: Gateway, next_hop: NextHop) -> None:
    host, _, port = gateway.address.rpartition(":")
    filed_before = len(next_hop.filed())
    sessions_before = len(events(gateway, "session"))
    run_live(path, (host, int(port)))
    arrived = [without_trace(content)[1] for content in next_hop.filed()[filed_before:]]
    # The end of DATA needs a line end before it: what came in chunks may have had none.
    sent = run_in_memory(path).messages
    assert arrived == [content and content.removesuffix(b"\r\n") + b"\r\n" for content in sent]
    wait_for(
        lambda: len(events(gateway, "session")) > sessions_before,
        "the session's line in the log",
    )
    ended = events(gateway, "session")[-1]
    assert ended["messages"] == str(len(arrived))
    assert (ended["reason"] == "quit") == ("S: 221 2.0.0 Bye" in path.read_text("utf-8"))
