"""Drafts: in memory, in a file, on a disk that is full."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gwsmtp.base.errors import SpoolError
from gwsmtp.spool.draft import MEMORY_OCTETS, Draft, DraftBudget


def at_once(function: Callable[[], None]) -> None:
    function()


def make(folder: Path, budget: DraftBudget | None = None) -> Draft:
    return Draft(folder, budget or DraftBudget(1 << 30), at_once)


def test_small_draft_stays_in_memory(tmp_path: Path) -> None:
    budget = DraftBudget(1 << 20)
    one = make(tmp_path, budget)
    one.append(b"a" * 1000)
    one.append(b"b" * 1000)
    one.finish()
    assert one.data == b"a" * 1000 + b"b" * 1000
    assert (one.size, budget.used) == (2000, 2000)
    assert b"".join(one.chunks()) == one.data
    with pytest.raises(SpoolError):
        one.open_readonly()
    one.close()
    one.close()
    assert budget.used == 0


def test_empty_draft(tmp_path: Path) -> None:
    one = make(tmp_path)
    one.finish()
    assert (one.data, one.size, list(one.chunks())) == (b"", 0, [b""])


def test_large_draft_moves_into_a_file_without_a_name(tmp_path: Path) -> None:
    budget = DraftBudget(1 << 30)
    one = make(tmp_path, budget)
    content = b"".join(bytes([n % 251]) * 10_000 for n in range(100))
    for start in range(0, len(content), 7_777):
        one.append(content[start : start + 7_777])
    one.finish()
    assert one.data is None
    assert budget.used == 0
    assert list(tmp_path.iterdir()) == []
    fd = one.open_readonly()
    assert os.pread(fd, len(content) + 1, 0) == content
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(fd, b"x")
    os.close(fd)
    assert b"".join(one.chunks()) == content
    one.close()


def test_shared_budget_moves_a_small_draft_into_a_file(tmp_path: Path) -> None:
    budget = DraftBudget(1500)
    first, second = make(tmp_path, budget), make(tmp_path, budget)
    first.append(b"x" * 1000)
    second.append(b"y" * 1000)
    second.finish()
    assert first.data is not None
    assert second.data is None
    assert budget.used == 1000
    first.close()
    second.close()
    assert budget.used == 0


def test_full_disk_is_a_spool_error_and_gives_everything_back(tmp_path: Path) -> None:
    budget = DraftBudget(1 << 30)
    one = Draft(tmp_path / "missing", budget, at_once)
    with pytest.raises(SpoolError, match="missing"):
        one.append(b"x" * (MEMORY_OCTETS + 1))
    one.close()
    assert budget.used == 0


def test_file_system_without_o_tmpfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)  # an old kernel sees only this
    one = make(tmp_path)
    one.append(b"x" * (MEMORY_OCTETS + 1))
    assert list(tmp_path.iterdir()) == []
    assert b"".join(one.chunks()) == b"x" * (MEMORY_OCTETS + 1)
    one.close()


def test_truncated_file_is_noticed(tmp_path: Path) -> None:
    one = make(tmp_path)
    one.append(b"x" * (MEMORY_OCTETS + 1))
    os.truncate(f"/proc/self/fd/{one._fd}", 10)
    with pytest.raises(SpoolError, match="ends at"):
        list(one.chunks())
    one.close()
