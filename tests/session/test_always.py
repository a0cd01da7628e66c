"""What ends a session however its timers are set (DEFENCE, Always), with windows made short."""

import gevent
import pytest

from gwsmtp.base.clock import monotonic
from gwsmtp.session.pace import PaceLimits
from gwsmtp.session.services import InboundTimeouts, SessionLimits
from gwsmtp.session.transaction import Transaction
from tests.delivery.hops import Hop
from tests.session.rig import Client, Rig

TOO_SLOW = "421 4.4.2 Message data too slow, closing connection"
TOO_LONG = "421 4.4.2 Transaction took too long, closing connection"


def limits(pace: PaceLimits) -> SessionLimits:
    return SessionLimits(1_000_000, 100, -1, pace)


def begin(house: Rig) -> Client:
    """A client that may send payload now."""
    client = house.greeted()
    client.ask(b"MAIL FROM:<s@client.test>\r\n")
    client.ask(b"RCPT TO:<a@example.test>\r\n")
    assert client.ask(b"DATA\r\n").startswith("354")
    return client


def drip(client: Client, octets: bytes, interval_s: float, times: int) -> None:
    """Sends ``octets`` again and again, for as long as somebody takes them."""
    for _ in range(times):
        try:
            client.send(octets)
        except OSError:
            return
        gevent.sleep(interval_s)


def test_payload_below_the_rate_over_three_windows_is_given_up(house: Rig, next_hop: Hop) -> None:
    house.limits = limits(PaceLimits(min_rate=1000, window_s=0.1))
    client = begin(house)
    dripping = gevent.spawn(drip, client, b"x", 0.02, 500)
    assert client.reply() == TOO_SLOW
    assert client.reply() == ""
    client.close()
    ended = house.wait_ended()
    assert (ended.reason, ended.after) == ("data too slow", "DATA")
    assert ended.duration_s > 0.3
    assert (house.messages[0].outcome, house.messages[0].cause) == ("lost", "data too slow")
    assert next_hop.journal("message") == []
    dripping.kill()


def test_payload_that_stops_is_too_slow_without_another_octet(house: Rig) -> None:
    house.limits = limits(PaceLimits(min_rate=1000, window_s=0.1))
    client = begin(house)
    client.send(b"x")
    assert client.reply() == TOO_SLOW
    client.close()


@pytest.mark.parametrize("min_rate", [1000, 0])
def test_payload_at_a_legal_rate_goes_on_for_any_number_of_windows(
    house: Rig, next_hop: Hop, min_rate: int
) -> None:
    house.limits = limits(PaceLimits(min_rate=min_rate, window_s=0.05))
    client = begin(house)
    drip(client, b"x" * (200 if min_rate else 1), 0.02, 25)
    assert client.ask(b"\r\n.\r\n").startswith("250")
    assert len(next_hop.filed()) == 1
    client.close()


def test_no_window_runs_before_the_first_octet(house: Rig) -> None:
    house.limits = limits(PaceLimits(min_rate=1000, window_s=0.02))
    house.timeouts = InboundTimeouts(10, 10, 0.3, 10)
    client = begin(house)
    assert client.reply() == "421 4.4.2 Timeout, closing connection"
    client.close()
    assert house.wait_ended().reason == "timeout: start of message data"


