"""Tests of the benchmarks run the sources: compiling them would take longer than all of them."""

import pytest


@pytest.fixture(autouse=True)
def _sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GWSMTP_BENCH_PURE", "1")
