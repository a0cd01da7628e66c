"""What tests of kills share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.limits.killhouse import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "test.table")
    yield house
    house.table.close()
