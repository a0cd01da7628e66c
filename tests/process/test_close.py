"""A close never loses a reply, whatever the client has sent behind the command that closes.

A close with unread input makes the kernel reset the connection, and what the client has not read
yet may be gone with it (seen 50 of 50). Here each client sends up to 48 KiB nobody will read, then
reads: the last reply must be there, and behind it an end, not a reset.
"""

import signal
import threading
from collections import Counter
from contextlib import ExitStack

import pytest

from tests.process.conftest import StartGateway
from tests.support.gateway import Gateway
from tests.support.rawclient import RawClient

pytestmark = pytest.mark.full

CLIENTS = 50
LINE = b"NOOP " + b"a" * 500 + b"\r\n"
UNREAD = LINE * 96
PIECES = 8
PACE_S = 0.005


def connect(gateway: Gateway, *, small: bool) -> RawClient:
    """A greeted client, with the smallest receive buffer there is if ``small``."""
    client = RawClient(gateway.address, is_narrow=small)
    client.greet()
    return client


def last_reply(client: RawClient, octets: bytes) -> bytes:
    """Sends everything, then reads to the end: what the server said last. Most of it arrives when
    the server has closed already: that pace is the experiment.
    """
    step = max(1, len(octets) // PIECES)
    for start in range(0, len(octets), step):
        client.send(octets[start : start + step])
        threading.Event().wait(PACE_S)
    return client.read_to_end().splitlines()[-1]


def replies(clients: list[RawClient], octets: bytes) -> Counter[str]:
    """The last replies of all clients at once, or how they failed."""
    seen: list[str] = []

    def run(client: RawClient) -> None:
        try:
            seen.append(last_reply(client, octets)[:9].decode())
        except (OSError, IndexError) as e:
            seen.append(repr(e))

    threads = [threading.Thread(target=run, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(seen)


@pytest.mark.parametrize("small", [False, True], ids=["", "small-buffer"])
@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (b"QUIT\r\n", "221 2.0.0"),
        (b"NONSENSE\r\n" * 4, "421 4.7.0"),
    ],
    ids=["quit", "too-many-errors"],
)
def test_reply_before_unread_input(
    start_gateway: StartGateway, running: ExitStack, before: bytes, expected: str, small: bool
) -> None:
    gateway = start_gateway(
        "127.0.0.1:1",
        {"exploit_detection": {"drop_on_invalid_commands": True, "max_invalid_commands": 3}},
    )
    clients = [running.enter_context(connect(gateway, small=small)) for _ in range(CLIENTS)]
    seen = replies(clients, before + UNREAD)
    print(f"\n{dict(seen)}")
    assert seen == {expected: CLIENTS}


@pytest.mark.parametrize("small", [False, True], ids=["", "small-buffer"])
def test_drain(start_gateway: StartGateway, running: ExitStack, small: bool) -> None:
    """The 421 of an idle session, while its client begins to send."""
    gateway = start_gateway("127.0.0.1:1")
    clients = [running.enter_context(connect(gateway, small=small)) for _ in range(CLIENTS)]
    gateway.signal(signal.SIGTERM)
    seen = replies(clients, LINE * 20)  # so few that they are no reason of their own to close
    print(f"\n{dict(seen)}")
    assert seen == {"421 4.3.2": CLIENTS}
    gateway.wait_for_exit(0)


def test_timeout(start_gateway: StartGateway, running: ExitStack) -> None:
    """The 421 for a command that is never whole, while octets still come."""
    gateway = start_gateway("127.0.0.1:1", {"protocol": {"client_protocol_timeout": 1}})
    clients = [running.enter_context(connect(gateway, small=False)) for _ in range(CLIENTS)]
    over = threading.Event()

    def trickle() -> None:
        while not over.wait(0.02):
            for client in clients:
                try:
                    client.sock.send(b"x")
                except OSError:
                    pass  # the test reads what came before that

    trickling = threading.Thread(target=trickle)
    trickling.start()
    try:
        seen = replies(clients, b"NOOP ")
    finally:
        over.set()
        trickling.join()
    print(f"\n{dict(seen)}")
    assert seen == {"421 4.4.2": CLIENTS}
