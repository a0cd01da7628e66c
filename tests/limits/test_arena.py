"""The table's file: made whole, trusted only when it is ours and of this boot."""

import errno
import os
from pathlib import Path

import pytest

from gwsmtp.base.errors import TableError
from gwsmtp.limits.arena import create_table, open_table
from gwsmtp.limits.layout import FILE_SIZE, WORD, Head, Header, slot_head
from gwsmtp.limits.slots import read_slots, sum_totals

OTHER_BOOT = bytes(range(16))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "demo.table"


def poke(path: Path, word: int, value: int) -> None:
    with path.open("r+b") as file:
        file.seek(word * WORD)
        file.write(value.to_bytes(WORD, "little"))


def test_new_table_is_empty_allocated_and_private_to_the_group(path: Path) -> None:
    table = create_table(path, now_ms=77)
    assert table.created_ms == 77
    assert table.leader == (0, 0)
    assert table.set_aside == ""
    assert read_slots(table) == []
    assert not any(sum_totals(table).values())
    status = path.stat()
    assert status.st_size == FILE_SIZE
    assert status.st_blocks * 512 >= FILE_SIZE
    assert status.st_mode & 0o777 == 0o660
    assert [found.name for found in path.parent.iterdir()] == ["demo.table"]
    table.close()
    table.close()


def test_zeroed_is_empty(path: Path) -> None:
    table = create_table(path, now_ms=1)
    for word in range(slot_head(0), FILE_SIZE // WORD):
        assert table.words[word] == 0
    table.close()


def test_second_start_goes_on_with_the_same_table(path: Path) -> None:
    first = create_table(path, now_ms=1)
    first.lead((42, 99), 3)
    second = create_table(path, now_ms=2)
    assert second.leader == (42, 99)
    assert second.generation == 3
    assert second.created_ms == 1
    second.words[600] = 5
    assert first.words[600] == 5
    assert first.fd != second.fd
    first.close()
    second.close()


def test_readonly_table_cannot_be_written(path: Path) -> None:
    create_table(path, now_ms=1).close()
    table = open_table(path, readonly=True)
    with pytest.raises(TypeError):
        table.words[600] = 1
    table.close()


def test_missing_table_is_told_apart_from_a_bad_one(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_table(path)


@pytest.mark.parametrize(
    ("word", "value", "reason"),
    [
        (Header.MAGIC, 0, "not a table"),
        (Header.LAYOUT_VERSION, 99, "version 99"),
        (Header.LAYOUT_HASH, 1, "other layout"),
        (Header.FILE_SIZE, 4096, "damaged"),
        (Header.BOOT_ID_LOW, 1, "last boot"),
        (Header.BOOT_ID_HIGH, 1, "last boot"),
    ],
)
def test_bad_header_is_set_aside_and_an_empty_table_made(
    path: Path, word: int, value: int, reason: str
) -> None:
    create_table(path, now_ms=1).close()
    poke(path, slot_head(0) + Head.STATE, 2)
    poke(path, word, value)
    with pytest.raises(TableError, match=reason):
        open_table(path)
    table = create_table(path, now_ms=5)
    assert reason in table.set_aside
    assert "demo.table.bad-5" in table.set_aside
    assert (path.parent / "demo.table.bad-5").stat().st_size == FILE_SIZE
    assert read_slots(table) == []
    table.close()


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 4096, b"x" * FILE_SIZE])
def test_foreign_file_is_set_aside(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    table = create_table(path, now_ms=5)
    assert table.set_aside
    assert (path.parent / "demo.table.bad-5").read_bytes() == content
    table.close()


def test_truncated_and_lengthened_tables_are_damaged(path: Path) -> None:
    for size in (FILE_SIZE - 1, FILE_SIZE + 4096):
        create_table(path, now_ms=1).close()
        os.truncate(path, size)
        with pytest.raises(TableError, match="damaged"):
            open_table(path)


@pytest.mark.parametrize("kind", ["directory", "link", "fifo"])
def test_what_is_no_file_is_set_aside_unopened(path: Path, kind: str) -> None:
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("/dev/null")
    else:
        os.mkfifo(path)
    table = create_table(path, now_ms=5)
    assert table.set_aside
    table.close()


def test_only_the_newest_three_bad_files_are_kept(path: Path) -> None:
    for now_ms in range(10, 16):
        path.write_bytes(b"junk")
        create_table(path, now_ms=now_ms).close()
        os.utime(path.parent / f"demo.table.bad-{now_ms}", ns=(now_ms, now_ms))
    names = sorted(found.name for found in path.parent.glob("*.bad-*"))
    assert names == ["demo.table.bad-13", "demo.table.bad-14", "demo.table.bad-15"]


def test_table_of_another_boot_is_opened_with_that_boot_only(path: Path) -> None:
    create_table(path, now_ms=1, boot_id=OTHER_BOOT).close()
    open_table(path, boot_id=OTHER_BOOT).close()
    with pytest.raises(TableError, match="last boot"):
        open_table(path)


def test_full_disk_is_one_clear_line_and_leaves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(TableError, match=r"cannot be created with .* No space left"):
        create_table(path, now_ms=1)
    assert list(path.parent.iterdir()) == []


def test_missing_directory_is_an_error_of_the_table(path: Path) -> None:
    with pytest.raises(TableError, match="cannot be created"):
        create_table(path.parent / "none" / "x.table", now_ms=1)
