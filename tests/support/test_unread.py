"""The receive queue of a peer, as the kernel tells it, by both ways to ask."""

import socket
from collections.abc import Iterator

import pytest

from tests.support.unread import PeerQueue
from tests.support.wait import wait_for


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        with client, accepted:
            yield client, accepted


@pytest.mark.parametrize("is_diag_known", [True, False])
def test_what_the_peer_has_not_read_is_counted(
    pair: tuple[socket.socket, socket.socket], is_diag_known: bool
) -> None:
    client, accepted = pair
    queue = PeerQueue(client)
    queue._is_diag_known = is_diag_known
    assert queue.octets() == 0
    client.sendall(b"12345")
    wait_for(lambda: queue.octets() == 5, lambda: f"5 unread octets instead of {queue.octets()}")
    with pytest.raises(AssertionError, match="5 octets are still unread"):
        queue.wait_until_read(0.01)
    accepted.recv(5)
    queue.wait_until_read()
    queue.close()
