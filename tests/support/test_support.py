"""The instruments are tested against each other before they judge the gateway."""

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.support.corpus import (
    corpus,
    digest,
    first_difference,
    normalised,
    stuffed,
    without_trace,
)
from tests.support.gateway import Gateway, merged, smallest_settings
from tests.support.netspace import NetSpace
from tests.support.nexthop import NextHop
from tests.support.rawclient import RawClient
from tests.support.rawsink import RawSink
from tests.support.recorder import Recorder, extract_messages
from tests.support.running import Running, python
from tests.support.senders import send_by_smtp_source, send_by_smtplib, send_by_swaks
from tests.support.wait import wait_for

ENVELOPE = ("a@client.example", ["user@example.test"])

CONTENTS = {
    "empty": b"",
    "one octet": b"x\r\n",
    "an empty line": b"\r\n",
    "dots": b".\r\n..\r\n...\r\n.x\r\n\r\n.\r\n",
    "bare newlines": b"a\n.\nb\r.\rc\n.\r\nd\r\r\n",
    "8 bit": bytes(range(256)) + b"\r\n",
    "long line": b"x" * 1_000_000 + b"\r\n",
    "many lines": b"a line\r\n" * 20_000,
}


@pytest.fixture(params=CONTENTS)
def content(request: pytest.FixtureRequest) -> bytes:
    return CONTENTS[request.param]


class TestWait:
    def test_returns_the_first_true_value(self) -> None:
        values = iter([0, "", 7])
        assert wait_for(lambda: next(values), "seven") == 7

    def test_names_what_is_missing(self) -> None:
        with pytest.raises(AssertionError, match=r"after 0\.01 s still missing: the moon"):
            wait_for(lambda: False, lambda: "the moon", deadline_s=0.01)


class TestCorpus:
    def test_holds_what_its_readme_says(self) -> None:
        messages = corpus()
        assert len({message.name for message in messages}) == 250
        assert [one.name for one in messages if b"\r" in one.octets] == ["spam-2-00164"]
        assert sum(b"\n." in one.octets or one.octets[:1] == b"." for one in messages) == 13

    def test_normalised(self) -> None:
        assert normalised(b"a\r\nb\nc\rd\r\r\ne\x00\n\r") == b"a\r\nb\r\nc d \r\ne \r\n "
        assert [one.name for one in corpus() if normalised(one.wire) != one.wire] == [
            "spam-2-00164"
        ]

    def test_stuffed(self) -> None:
        assert stuffed(b"") == b".\r\n"
        assert stuffed(b"x") == b"x\r\n.\r\n"
        assert stuffed(b".\r\n.x\r\n") == b"..\r\n..x\r\n.\r\n"

    def test_without_trace(self) -> None:
        assert without_trace(b"Received: a\r\n\tb\r\n c\r\nReceived: d\r\n") == (
            b"Received: a\r\n\tb\r\n c\r\n",
            b"Received: d\r\n",
        )
        assert without_trace(b"Subject: x\r\n") == (b"", b"Subject: x\r\n")

    def test_messages_of_failure(self) -> None:
        assert digest(b"") == "e3b0c44298fc1c14(0)"
        assert "at 1:" in first_difference(b"abc", b"axc")
        assert "at 2:" in first_difference(b"ab", b"abc")


