"""The wire behind TLS, over a wire in memory: any chunking, any garbage, nothing lost."""

import ssl
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gwsmtp.base.errors import PeerTimeout
from gwsmtp.net.tlsmaterial import TlsMaterial
from gwsmtp.net.wire import Wire
from gwsmtp.session.tls import TlsError, TlsWire, answer_in_clear
from tests.session.test_tls import material_of
from tests.support.pki import Authority, Files


class NoDeadline:
    def arm(self, seconds: float, phase: str) -> None:
        if seconds <= 0:
            raise PeerTimeout(phase)

    def disarm(self) -> None: ...


class MemoryWire:
    """Reads what was put in, piece by piece; b"" when there is no more. ``room`` limits what is
    taken at once.
    """

    def __init__(self) -> None:
        self.pieces: deque[bytes] = deque()
        self.sent = bytearray()
        self.room = 1 << 30
        self.fd = 3
        self.deadline = NoDeadline()
        self.has_ended = False

    def put(self, data: bytes, size: int) -> None:
        self.pieces.extend(data[at : at + size] for at in range(0, len(data), size))

    def read(self, octets: int = 65536) -> bytes:
        return self.pieces.popleft() if self.pieces else b""

    def write(self, data: bytes, seconds: float, phase: str) -> None:
        self.sent += data

    def write_nowait(self, data: bytes) -> int:
        taken = min(self.room, len(data))
        self.sent += data[:taken]
        return taken

    def has_input(self) -> bool:
        return bool(self.pieces)

    def is_gone(self) -> bool:
        return False

    def end_writing(self) -> None:
        self.has_ended = True

    def close(self) -> None:
        self.fd = -1


class Pair:
    """Both sides after the handshake; ``take`` is what the client has read so far."""

    def __init__(self, material: TlsMaterial, ca: Path, size: int = 1 << 20) -> None:
        self.memory = MemoryWire()
        self.wire = TlsWire(cast(Wire, self.memory), material)
        context = ssl.create_default_context(cafile=str(ca))
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context.wrap_bio(
            self.incoming, self.outgoing, server_hostname="gw.example.test"
        )
        self.size = size
        memory, refill = self.memory, self._shake

        def read(octets: int = 65536) -> bytes:
            if not memory.pieces:
                refill()
            return memory.pieces.popleft() if memory.pieces else b""

        memory.read = read  # type: ignore[method-assign]
        self._shake()
        self.wire.handshake(5.0, lambda: 0.0)
        del memory.read
        self._shake()

    def _shake(self) -> None:
        self.incoming.write(bytes(self.memory.sent))
        self.memory.sent.clear()
        try:
            self.client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        self.memory.put(self.outgoing.read(), self.size)

    def say(self, data: bytes, size: int) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self.client.write(rest) :]
        self.memory.put(self.outgoing.read(), size)

    def take(self) -> bytes:
        self.incoming.write(bytes(self.memory.sent))
        self.memory.sent.clear()
        found = b""
        try:
            while part := self.client.read(65536):
                found += part
        except ssl.SSLWantReadError:
            pass
        return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    yield Authority().issue(tmp_path_factory.mktemp("pki"), "gw")


@pytest.fixture(scope="module")
def material(files: Files) -> TlsMaterial:
    return material_of(files)


QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@QUICK
@given(st.binary(min_size=1, max_size=100_000), st.sampled_from([1, 7, 1000, 1 << 20]))
def test_any_chunking_gives_the_same_octets(
    material: TlsMaterial, files: Files, data: bytes, size: int
) -> None:
    pair = Pair(material, files.ca, size)
    pair.say(data, max(size, len(data) // 200))
    found = b""
    while len(found) < len(data):
        piece = pair.wire.read(4096)
        assert 0 < len(piece) <= 4096
        found += piece
    assert found == data
    pair.wire.write(data, 5.0, "test")
    assert pair.take() == data


@QUICK
@given(st.binary(max_size=3000), st.sampled_from([1, 100, 4000]))
def test_garbage_in_the_handshake_is_a_tls_error(
    material: TlsMaterial, data: bytes, size: int
) -> None:
    memory = MemoryWire()
    memory.put(data, size)
    with pytest.raises(TlsError):
        TlsWire(cast(Wire, memory), material).handshake(5.0, lambda: 0.0)


@QUICK
@given(st.binary(min_size=1, max_size=300))
def test_garbage_behind_the_handshake_is_never_content(
    material: TlsMaterial, files: Files, data: bytes
) -> None:
    pair = Pair(material, files.ca)
    pair.memory.put(b"\x17\x03\x03\x00\x20" + data, 1000)
    for _ in range(3):
        try:
            assert pair.wire.read() == b""
        except TlsError:
            continue
    pair.wire.write(b"QUIT", 5.0, "test")  # whatever state it is in, nothing raises
    pair.wire.close()


def test_what_a_full_socket_does_not_take_goes_before_what_follows(
    material: TlsMaterial, files: Files
) -> None:
    pair = Pair(material, files.ca)
    pair.memory.room = 10
    assert pair.wire.write_nowait(b"first") == 5
    assert pair.wire.write_nowait(b"second") == 6
    assert pair.take() == b""
    pair.wire.write(b"third", 5.0, "test")
    assert pair.take() == b"firstsecondthird"


def test_after_a_write_that_failed_nothing_more_is_sent(
    material: TlsMaterial, files: Files
) -> None:
    pair = Pair(material, files.ca)

    def fail(data: bytes, seconds: float, phase: str) -> None:
        raise PeerTimeout(phase)

    pair.memory.write = fail  # type: ignore[method-assign]
    with pytest.raises(PeerTimeout):
        pair.wire.write(b"half of this is out", 1.0, "test")
    pair.wire.write(b"421", 1.0, "test")
    pair.wire.end_writing()
    assert pair.memory.sent == b""
    assert pair.memory.has_ended


def test_after_end_writing_what_comes_is_dropped_undeciphered(
    material: TlsMaterial, files: Files
) -> None:
    pair = Pair(material, files.ca)
    pair.wire.end_writing()
    pair.memory.put(b"raw", 100)
    assert pair.wire.read() == b"raw"
    assert pair.take() == b""  # close_notify was said


@given(st.binary(max_size=2000), st.binary(max_size=2000), st.integers(1, 700))
def test_row_42_answers_whole_lines_and_does_nothing(rest: bytes, more: bytes, size: int) -> None:
    memory = MemoryWire()
    memory.put(more, size)
    ended = answer_in_clear(cast(Wire, memory), rest, 2.0, lambda: 0.0)
    assert ended in ("quit", "closed by client", "closed")
    said = bytes(memory.sent).split(b"\r\n")
    assert said.pop() == b""
    assert all(line[:3] in (b"221", b"454") for line in said)
    assert sum(line[:3] == b"221" for line in said) == (ended == "quit")
