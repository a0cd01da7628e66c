"""What most tests of sessions need: a next hop, and a house whose sessions deliver to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.delivery.hops import Hop, hop
from tests.session.rig import Rig, rig


@pytest.fixture
def next_hop(tmp_path: Path) -> Iterator[Hop]:
    folder = tmp_path / "hop"
    folder.mkdir()
    with hop(folder) as one:
        yield one


@pytest.fixture
def house(tmp_path: Path, next_hop: Hop) -> Iterator[Rig]:
    with rig(tmp_path, next_hop.host) as one:
        yield one