class TestOctets:
    def test_client_recorder_and_sink_agree(self, content: bytes) -> None:
        with RawSink() as sink, Recorder(sink.address) as recorder:
            with RawClient(recorder.address) as client:
                client.greet()
                assert client.send_message(*ENVELOPE, content).code == 250
                client.quit()
            (exchange,) = recorder.wait_until_over(1)
            (seen,) = exchange.messages()
            (taken,) = sink.messages
            assert seen.payload == taken.payload == content
            assert (seen.sender, seen.recipients) == (taken.sender, taken.recipients) == ENVELOPE
            assert (seen.is_finished, seen.reply) == (True, "250 2.0.0 Taken")

    def test_the_built_in_next_hop_agrees(self, tmp_path: Path) -> None:
        with NextHop(tmp_path) as hop, RawClient(hop.address) as client:
            client.greet()
            for content in CONTENTS.values():
                assert client.send_message(*ENVELOPE, content).code == 250
            assert hop.filed() == list(CONTENTS.values())

    @pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
    def test_any_chunking_gives_the_same(self, size: int) -> None:
        wire = stuffed(CONTENTS["dots"] + CONTENTS["bare newlines"])
        with RawSink() as sink, RawClient(sink.address) as client:
            client.greet()
            client.begin_data(*ENVELOPE)
            client.send_chunks(wire, range(size, len(wire), size))
            assert client.read_reply().code == 250
            assert sink.messages[0].payload == CONTENTS["dots"] + CONTENTS["bare newlines"]

    def test_it_can_speak_unasked(self) -> None:
        with RawSink() as sink, RawClient(sink.address) as client:
            client.greet()
            sink.speak(b"421 4.3.2 Idle\r\n")
            assert client.read_reply().text == "4.3.2 Idle"
            assert client.quit().code == 221

    def test_a_message_without_dot_is_unfinished(self) -> None:
        with RawSink() as sink, Recorder(sink.address) as recorder:
            with RawClient(recorder.address) as client:
                client.greet()
                client.begin_data(*ENVELOPE)
                client.send(b"half\n.\n\r\n.\r")
            (exchange,) = recorder.wait_until_over(1)
            (seen,) = exchange.messages()
            assert (seen.is_finished, seen.reply) == (False, "")
            wait_for(lambda: sink.unfinished == 1, "the sink's note of an unfinished message")
            assert not sink.messages

    def test_refused_data_is_no_message(self) -> None:
        client = b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\nQUIT\r\n"
        refused = b"220 a\r\n250-a\r\n250 b\r\n250 c\r\n550 d\r\n250 e\r\n451 f\r\n221 g\r\n"
        assert extract_messages(client, refused) == []
        client = client.replace(b"QUIT", b"..x\r\n.\r\nQUIT")
        (seen,) = extract_messages(client, refused.replace(b"451 f", b"354 f\r\n250-x\r\n250 y"))
        assert (seen.sender, seen.recipients) == ("a@b", ["e@f"])
        assert (seen.payload, seen.reply) == (b".x\r\n", "250-x\n250 y")

    def test_a_half_close_is_passed_on(self) -> None:
        with RawSink() as sink, Recorder(sink.address) as recorder:
            with RawClient(recorder.address) as client:
                client.send(b"NOOP\r\n")
                client.sock.shutdown(socket.SHUT_WR)
                assert client.read_to_end() == b"220 sink.test ESMTP\r\n250 2.0.0 Ok\r\n"
            recorder.wait_until_over(1)

    @pytest.mark.full
    def test_39_megabytes(self) -> None:
        content = (os.urandom(996).replace(b"\n", b" ").replace(b"\r", b".") + b"\r\n") * 39_000
        with RawSink() as sink, Recorder(sink.address) as recorder:
            with RawClient(recorder.address) as client:
                client.greet()
                assert client.send_message(*ENVELOPE, content).code == 250
            (exchange,) = recorder.wait_until_over(1)
            (seen,) = exchange.messages()
            assert digest(seen.payload) == digest(sink.messages[0].payload) == digest(content)


class TestClients:
    def test_smtplib_puts_on_the_wire_what_it_is_given(self) -> None:
        message = corpus()[0]
        with RawSink() as sink, Recorder(sink.address) as recorder:
            send_by_smtplib(recorder.address, *ENVELOPE, message.path)
            recorder.wait_until_over(1)
            assert recorder.messages()[0].payload == sink.messages[0].payload == message.wire

    @pytest.mark.full
    @pytest.mark.parametrize("name", ["easy-ham-1-00067", "hard-ham-1-00108", "spam-2-00164"])
    def test_outside_clients_are_recorded_and_taken_alike(self, name: str) -> None:
        (message,) = (one for one in corpus() if one.name == name)
        with RawSink() as sink, Recorder(sink.address) as recorder:
            send_by_swaks(recorder.address, *ENVELOPE, message.path)
            send_by_smtp_source(recorder.address, *ENVELOPE, message.path)
            recorder.wait_until_over(2)
            seen = [one.payload for one in recorder.messages()]
            assert seen == [one.payload for one in sink.messages]
            assert seen == [message.wire + b"\r\n"] * 2  # both end a message with an empty line


