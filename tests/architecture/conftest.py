"""The real tree, parsed once, and small trees made up to break a rule."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture.house import House

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def house() -> House:
    return House(ROOT)


@pytest.fixture
def plant(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """Writes ``{path: text}`` below a fresh root and returns the root."""

    def write(files: dict[str, str]) -> Path:
        for path, text in files.items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path

    return write
