"""Sessions under pressure: less patience, no tarpit, and room for others."""

from collections.abc import Iterator

import gevent
import pytest

from gwsmtp.base.clock import monotonic
from gwsmtp.base.decision import Action, Reason
from gwsmtp.limits.layout import CONTROL, Control
from gwsmtp.limits.policy import Policy
from gwsmtp.session.defence import halved
from gwsmtp.session.pace import PaceLimits
from gwsmtp.session.room import MADE_ROOM, make_room, slowest
from gwsmtp.session.services import InboundTimeouts, SessionLimits
from tests.session.rig import Client, Rig

IDLE = "421 4.3.2 Idle too long while places are scarce, try again later "


@pytest.fixture
def pressed(house: Rig) -> Iterator[Rig]:
    """A house whose table says level 1."""
    press(house, 1)
    yield house
    press(house, 0)  # the table is that of all tests


def press(house: Rig, level: int) -> None:
    house.table.words[CONTROL + Control.PRESSURE] = level


def test_half_of_the_patience_but_never_below_five_seconds() -> None:
    assert [halved(s) for s in (300, 12, 10, 8, 5, 3, 0.5)] == [150, 6, 5, 5, 5, 3, 0.5]


def test_timers_errors_and_windows_follow_the_level(pressed: Rig) -> None:
    pressed.timeouts = InboundTimeouts(120, 60, 30, 8)
    pressed.limits = SessionLimits(0, 100, 10, PaceLimits(500))
    services = pressed.services()
    found = services.timeouts
    assert (found.connection_s, found.command_s) == (60, 30)
    assert (found.data_command_s, found.payload_s) == (15, 5)
    assert (services.pace.windows, services.pace.min_rate) == (1, 500)
    assert (services.invalid_limit, services.defence.patience(40)) == (2, 20)
    press(pressed, 0)
    assert services.defence.is_pressed  # until the worker looks
    assert not services.defence.look()
    assert services.timeouts is pressed.timeouts
    assert (services.pace.windows, services.invalid_limit) == (3, 10)
    assert services.defence.patience(40) == 40
    press(pressed, 2)
    assert [services.defence.look() for _ in range(2)] == [True, False]
    assert services.invalid_limit == 2


def test_with_row_86_off_nothing_follows(pressed: Rig) -> None:
    pressed.policy = Policy(is_acting=False)
    services = pressed.services()
    assert services.timeouts is pressed.timeouts
    assert not services.defence.is_pressed


def test_a_limit_of_errors_that_is_lower_or_off_stays(pressed: Rig) -> None:
    for limit in (0, 1, -1):
        pressed.limits = SessionLimits(0, 100, limit)
        assert pressed.services().invalid_limit == limit


def test_the_third_invalid_command_closes(pressed: Rig) -> None:
    client = pressed.greeted()
    assert client.ask(b"NONSENSE\r\n").startswith("500")
    assert client.ask(b"NONSENSE\r\n").startswith("500")
    assert client.ask(b"NONSENSE\r\n").startswith("421 4.7.0")


def test_one_slow_window_of_payload_is_enough(pressed: Rig) -> None:
    pressed.limits = SessionLimits(0, 100, 5, PaceLimits(1000, window_s=0.1))
    client = in_data(pressed)
    started = monotonic()
    client.send(b"x\r\n")
    assert client.reply().startswith("421 4.4.2 Message data too slow")
    assert monotonic() - started < 0.25


def in_data(house: Rig) -> Client:
    client = house.greeted()
    client.ask(b"MAIL FROM:<s@client.test>\r\n")
    client.ask(b"RCPT TO:<a@example.test>\r\n")
    assert client.ask(b"DATA\r\n").startswith("354")
    return client


def test_nobody_is_kept_waiting_on_purpose(pressed: Rig) -> None:
    client = pressed.greeted()
    pressed.sessions[-1].conduct.score = 15_000
    started = monotonic()
    assert client.ask(b"NOOP\r\n").startswith("250")
    assert monotonic() - started < 0.9
    press(pressed, 0)
    pressed.sessions[-1].services.defence.look()
    assert client.ask(b"NOOP\r\n").startswith("250")
    assert monotonic() - started >= 1.0


def test_the_slowest_is_who_completed_something_longest_ago(house: Rig) -> None:
    first, second, third = (house.greeted() for _ in range(3))
    by_age = house.sessions[-3:]
    assert slowest(by_age) is by_age[0]
    first.ask(b"NOOP\r\n")
    assert slowest(by_age) is by_age[1]
    second.send(b"NOO")  # completes nothing
    third.ask(b"NOOP\r\n")
    assert slowest(by_age) is by_age[1]
    assert slowest([]) is None


def test_who_is_being_worked_for_is_not_slow(house: Rig) -> None:
    house.scanner.may_answer.clear()
    busy = in_data(house)
    idle = house.greeted()
    pair = house.sessions[-2:]
    busy.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
    with gevent.Timeout(10):
        while not house.scanner.requests:
            gevent.sleep(0.01)
    assert slowest(pair) is pair[1]
    assert slowest(pair[:1]) is None
    make_room(pair[0])  # it works: nothing comes of it
    house.scanner.may_answer.set()
    assert busy.reply().startswith("250")
    assert idle.ask(b"NOOP\r\n").startswith("250")


def test_making_room_is_said_and_reported_and_quick(house: Rig) -> None:
    client = house.greeted()
    session = house.sessions[-1]
    gevent.sleep(0.05)
    started = monotonic()
    make_room(session)
    reply = client.reply()
    assert reply == f"{IDLE}[{session.session_id}]"
    assert client.line() == ""
    assert house.wait_ended().reason == MADE_ROOM
    assert monotonic() - started < 1.0  # does not linger: somebody waits for the place
    (decision,) = house.decisions
    assert (decision.reason, decision.action) == (Reason.PRESSURE, Action.ENDED)


def test_room_is_made_in_the_middle_of_a_message(house: Rig) -> None:
    client = in_data(house)
    client.send(b"Subject: never ends\r\n")
    gevent.sleep(0.02)
    make_room(house.sessions[-1])
    assert client.reply().startswith(IDLE)
    assert house.wait_ended().reason == MADE_ROOM
    assert [message.outcome for message in house.messages] == ["lost"]


def test_a_session_that_is_closing_gives_its_place_at_once(house: Rig) -> None:
    client = house.connect()
    client.reply()
    assert client.ask(b"GET / HTTP/1.1\r\n") == ""
    gevent.sleep(0.02)  # it lingers now, for up to 2 s
    started = monotonic()
    make_room(house.sessions[-1])
    house.wait_ended()
    assert monotonic() - started < 1.0