class TestPrograms:
    def test_a_child_left_behind_is_a_failure(self, tmp_path: Path) -> None:
        leaves = "import subprocess; subprocess.Popen(['sleep', '60'])"
        program = Running("leaver", python(leaves), tmp_path / "log")
        program.spawn()
        with pytest.raises(AssertionError, match="the end of leaver's children"):
            program.wait_for_exit(0, children_deadline_s=0.1)
        assert len(program.descendants()) == 1
        program.kill()
        wait_for(lambda: not program.descendants(), "the end of the child")

    def test_a_wrong_exit_code_shows_the_log(self, tmp_path: Path) -> None:
        program = Running("failer", python("import sys; sys.exit('no luck')"), tmp_path / "log")
        program.spawn()
        with pytest.raises(AssertionError, match=r"ended with 1 instead of 0(?s:.*)no luck"):
            program.wait_for_exit(0)

    def test_an_error_carries_the_log(self, tmp_path: Path) -> None:
        waits = "import sys; print('here I am', file=sys.stderr); sys.stdin.read()"
        program = Running("waiter", python(waits), tmp_path / "log")
        with pytest.raises(ZeroDivisionError) as caught, program:
            program.wait_for_log("here I am")
            raise ZeroDivisionError
        assert any("here I am" in note for note in caught.value.__notes__)
        assert program.exit_code is not None

    def test_a_gateway_that_does_not_get_ready_is_named(self, tmp_path: Path) -> None:
        gateway = Gateway(tmp_path, "127.0.0.1:1")
        gateway.run_code = "import sys; sys.exit('cannot')"
        with pytest.raises(AssertionError, match=r"closed its ready descriptor(?s:.*)cannot"):
            gateway.__enter__()

    def test_a_gateway_that_gets_ready_is_known(self, tmp_path: Path) -> None:
        gateway = Gateway(tmp_path, "127.0.0.1:1", {"workers": {"count": 3}})
        gateway.run_code = (
            "import json, os, signal, sys\n"
            "fd = int(sys.argv[sys.argv.index('--ready-fd') + 1])\n"
            "line = {'listen': ['127.0.0.1:9', '[::1]:9'], 'pid': os.getpid()}\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
            "os.write(fd, json.dumps(line).encode() + b'\\n')\n"
            "signal.pause()\n"
        )
        with gateway:
            assert gateway.address == "127.0.0.1:9"
            assert gateway.addresses[1] == "[::1]:9"
            assert "count: 3" in gateway.config_path.read_text()
            gateway.signal(signal.SIGTERM)
            gateway.wait_for_exit(0)

    def test_settings_are_merged(self) -> None:
        base = smallest_settings("127.0.0.1:1", "callout")
        over = merged(base, {"workers": {"count": 5}, "paths": None, "server": {"listen": ["x"]}})
        assert over["workers"]["count"] == 5
        assert over["server"]["listen"] == ["x"]
        assert "paths" not in over
        assert base["workers"]["count"] == 2
        assert base["organizations"][0]["domains"][0]["recipients"] == "callout"


@pytest.mark.full
@pytest.mark.skipif(os.geteuid() != 0, reason="a namespace wants root")
def test_a_network_of_its_own_is_left_and_gone() -> None:
    here = os.readlink("/proc/thread-self/ns/net")
    with NetSpace("2001:db8::1"):
        assert os.readlink("/proc/thread-self/ns/net") != here
        assert [name for _, name in socket.if_nameindex() if name == "lo"] == ["lo"]
        with socket.create_server(("2001:db8::1", 0), family=socket.AF_INET6) as listener:
            socket.create_connection(listener.getsockname()[:2], 5).close()
    assert os.readlink("/proc/thread-self/ns/net") == here
    with socket.socket(socket.AF_INET6) as sock, pytest.raises(OSError):
        sock.bind(("2001:db8::1", 0))