def test_time_that_the_disk_takes_is_in_no_window(
    house: Rig, next_hop: Hop, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = Transaction.append

    def slow_append(self: Transaction, content: bytes) -> None:
        if self.received_octets:
            gevent.sleep(0.15)
        append(self, content)

    monkeypatch.setattr(Transaction, "append", slow_append)
    house.limits = limits(PaceLimits(min_rate=20_000, window_s=0.1))
    client = begin(house)
    summary = house.sessions[-1].summary
    for n in range(6):
        client.send(b"x" * 998 + b"\r\n")
        with gevent.Timeout(5):
            while summary.bytes_in < 1000 * (n + 1):
                gevent.sleep(0.001)
    assert client.ask(b".\r\n").startswith("250")
    assert len(next_hop.filed()[0].partition(b"xxx")[2]) == 6000 - 3
    client.close()


@pytest.mark.parametrize("command", [b"RCPT TO:<a@example.test>\r\n", b"NOOP\r\n"])
def test_a_transaction_that_only_talks_ends_in_time(house: Rig, command: bytes) -> None:
    house.limits = limits(PaceLimits(transaction_s=0.3))
    client = house.greeted()
    client.ask(b"MAIL FROM:<s@client.test>\r\n")
    said = [client.ask(command)]
    with gevent.Timeout(10):
        while said[-1].startswith("250"):
            gevent.sleep(0.01)
            said.append(client.ask(command))
    assert said[-1] == TOO_LONG
    client.close()
    assert house.wait_ended().reason == "transaction too long"


def test_a_transaction_that_is_silent_ends_in_time_where_the_timers_are_off(house: Rig) -> None:
    house.timeouts = InboundTimeouts(3600, 3600, 3600, 3600)
    house.limits = limits(PaceLimits(transaction_s=0.3))
    client = house.greeted()
    client.ask(b"MAIL FROM:<s@client.test>\r\n")
    assert client.reply() == TOO_LONG
    client.close()


def test_payload_at_a_legal_rate_does_not_go_on_for_ever(house: Rig) -> None:
    house.limits = limits(PaceLimits(min_rate=100, transaction_s=0.4, window_s=0.05))
    client = begin(house)
    dripping = gevent.spawn(drip, client, b"x" * 100, 0.01, 1000)
    assert client.reply() == TOO_LONG
    client.close()
    assert house.messages[0].cause == "transaction too long"
    dripping.kill()


def test_each_transaction_has_its_own_time_and_scanning_is_not_in_it(
    house: Rig, next_hop: Hop
) -> None:
    house.limits = limits(PaceLimits(min_rate=1000, transaction_s=0.3, window_s=0.05))
    house.scanner.delay_s = 0.4
    client = house.greeted()
    for _ in range(2):
        assert client.message().startswith("250")
    assert len(next_hop.filed()) == 2
    assert client.ask(b"NOOP\r\n").startswith("250")
    client.close()


@pytest.mark.full
def test_a_client_that_takes_nothing_is_left_within_the_time_of_row_38(house: Rig) -> None:
    """It sends commands and never reads: our replies stop fitting, and we stop reading."""
    house.timeouts = InboundTimeouts(10, 1.5, 10, 10)
    house.limits = limits(PaceLimits())
    client = house.greeted()
    client.ask(b"MAIL FROM:<s@client.test>\r\n")
    group = b"RCPT TO:<a@nowhere.test>\r\n" * 1000
    blocked_at = monotonic()
    with pytest.raises(OSError, match=r"reset|Broken"), gevent.Timeout(20):
        while True:
            client.send(group)
            blocked_at = monotonic()
    ended = house.wait_ended()
    assert ended.reason == "timeout: client taking a reply"
    assert ended.commands > 1000
    # Not twice that long: nobody says goodbye to who does not listen.
    assert monotonic() - blocked_at < 2.5
    client.close()


def test_an_octet_that_is_no_content_yet_begins_row_40(house: Rig) -> None:
    house.timeouts = InboundTimeouts(10, 10, 0.2, 10)
    client = begin(house)
    client.send(b"\r")
    gevent.sleep(0.4)
    assert client.ask(b"\n.\r\n").startswith("250")
    client.close()


def test_row_39_runs_for_the_next_message_of_a_pipelined_group_too(house: Rig) -> None:
    house.timeouts = InboundTimeouts(10, 10, 0.2, 10)
    house.limits = limits(PaceLimits(min_rate=1000, window_s=0.02))
    client = begin(house)
    client.send(b"first\r\n")
    client.send(b".\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.test>\r\nDATA\r\n")
    assert [client.reply()[:3] for _ in range(4)] == ["250", "250", "250", "354"]
    assert client.reply() == "421 4.4.2 Timeout, closing connection"
    client.close()
    assert house.wait_ended().reason == "timeout: start of message data"
