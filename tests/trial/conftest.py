"""One next hop for all tests of the package: starting it costs more than most tests."""

from collections.abc import Iterator

import pytest

from tests.support.nexthop import NextHop


@pytest.fixture(scope="module")
def shared_hop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NextHop]:
    with NextHop(tmp_path_factory.mktemp("hop")) as hop:
        yield hop


@pytest.fixture
def hop(shared_hop: NextHop) -> Iterator[NextHop]:
    """The next hop, behaving, with an empty journal."""
    shared_hop.misbehave()
    shared_hop.forget()
    yield shared_hop
    assert shared_hop.exit_code is None, "the next hop has died"
    reasons = [entry["reason"] for entry in shared_hop.entries("closed")]
    assert "internal error" not in reasons, shared_hop.log_tail()
