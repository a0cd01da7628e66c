"""PROTOCOL.md is true: its octets are ours, and its example engine serves our client."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gwsmtp.scan
from gwsmtp.scan.messages import Hello, Request, Verdict
from gwsmtp.scan.outcome import Action, ScanRequest
from gwsmtp.scan.pool import ScanPool
from gwsmtp.scan.wire import Encoder, engine_side, gateway_side
from tests.scan.support import FileBody, MemoryBody, request, wait_for

DOCUMENT = (Path(gwsmtp.scan.__file__).parent / "PROTOCOL.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def octets(block: str) -> bytes:
    """The hexadecimal left of the comments, which begin with a quote or with ``map of``."""
    return bytes.fromhex("".join(re.split(r'"|map of', line)[0] for line in block.splitlines()))


def test_the_octets_of_the_engine_are_read_as_the_text_says() -> None:
    hello, verdict = gateway_side().feed(octets(blocks("hex")[0]))
    assert isinstance(hello, Hello)
    assert (hello.name, hello.capabilities) == ("demo", frozenset(("fd",)))
    assert isinstance(verdict, Verdict)
    assert (verdict.id, verdict.action) == (7, Action.ACCEPT)


def test_the_sizes_in_the_text_are_right() -> None:
    first = blocks("hex")[0].splitlines()
    head = next(index for index, line in enumerate(first) if line.startswith("83"))
    sizes = [len(octets("\n".join(part))) for part in (first[:head], first[head:])]
    assert f"hello, {sizes[0]} octets, and the verdict on request 7, {sizes[1]} octets" in DOCUMENT


def test_the_octets_of_the_request_are_what_we_send() -> None:
    body = MemoryBody(b"hello\n")
    asked = ScanRequest(
        "bcdfghjklm", 1, "demo", "192.0.2.7", 40000, "c", "a@b", ("c@d",), body, b""
    )
    example = octets(blocks("hex")[1])
    assert example == Encoder().request(7, 5000, "demo", asked, 6) + b"hello\n"
    (got,) = engine_side(100).feed(example)
    assert isinstance(got, Request)


def test_the_example_engine_serves_our_client(
    tmp_path: Path, pool: Callable[..., ScanPool]
) -> None:
    (source,) = blocks("python")
    script = tmp_path / "engine.py"
    script.write_text(source)
    path = tmp_path / "socket"
    with subprocess.Popen([sys.executable, str(script), str(path)]) as engine:
        try:
            wait_for(path.exists, "the example's socket")
            made = pool(f"unix:{path}")
            wait_for(lambda: made.is_up, "the example's hello")
            assert made.scan(request(b"hello")).action is Action.ACCEPT
            outcome = made.scan(request(b"x" * 200_000 + b"please refuse me"))
            assert (outcome.action, outcome.text) == (Action.REJECT, "As you wish")
            large = FileBody(tmp_path / "large", b"y" * 3_000_000)
            assert made.scan(request(large)).action is Action.ACCEPT
            made.close()
        finally:
            engine.send_signal(signal.SIGTERM)
