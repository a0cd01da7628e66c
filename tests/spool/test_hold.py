"""The hold: in, looked at, out, and never more than its limits."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gwsmtp.base.errors import SpoolError
from gwsmtp.spool.files import ItemGone, Spool
from gwsmtp.spool.hold import MESSAGES_A_DAY, Hold, HoldReason, NotReleasable
from gwsmtp.spool.item import Mark, RecipientState, StateLine
from tests.support.spooled import CONTENT, TRACE, Octets, envelope

ATTACK = HoldReason.DICTIONARY_ATTACK
DAY = 86_400.0


@pytest.fixture
def hold(tmp_path: Path) -> Hold:
    (tmp_path / "queue").mkdir()
    (tmp_path / "hold").mkdir()
    return Hold(tmp_path / "hold", Spool(tmp_path / "queue"))


def queue_of(hold: Hold) -> Spool:
    return Spool(hold.root.parent / "queue")


def put(hold: Hold, number: int, reason: str = ATTACK, content: bytes = CONTENT) -> str:
    one = envelope(number, "bad@example.test", received_at=100.0 + number)
    return hold.put(one, Octets(content), TRACE, reason)


def test_what_is_held_is_listed_and_shown(hold: Hold) -> None:
    assert hold.list() == []
    second, first = put(hold, 2), put(hold, 1)
    other = put(hold, 3, HoldReason.EXPIRED)
    assert [one.id for one in hold.list()] == [first, second, other]
    assert [one.id for one in hold.list(ATTACK)] == [first, second]
    with hold.show(other) as item:
        assert (item.envelope.reason, item.envelope.held_at) == ("expired", 103.0)
        assert item.trace + b"".join(item.body.chunks()) == TRACE + CONTENT
    usage = hold.usage()
    assert [usage[reason].items for reason in HoldReason] == [2, 0, 1]
    assert usage[ATTACK].octets >= 2 * len(CONTENT)
    with pytest.raises(ValueError, match="boredom"):
        put(hold, 4, "boredom")


def test_the_same_message_under_two_reasons_has_two_ids(hold: Hold) -> None:
    assert put(hold, 1) != put(hold, 1, HoldReason.EXPIRED)


def test_what_is_released_is_queued_anew(hold: Hold) -> None:
    held = put(hold, 1)
    queued = hold.release(held, 5000.0)
    assert hold.list() == []
    assert queue_of(hold).list() == [queued]
    with queue_of(hold).open(queued) as item:
        assert item.envelope.pending() == [0]
        assert item.envelope.queued_at == 5000.0
    with pytest.raises(ItemGone):
        hold.release(held, 5001.0)


def test_a_release_replaces_nothing_in_the_queue(hold: Hold) -> None:
    queue = queue_of(hold)
    waiting = queue.put(envelope(1), Octets(b"another\r\n"), b"")
    ids = {hold.release(put(hold, 1), 1.0) for _ in range(3)}
    assert len(ids | {waiting}) == 4
    assert sorted(queue.list()) == sorted(ids | {waiting})


def test_from_the_queue_and_back(hold: Hold) -> None:
    queue = queue_of(hold)
    queued = queue.put(envelope(1, "a@x", "b@x"), Octets(CONTENT), TRACE)
    lines = [StateLine(1.0, Mark.DELIVERED, (0,)), StateLine(1.0, Mark.REFUSED, (1,), 0, "h", "5")]
    queue.append_state(queued, lines)
    held = hold.take_in(queued, HoldReason.REFUSED_BY_HOST, 50.0)
    assert queue.list() == []
    (one,) = hold.list(HoldReason.REFUSED_BY_HOST)
    assert (one.id, one.envelope.held_at) == (held, 50.0)
    again = hold.release(held, 60.0)
    with queue.open(again) as item:
        states = [one.state for one in item.envelope.recipients]
        assert states == [RecipientState.DELIVERED, RecipientState.PENDING]


def test_what_is_deleted_is_gone(hold: Hold) -> None:
    held = put(hold, 1)
    hold.delete(held)
    assert hold.list() == []
    for action in (hold.delete, hold.show):
        with pytest.raises(ItemGone, match="no held message"):
            action(held)
    with pytest.raises(ItemGone):
        hold.delete("../../etc/passwd")


def test_damaged_ones_do_not_hide_the_others(hold: Hold) -> None:
    held = put(hold, 1)
    (hold.root / ATTACK / "bcd-9").write_bytes(b"nonsense")
    assert [one.id for one in hold.list()] == [held]


# Headers only --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"Subject: x\r\nTo: y\r\n\r\nsecret\r\n\r\nmore", b"Subject: x\r\nTo: y\r\n\r\n"),
        (b"\r\nno header", b"\r\n"),
        (b"Subject: only\r\n", b"Subject: only\r\n\r\n"),
        (b"", b"\r\n"),
        (b"x" * 200_000, b"x" * 65_536 + b"\r\n"),
    ],
)
def test_only_headers_are_kept(hold: Hold, content: bytes, kept: bytes) -> None:
    held = hold.put_headers_only(envelope(1), Octets(content), TRACE, ATTACK)
    with hold.show(held) as item:
        assert b"".join(item.body.chunks()) == kept
        assert item.envelope.is_headers_only
    with pytest.raises(NotReleasable, match="only its headers"):
        hold.release(held, 1.0)
    assert [one.id for one in hold.list()] == [held]


def test_beyond_its_share_of_the_day_a_client_leaves_headers(hold: Hold) -> None:
    def keep(number: int, at: float = 0.0, size: int = 100) -> bool:
        one = envelope(number, received_at=at)
        with hold.show(hold.keep(one, Octets(b"a: b\r\n\r\n" + b"x" * size), b"", ATTACK)) as item:
            return not item.envelope.is_headers_only

    assert all(keep(n) for n in range(MESSAGES_A_DAY))
    assert not keep(99)
    assert keep(100, DAY)
    assert not keep(101, DAY, 50_000_000)


# Limits --------------------------------------------------------------------------------------


def set_age(hold: Hold, held: str, at: float) -> None:
    (path,) = hold.root.glob(f"*/{held}")
    os.utime(path, (at, at))


def test_old_items_go_and_say_why(hold: Hold) -> None:
    ids = [put(hold, n, list(HoldReason)[n % 3]) for n in range(1, 7)]
    for n, held in enumerate(ids):
        set_age(hold, held, 1000.0 * n)
    removed = hold.expire(6000.0, 3500.0, 0.5, 1000)
    assert [(one.id, one.limit) for one in removed] == [(held, "keep_for") for held in ids[:3]]
    assert {one.id for one in hold.list()} == set(ids[3:])


def test_the_oldest_attacks_make_room_and_others_stay(hold: Hold) -> None:
    other = put(hold, 50, HoldReason.EXPIRED)
    set_age(hold, other, 0.0)
    ids = [put(hold, n) for n in range(1, 7)]
    for n, held in enumerate(ids):
        set_age(hold, held, 1000.0 + n)
    removed = hold.expire(2000.0, DAY, 0.5, 4)
    assert [(one.id, one.limit) for one in removed] == [(held, "max_items") for held in ids[:2]]
    system = os.statvfs(hold.root)
    per_item = hold.usage()[ATTACK].octets // 4
    share = 2.5 * per_item / (system.f_blocks * system.f_frsize)
    removed = hold.expire(2000.0, DAY, share, 4)
    assert [(one.id, one.limit) for one in removed] == [(held, "max_share") for held in ids[2:4]]
    assert {one.id for one in hold.list()} == {other, *ids[4:]}
    assert [one.id for one in hold.expire(2000.0, DAY, 0.0, 4)] == ids[4:]


# A kill at every step ------------------------------------------------------------------------

_STEPS = ("open", "write", "fsync", "rename", "link", "unlink", "close")


def killed_at(step: int, action: Callable[[], object]) -> bool:
    """Runs ``action`` in a process that kills itself before its n-th call into the kernel's file
    functions; False when it came to its end before that.
    """
    pid = os.fork()
    if pid == 0:
        calls = 0

        def count(real: Callable[..., Any]) -> Callable[..., Any]:
            def step_or_die(*args: Any, **options: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls > step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **options)

            return step_or_die

        for name in _STEPS:
            setattr(os, name, count(getattr(os, name)))
        try:
            action()
        except BaseException as e:
            sys.stderr.write(f"{e!r}\n")
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


def test_a_release_that_is_killed_leaves_one_message(hold: Hold) -> None:
    queue, step, places = queue_of(hold), 0, set()
    while True:
        held = put(hold, 1)
        was_killed = killed_at(step, lambda held=held: hold.release(held, 1.0))  # type: ignore[misc]
        found = [*(one.id for one in hold.list()), *queue.list()]
        assert len(found) == 1, f"after step {step}: {found}"
        places.add(bool(queue.list()))
        if not was_killed:
            break
        if not queue.list():
            hold.release(held, 2.0)
        (queued,) = queue.list()
        with queue.open(queued) as item:
            assert b"".join(item.body.chunks()) == CONTENT
        queue.remove(queued)
        step += 1
    assert places == {False, True}
    assert step > 5


def test_a_move_into_the_hold_that_is_killed_leaves_one_message(hold: Hold) -> None:
    queue, step = queue_of(hold), 0
    (hold.root / HoldReason.EXPIRED).mkdir()
    while True:
        queued = queue.put(envelope(1), Octets(CONTENT), TRACE)
        take_in = lambda queued=queued: hold.take_in(queued, HoldReason.EXPIRED, 1.0)  # noqa: E731
        was_killed = killed_at(step, take_in)
        held = [one.id for one in hold.list()]
        assert len(held) + len(queue.list()) == 1, f"after step {step}"
        if not held:
            held = [hold.take_in(queued, HoldReason.EXPIRED, 2.0)]
        hold.delete(held[0])
        if not was_killed:
            break
        step += 1
    assert step > 5


def test_a_put_that_is_killed_leaves_all_or_nothing(hold: Hold) -> None:
    step, counts = 0, []
    (hold.root / ATTACK).mkdir()
    while killed_at(step, lambda: put(hold, 1)):
        held = hold.list()
        counts.append(len(held))
        for one in held:
            with hold.show(one.id) as item:
                assert b"".join(item.body.chunks()) == CONTENT
            hold.delete(one.id)
        assert os.listdir(hold.root / ATTACK) == []
        step += 1
    assert set(counts) == {0, 1}


def test_between_file_systems_it_is_copied(hold: Hold, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.rename

    def elsewhere(old: Any, new: Any) -> None:
        if Path(old).parent != Path(new).parent:
            raise OSError(18, "Invalid cross-device link")
        real(old, new)

    monkeypatch.setattr(os, "rename", elsewhere)
    queued = hold.release(put(hold, 1, content=b"x" * 300_000), 5.0)
    assert hold.list() == []
    with queue_of(hold).open(queued) as item:
        assert item.body.size == 300_000
        assert item.envelope.queued_at == 5.0


def test_a_hold_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    hold = Hold(tmp_path / "none", Spool(tmp_path))
    assert hold.list() == []
    with pytest.raises(SpoolError, match="none"):
        put(hold, 1)
    with pytest.raises(SpoolError, match="none"):
        hold.release("bcd-1", 1.0)
