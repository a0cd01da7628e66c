"""A table with commands to look into it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tablehouse import TableHouse


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[TableHouse]:
    """A table without a gateway; see ``TableHouse``."""
    yield TableHouse(tmp_path)
