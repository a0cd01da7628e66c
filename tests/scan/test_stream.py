"""The stream's own duties: coalescing, bounds, descriptors, and ending only itself."""

import os
from collections.abc import Iterator

import pytest
from gevent import socket

from gwsmtp.scan.messages import FromGateway, Ping
from gwsmtp.scan.stream import MessageStream
from gwsmtp.scan.wire import Encoder, engine_side
from tests.scan.support import wait_for

encoder = Encoder()


class End:
    """A stream and what happened to it."""

    def __init__(self, sock: socket.socket, max_backlog: int = 1 << 20) -> None:
        self.messages: list[FromGateway] = []
        self.closed: list[str] = []
        self.stream: MessageStream[FromGateway] = MessageStream(
            sock,
            engine_side(1000),
            self.take,
            self.closed.append,
            max_backlog,
            takes_descriptors=True,
        )

    def take(self, message: FromGateway) -> None:
        self.messages.append(message)


@pytest.fixture
def peer_and_end() -> Iterator[tuple[socket.socket, End]]:
    near, far = socket.socketpair()
    end = End(far)
    end.stream.start()
    yield near, end
    end.stream.close("test ends")
    os.close(near.detach())


def test_what_is_sent_in_one_turn_goes_out_at_once(
    peer_and_end: tuple[socket.socket, End],
) -> None:
    peer, end = peer_and_end
    for number in range(50):
        end.stream.send(encoder.ping(number))
    assert end.stream.backlog
    wait_for(lambda: not end.stream.backlog, "the flush")
    assert peer.recv(65536) == b"".join(encoder.ping(number) for number in range(50))


def test_a_peer_that_does_not_read_is_closed_at_the_bound(
    peer_and_end: tuple[socket.socket, End],
) -> None:
    _, end = peer_and_end
    while end.stream.send(bytes(100_000)):
        assert end.stream.backlog <= 1 << 20
    assert end.closed == ["the peer does not read"]
    assert not end.stream.send(b"more")
    assert end.closed == ["the peer does not read"], "said once"


def test_room_is_announced_and_order_kept(peer_and_end: tuple[socket.socket, End]) -> None:
    peer, end = peer_and_end
    rooms: list[int] = []
    end.stream.on_room = lambda: rooms.append(end.stream.backlog)
    data = os.urandom(1_000_000)
    for start in range(0, len(data), 7919):
        assert end.stream.send(data[start : start + 7919])
    received = b""
    while len(received) < len(data):
        received += peer.recv(65536)
    assert received == data
    wait_for(lambda: rooms and not end.stream.backlog, "room")


def test_finish_sends_what_is_queued_first(peer_and_end: tuple[socket.socket, End]) -> None:
    peer, end = peer_and_end
    end.stream.send(bytes(900_000))
    end.stream.finish("done")
    received = 0
    while data := peer.recv(65536):
        received += len(data)
    assert received == 900_000
    assert end.closed == ["done"]


def test_an_error_in_a_callback_ends_this_stream_only(
    peer_and_end: tuple[socket.socket, End], caplog: pytest.LogCaptureFixture
) -> None:
    peer, end = peer_and_end
    near, far = socket.socketpair()

    class Broken(End):
        def take(self, message: FromGateway) -> None:
            raise ZeroDivisionError

    broken = Broken(far)
    broken.stream.start()
    near.sendall(encoder.ping(1))
    peer.sendall(encoder.ping(2))
    wait_for(lambda: broken.closed and end.messages, "one end and one message")
    assert broken.closed == ["internal error"]
    assert "ZeroDivisionError" in caplog.text
    assert isinstance(end.messages[0], Ping)
    os.close(near.detach())


def test_a_stream_closed_by_its_own_message_takes_no_more(
    peer_and_end: tuple[socket.socket, End],
) -> None:
    near, far = socket.socketpair()

    class Once(End):
        def take(self, message: FromGateway) -> None:
            super().take(message)
            self.stream.close("enough")

    once = Once(far)
    once.stream.start()
    near.sendall(encoder.ping(1) * 5)
    wait_for(lambda: once.closed, "the end")
    assert len(once.messages) == 1
    os.close(near.detach())


def test_queued_descriptors_are_closed_with_the_stream(
    peer_and_end: tuple[socket.socket, End],
) -> None:
    _, end = peer_and_end
    for _ in range(3):
        end.stream.send(b"x", os.open("/dev/null", os.O_RDONLY))
    end.stream.close("enough")
    end.stream.send(b"x", os.open("/dev/null", os.O_RDONLY))


def test_a_reset_is_an_end_like_any_other() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    end = End(far)
    end.stream.start()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    os.close(near.detach())
    wait_for(lambda: end.closed, "the end")
    assert end.closed == ["read failed: Connection reset by peer"]
