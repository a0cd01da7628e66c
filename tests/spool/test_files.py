"""Items on disk: there whole or not at all."""

import errno
import fcntl
import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gwsmtp.base.errors import SpoolError
from gwsmtp.spool.draft import Draft, DraftBudget
from gwsmtp.spool.files import ItemGone, Spool
from gwsmtp.spool.item import ItemDamaged, Mark, RecipientState, StateLine
from tests.support.spooled import CONTENT, TRACE, Octets, envelope

LARGE = b"0123456789abcde\n" * 60_000


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


def draft(folder: Path, *pieces: bytes) -> Draft:
    one = Draft(folder, DraftBudget(1 << 30), lambda function: function())
    for piece in pieces:
        one.append(piece)
    one.finish()
    return one


@pytest.mark.parametrize("content", [b"", CONTENT, LARGE], ids=["empty", "small", "large"])
def test_a_message_comes_back_as_it_was_put(spool: Spool, content: bytes) -> None:
    body = draft(spool.root, content)
    item_id = spool.put(envelope(7, "a@x", "b@x"), body, TRACE)
    body.close()
    assert item_id == "bcdfg-7"
    assert spool.list() == [item_id]
    with spool.open(item_id) as item:
        assert item.envelope.sender == "s7@client.example"
        assert [one.address for one in item.envelope.recipients] == ["a@x", "b@x"]
        assert item.trace == TRACE
        assert item.body.size == len(content)
        assert b"".join(item.body.chunks()) == content
        assert b"".join(item.body.chunks()) == content, "it can be read again"
        assert item.body.data == (content if len(content) < 131072 else None)
    assert os.stat(spool.root / item_id).st_mode & 0o777 == 0o600


def test_a_name_that_is_taken_gets_a_number(spool: Spool) -> None:
    ids = [spool.put(envelope(1), Octets(b"%d" % n), b"") for n in range(3)]
    assert ids == ["bcdfg-1", "bcdfg-1-2", "bcdfg-1-3"]
    with spool.open(ids[1]) as item:
        assert item.body.data == b"1"


def test_states_are_appended_and_survive_a_torn_line(spool: Spool) -> None:
    item_id = spool.put(envelope(1, "a@x", "b@x"), Octets(CONTENT), TRACE)
    spool.append_state(item_id, [StateLine(5.0, Mark.DELIVERED, (0,))])
    with (spool.root / item_id).open("ab") as file:
        file.write(b'deadbeef {"at": 6, "ma')
    spool.append_state(item_id, [StateLine(7.0, Mark.REFUSED, (1,), 0, "hop", "550 no")])
    with spool.open(item_id) as item:
        states = [one.state for one in item.envelope.recipients]
        assert states == [RecipientState.DELIVERED, RecipientState.REFUSED]
        assert b"".join(item.body.chunks()) == CONTENT


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 10**9))
def test_a_file_cut_off_is_damaged_or_has_lost_lines_only(tmp_path: Path, cut: int) -> None:
    spool = Spool(tmp_path)
    item_id = spool.put(envelope(1, "a@x"), Octets(CONTENT), TRACE)
    whole = (spool.root / item_id).stat().st_size
    spool.append_state(item_id, [StateLine(5.0, Mark.DELIVERED, (0,))])
    path = spool.root / item_id
    size = path.stat().st_size
    cut %= size + 1
    os.truncate(path, cut)
    try:
        with spool.open(item_id) as item:
            assert cut >= whole
            assert bool(item.envelope.pending()) == (cut < size)
            assert b"".join(item.body.chunks()) == CONTENT
    except ItemDamaged:
        assert cut < whole
    spool.remove(item_id)
    assert spool.list() == []


def test_what_is_no_item_is_set_aside(spool: Spool) -> None:
    (spool.root / "bcd-1").write_bytes(b"nonsense")
    (spool.root / ".lock").touch()
    with pytest.raises(ItemDamaged):
        spool.open("bcd-1")
    assert spool.set_aside("bcd-1").name == "bcd-1.bad"
    assert spool.list() == []


@pytest.mark.parametrize("item_id", ["../x", "bcd-1.bad", "", ".lock", "bcd", "bcd-1/../bcd-1"])
def test_only_ids_are_opened(spool: Spool, item_id: str) -> None:
    (spool.root / "bcd-1.bad").touch()
    with pytest.raises(ItemGone):
        spool.open(item_id)


