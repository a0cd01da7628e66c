"""Shared tables without a gateway: one of a file that has no name any more."""

import functools
import random
import tempfile
from pathlib import Path

from gwsmtp.base.audit import Audit
from gwsmtp.base.seams import Clock
from gwsmtp.limits.arena import Table, create_table
from gwsmtp.limits.dictionary import Dictionary
from gwsmtp.limits.guards import Guard
from gwsmtp.limits.identity import Placement
from gwsmtp.limits.policy import Policy
from gwsmtp.limits.rangelock import RangeLock
from gwsmtp.limits.slots import SlotWriter
from gwsmtp.session.defence import Defence

SECRET = bytes(range(16))


def never_sleep(seconds: float) -> None:
    """Nobody else holds a test's lock."""
    raise AssertionError(f"the lock was held by another for {seconds} s")


def make_table() -> Table:
    """An empty table; the caller closes it."""
    with tempfile.TemporaryDirectory() as folder:
        return create_table(Path(folder) / "test.table", now_ms=1, secret=SECRET)


@functools.cache
def scratch_table() -> Table:
    """The one table of all tests that need one and count nothing in it."""
    return make_table()


def make_defence(table: Table, audit: Audit, clock: Clock, policy: Policy | None = None) -> Defence:
    """What sessions are given of the defence, in slot 0 of ``table``."""
    policy = policy or Policy()
    lock = RangeLock(table, 0, never_sleep)
    return Defence(
        policy,
        Guard(table, lock, policy),
        Dictionary(table, lock, policy),
        Placement(table),
        table,
        SlotWriter(table, 0),
        audit,
        clock,
        random.Random(1),
    )
