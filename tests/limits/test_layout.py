"""The layout's frozen part, pinned: a test that fails here means a table other versions misread."""

import pytest

from gwsmtp.limits import layout
from gwsmtp.limits.slots import Gauge, Role, SlotState, Total


def test_slots_stand_on_pages_of_their_own_for_ever() -> None:
    assert [layout.slot_head(index) for index in (0, 1, 63)] == [512, 1024, 32768]
    assert layout.slot_gauges(0) == 512 + 16
    assert layout.slot_totals(0) == 512 + 48
    assert layout.slot_totals(0) + layout.TOTAL_COUNT <= layout.slot_head(1)


def test_words_of_header_and_head_are_frozen() -> None:
    assert list(layout.words_of(layout.Header).items()) == [
        ("MAGIC", 0),
        ("LAYOUT_VERSION", 1),
        ("LAYOUT_HASH", 2),
        ("FILE_SIZE", 3),
        ("BOOT_ID_LOW", 4),
        ("BOOT_ID_HIGH", 5),
        ("GENERATION", 6),
        ("LEADER_PID", 7),
        ("LEADER_TICKS", 8),
        ("CREATED_MS", 9),
    ]
    assert list(layout.words_of(layout.Head)) == [
        "STATE",
        "PID",
        "TICKS",
        "OWNER_PID",
        "OWNER_TICKS",
        "GENERATION",
        "ROLE",
        "NUMBER",
        "CLAIMED_MS",
        "READY_MS",
        "HEARTBEAT_MS",
    ]
    assert max(layout.words_of(layout.Head).values()) < layout.HEAD_WORDS


def test_numbers_that_stand_in_the_table_only_grow_at_the_end() -> None:
    assert [gauge.value for gauge in Gauge] == list(range(len(Gauge)))
    assert [total.value for total in Total] == list(range(len(Total)))
    assert (Total.SESSIONS, Total.MESSAGES_ACCEPTED, Total.DELIVERIES) == (0, 7, 18)
    assert (Gauge.SESSIONS, Gauge.DRAFT_OCTETS, Gauge.LOOP_LAG_US) == (0, 4, 9)
    assert len(Gauge) <= layout.GAUGE_COUNT
    assert len(Total) <= layout.TOTAL_COUNT
    assert [role.value for role in Role] == [1, 2, 3, 4, 5, 6]
    assert [state.value for state in SlotState] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("index", [-1, 64])
def test_no_slot_outside_the_file(index: int) -> None:
    with pytest.raises(IndexError):
        layout.slot_head(index)