def test_a_link_is_not_followed(spool: Spool) -> None:
    (spool.root / "bcd-1").symlink_to("/etc/passwd")
    with pytest.raises(SpoolError):
        spool.open("bcd-1")


def test_what_is_gone_says_so(spool: Spool) -> None:
    with pytest.raises(ItemGone):
        spool.open("bcd-1")
    with pytest.raises(ItemGone):
        spool.append_state("bcd-1", [])
    spool.remove("bcd-1")


# A disk that does not take it ----------------------------------------------------------------


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process can grow beyond 64 KiB: what a full disk does, in the middle."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
def test_a_message_that_finds_no_room_leaves_nothing(spool: Spool) -> None:
    with pytest.raises(SpoolError, match="cannot write into"):
        spool.put(envelope(1), Octets(b"x" * 65536), TRACE)
    assert os.listdir(spool.root) == []


@pytest.mark.usefixtures("small_files")
def test_a_line_that_finds_no_room_leaves_what_was(spool: Spool) -> None:
    item_id = spool.put(envelope(1, "a@x"), Octets(b"x" * 65000), b"")
    path = spool.root / item_id
    before = path.read_bytes()
    lines = [StateLine(5.0, Mark.DEFERRED, (0,), 6.0, "hop", "x" * 300)] * 3
    with pytest.raises(SpoolError, match="cannot append"):
        spool.append_state(item_id, lines)
    assert path.read_bytes() == before


@pytest.mark.parametrize("at", ["fsync", "link", "open", "write"])
def test_every_step_that_fails_leaves_nothing(
    spool: Spool, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, at, fail)
        with pytest.raises(SpoolError, match="No space left"):
            spool.put(envelope(1), Octets(CONTENT), TRACE)
    assert os.listdir(spool.root) == []


def test_a_directory_that_cannot_be_synced_leaves_nothing(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def second_fails(fd: int) -> None:
        calls.append(fd)
        if len(calls) == 2:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", second_fails)
    with pytest.raises(SpoolError, match="Input/output"):
        spool.put(envelope(1), Octets(CONTENT), TRACE)
    assert os.listdir(spool.root) == []


def test_a_body_that_is_shorter_than_it_says_leaves_nothing(spool: Spool) -> None:
    body = Octets(CONTENT)
    body.size += 1
    with pytest.raises(SpoolError):
        spool.put(envelope(1), body, TRACE)
    assert os.listdir(spool.root) == []


def test_it_is_synced_before_it_has_a_name(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []

    def noted(name: str) -> None:
        real = getattr(os, name)

        def step(*args: Any, **options: Any) -> None:
            steps.append(name)
            real(*args, **options)

        monkeypatch.setattr(os, name, step)

    noted("fsync")
    noted("link")
    spool.put(envelope(1), Octets(CONTENT), TRACE)
    assert steps == ["fsync", "link", "fsync"]


# A file system without O_TMPFILE --------------------------------------------------------------


@pytest.fixture
def no_tmpfile(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def without(path: Any, flags: int, *args: Any, **kw: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return real(path, flags, *args, **kw)

    monkeypatch.setattr(os, "open", without)


@pytest.mark.usefixtures("no_tmpfile")
def test_an_old_file_system_does_as_well(spool: Spool) -> None:
    item_id = spool.put(envelope(1), Octets(CONTENT), TRACE)
    assert os.listdir(spool.root) == [item_id]
    with spool.open(item_id) as item:
        assert item.body.data == CONTENT


def test_what_a_dead_writer_left_is_swept_and_nothing_else(spool: Spool) -> None:
    item_id = spool.put(envelope(1), Octets(CONTENT), TRACE)
    (spool.root / ".new-dead").touch()
    (spool.root / ".new-alive").touch()
    other = Spool(spool.root)
    with (spool.root / ".new-alive").open() as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        assert other.sweep() == 1
    assert sorted(os.listdir(spool.root)) == [".new-alive", item_id]


# One process at a time, many threads --------------------------------------------------------


def test_one_may_claim_it(spool: Spool) -> None:
    first = spool.claim()
    assert first is not None
    assert spool.claim() is None
    os.close(first)
    second = spool.claim()
    assert second is not None
    os.close(second)


def test_threads_put_at_the_same_time(spool: Spool) -> None:
    ids: list[str] = []

    def put() -> None:
        ids.extend(spool.put(envelope(1), Octets(CONTENT), TRACE) for _ in range(20))

    threads = [threading.Thread(target=put) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 100
    assert sorted(spool.list()) == sorted(ids)
