"""Clients that give an octet at a time, or take none of ours, beside senders who are served.

Each is ended by the limit that is its own, tells in the log which one it was, and holds up nobody.
The windows in which a message's rate is measured are 30 s and no setting: this gateway is started
with shorter ones.
"""

import select
import shutil
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from tests.support.eventlog import events
from tests.support.gateway import Gateway, open_folder
from tests.support.pki import Authority
from tests.support.rawclient import RawClient
from tests.support.rawsink import RawSink
from tests.support.tlsclient import begin_tls, client_context
from tests.support.traffic import Traffic
from tests.support.usage import calm_usage, expect_usage
from tests.support.wait import wait_for

pytestmark = pytest.mark.full

WINDOW_S, WINDOWS, RATE = 0.5, 3, 40
TIMERS = {
    "client_connection_timeout": 2,
    "client_protocol_timeout": 1,
    "client_data_command_timeout": 2,
    "client_data_payload_timeout": 2,
    "data_min_rate": RATE,
}
_RUN = f"""\
import sys
from gwsmtp.cli.main import main
from gwsmtp.session.pace import PaceLimits

PaceLimits.__init__.__defaults__ = (0, 3600.0, {WINDOW_S}, {WINDOWS})
sys.exit(main())
"""
EACH = 30
INTERVAL_S = 0.1
TO = ["user@example.test"]
TIMEOUT = b"421 4.4.2 Timeout, closing connection\r\n"
TAKE_NOTHING = 3


class House:
    """A gateway with short timers and short windows."""

    def __init__(self, gateway: Gateway, sink: RawSink, context: ssl.SSLContext) -> None:
        self.gateway = gateway
        self.sink = sink
        self.context = context
        self.source = ""
        self._numbers = count(1)

    def clients(self, count: int, *, is_narrow: bool = False) -> list[RawClient]:
        """So many more, from an address that no one else has."""
        self.source = f"127.0.7.{next(self._numbers)}"
        return [
            RawClient(self.gateway.address, self.source, is_narrow=is_narrow) for _ in range(count)
        ]

    def reasons(self, count: int) -> Counter[str]:
        """Why the sessions of those clients ended, once ``count`` have."""

        def found() -> list[str]:
            sessions = events(self.gateway, "session")
            return [one["reason"] for one in sessions if one["peer"] == self.source]

        wait_for(
            lambda: len(found()) >= count,
            lambda: f"the end of {count} sessions, there are {len(found())}",
        )
        return Counter(found())


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    folder = open_folder()
    try:
        files = Authority().issue(folder, "gw")
        settings = {"protocol": TIMERS, "ssl": files.on_both_listeners}
        with RawSink() as sink:
            gateway = Gateway(folder, sink.address, settings)
            gateway.run_code = _RUN
            with gateway:
                yield House(gateway, sink, client_context(files.ca))
    finally:
        shutil.rmtree(folder)


@contextmanager
def beside_senders(house: House) -> Iterator[None]:
    """What happens inside costs others nothing, and leaves nothing behind."""
    house.sink.messages.clear()
    before = calm_usage(house.gateway)
    with Traffic(house.gateway.address, 2) as traffic:
        yield
        traffic.wait_for_more(20)
    traffic.check(house.sink)
    expect_usage(house.gateway, before, more_fds=4, more_mib=16)
    assert not [line for line in house.gateway.log_lines() if "level=ERROR" in line]


def drip(clients: list[RawClient], octets: bytes, at_once: int = 1) -> None:
    """Gives every client's next octets every tenth of a second, until it is answered."""
    silent = {client.sock: client for client in clients}
    for start in range(0, len(octets), at_once):
        for client in silent.values():
            client.send(octets[start : start + at_once])
        ends_at = time.monotonic() + INTERVAL_S
        while silent and (left_s := ends_at - time.monotonic()) > 0:
            for sock in select.select(list(silent), [], [], left_s)[0]:
                del silent[sock]
        if not silent:
            return
    assert not silent, f"{len(silent)} of {len(clients)} were never answered"


def close(clients: list[RawClient]) -> None:
    for client in clients:
        client.close()


def test_an_octet_at_a_time_in_commands(house: House) -> None:
    """Rows 37 and 38 run to complete commands, whatever comes meanwhile."""
    with beside_senders(house):
        clients = house.clients(2 * EACH)
        first, later = clients[:EACH], clients[EACH:]
        for client in first:
            assert client.read_reply().code == 220
        for client in later:
            client.greet()
        drip(clients, b"EHLO " + b"x" * 500)
        assert {client.read_to_end() for client in clients} == {TIMEOUT}
        close(clients)
        reasons = house.reasons(2 * EACH)
        assert reasons == {"timeout: first command": EACH, "timeout: command": EACH}


def test_an_octet_at_a_time_in_the_data(house: House) -> None:
    """Each octet begins row 40 anew; the rate over three windows does not forgive."""
    with beside_senders(house):
        clients = house.clients(EACH)
        for number, client in enumerate(clients):
            client.greet()
            client.begin_data(f"slow{number}@client.example", TO)
        began = time.monotonic()
        drip(clients, b"x" * 200)
        assert time.monotonic() - began >= WINDOW_S * WINDOWS - INTERVAL_S
        assert {client.read_to_end()[:9] for client in clients} == {b"421 4.4.2"}
        close(clients)
        assert house.reasons(EACH) == {"data too slow": EACH}
        slow = [one for one in events(house.gateway, "message") if one["from"][:5] == "<slow"]
        assert Counter((one["outcome"], one["cause"]) for one in slow) == {
            ("lost", "data too slow"): EACH
        }
        assert not [name for name in house.sink.by_sender() if name.startswith("slow")]


def test_a_little_at_a_time_but_enough(house: House) -> None:
    """Above the rate it may go on for more windows than were too many."""
    with RawClient(house.gateway.address) as client:
        client.greet()
        client.begin_data("steady@client.example", TO)
        octets = (b"x" * 78 + b"\r\n") * (RATE * WINDOWS // 20) + b".\r\n"
        drip([client], octets, at_once=16)
        assert client.read_reply().code == 250
        assert client.quit().code == 221


def flood(clients: list[RawClient], octets: bytes, deadline_s: float = 20) -> None:
    """Sends the same again and again and reads nothing, until every connection is broken."""
    ends_at = time.monotonic() + deadline_s
    talking = [client.sock for client in clients]
    for sock in talking:
        sock.setblocking(False)
    while talking:
        assert time.monotonic() < ends_at, f"{len(talking)} of {len(clients)} are never ended"
        for sock in select.select([], talking, [], 0.1)[1]:
            try:
                sock.send(octets)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                pass
            except OSError:
                talking.remove(sock)


@pytest.mark.parametrize("way", ["in clear", "within TLS"])
def test_takes_nothing(house: House, way: str) -> None:
    """Our replies stop fitting, we stop reading, and after row 38's time it is gone."""
    with beside_senders(house):
        clients = house.clients(TAKE_NOTHING, is_narrow=True)
        for client in clients:
            client.greet()
            if way == "within TLS":
                assert client.command("STARTTLS").code == 220
                begin_tls(client, house.context)
                assert client.command("EHLO client.example").code == 250
            assert client.command("MAIL FROM:<deaf@client.example>").code == 250
        flood(clients, b"RCPT TO:<a@nowhere.test>\r\n" * 500)
        assert house.reasons(TAKE_NOTHING) == {"timeout: client taking a reply": TAKE_NOTHING}
        close(clients)
