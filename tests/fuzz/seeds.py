"""The inputs a target begins with, made of the dialog files and of what smuggling looks like."""

import random
from collections.abc import Iterator

from tests.fuzz.cutting import uncut
from tests.fuzz.fragments import encoded
from tests.fuzz.targets import TARGETS, Target
from tests.support import dialog
from tests.support.proxying import v1, v2, v2_local

_OPEN = b"EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@example.test>\r\n"
_ENDS = (
    b"\r\n.\r\n",
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r\n.\r",
    b"\r\n..\r\n",
    b".\r\n",
)
_PATHS = (
    b"FROM:<a@b.test>",
    b"FROM:<> SIZE=100 BODY=8BITMIME",
    b"TO:<@one.test,@two.test:c@example.test>",
    b"TO:<postmaster>",
    b'FROM:<"a b\\""@[IPv6:2001:db8::1]> ENVID=x RET=HDRS',
    b"SIZE=1 BODY=7BIT SMTPUTF8",
)
_HOP = b"220 next.test\r\n250-next.test\r\n250-PIPELINING\r\n250 SIZE 0\r\n250 2.1.0 Ok\r\n354\r\n"


def seeds(name: str) -> list[bytes]:
    """The seed inputs of a target, each no longer than it takes."""
    target = TARGETS[name]
    found = [_as_input(octets, name, target) for octets in _octets(name.partition("_")[0])]
    return list(dict.fromkeys(found))


def _as_input(octets: bytes, name: str, target: Target) -> bytes:
    if target.is_fragments:
        octets = encoded(octets, target.fragments)
    if not name.startswith("address"):
        octets = uncut(octets)
    return octets[: target.max_len]


def _octets(subject: str) -> Iterator[bytes]:
    if subject == "address":
        for path in _PATHS:
            yield from (bytes([way]) + path for way in range(5))
    elif subject == "client":
        yield _HOP
        yield from (line + b"\r\n" for line in _HOP.splitlines())
    elif subject == "proxyheader":
        for ip in ("192.0.2.7", "2001:db8::7"):
            yield from (v1(ip), v2(ip), v2(ip, tlvs=b"\x04\0\x03abc") + b"EHLO x\r\n")
        yield from (v2_local(), b"PROXY UNKNOWN\r\n")
    elif subject == "data":
        for end in _ENDS:
            yield b"A: b\r\n\r\n..c" + end + b"RSET\r\n.\r\nNOOP\r\n"
    else:
        yield from _dialogs()
        for end in _ENDS:
            yield _OPEN + b"DATA\r\na" + end + b"RSET\r\n.\r\nNOOP\r\n"
        yield b"NOOP\r\n" + b"A" * 1600
        yield _OPEN + b"BDAT 2\r\na\rBDAT 5 LAST\r\n\n.\r\nbNOOP\r\n"
        yield _OPEN + b"BDAT 9999\r\nNOOP\r\n"
        yield _OPEN + b"BDAT 70\r\n" + b"x" * 70 + b"BDAT 70 LAST\r\n" + b"y" * 70 + b"NOOP\r\n"
        yield _OPEN + b"BDAT 3\r\n\r\n\rBDAT 5 LAST\r\n.\r\nabNOOP\r\n"
        yield _OPEN + b"BDAT 5 LAST\r\na\r\n.\rNOOP\r\nQUIT\r\n"


def _dialogs() -> Iterator[bytes]:
    for path in dialog.all_dialogs():
        yield b"".join(
            dialog.octets(step) for step in dialog.load(path) if step.kind in ("C:", "C>")
        )


def random_inputs(name: str, count: int, seed: int) -> Iterator[bytes]:
    """The seeds, then ``count`` inputs made of them by a few random changes: what a test can do
    without a fuzzer. The same for the same seed.
    """
    yield from seeds(name)
    rng, own, target = random.Random(f"{seed} {name}"), seeds(name), TARGETS[name]
    for _ in range(count):
        changed = bytearray(rng.choice(own) if rng.random() < 0.8 else rng.randbytes(12))
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(changed) + 1)
            until = at + rng.choice((0, 0, 1, 1, 4))
            changed[at:until] = _something(rng, target)
        yield bytes(changed[: target.max_len])


def _something(rng: random.Random, target: Target) -> bytes:
    if target.is_fragments or rng.random() < 0.3:
        return rng.randbytes(rng.randint(0, 3))
    return rng.choice(target.fragments)
