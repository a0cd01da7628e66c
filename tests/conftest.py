"""What every test shares: options of the scripts, outside programs, repeatable randomness.

``--no-skips`` (scripts/test without --quick): a skipped test is a failure, for what CI does not
run nobody knows to work. An expected failure stays one.
"""

import random
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.pki import Authority, Files

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gwsmtp")
    group.addoption("--no-skips", action="store_true", help="a skipped test is a failure")
    group.addoption("--soak-minutes", type=float, default=1.0, help="time for all soak rounds")
    group.addoption(
        "--soak-inputs", type=int, default=10_000_000, help="inputs of all fuzz targets together"
    )
    group.addoption("--soak-seed", type=int, default=1, help="seed of the soak rounds")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        _forbid_skip(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:
        _forbid_skip(report, collector.config)
    return report


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config) -> None:
    if config.getoption("--no-skips"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason} (with --no-skips a skipped test is a failure)"


@pytest.fixture(scope="session")
def tool() -> Callable[[str], Path]:
    """Finds an outside program that scripts/tools unpacked: ``tool("swaks")`` is its path."""

    def find(name: str) -> Path:
        path = ROOT / ".tools" / "bin" / name
        assert path.exists(), f"{name} is not there; run scripts/tools"
        return path

    return find


def _fixtures(item: pytest.Item) -> list[str]:
    names: list[str] = getattr(item, "fixturenames", [])
    return names


@pytest.fixture
def soak_rng(request: pytest.FixtureRequest) -> random.Random:
    """The generator of one soak test: the same for the same ``--soak-seed`` and test."""
    return random.Random(f"{request.config.getoption('--soak-seed')} {request.node.nodeid}")


@pytest.fixture
def soak_seconds(request: pytest.FixtureRequest) -> float:
    """The share of ``--soak-minutes`` that one soak test may use; those that do not ask for it are
    bounded otherwise.
    """
    tests = sum(1 for item in request.session.items if "soak_seconds" in _fixtures(item))
    return float(request.config.getoption("--soak-minutes")) * 60 / max(tests, 1)


@pytest.fixture(scope="module")
def authority() -> "Authority":
    """A certificate authority of the tests' own."""
    from tests.support.pki import Authority  # only who needs one pays for its import

    return Authority()


@pytest.fixture
def files(tmp_path: Path, authority: "Authority") -> "Files":
    """A certificate for gw.example.test, its chain, key and root, in a folder of the test."""
    return authority.issue(tmp_path, "gw")
