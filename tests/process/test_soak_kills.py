"""Soak: nothing lost, nothing delivered twice, while workers and engine are killed, the gateway is
reloaded and the next hop misbehaves, all at random. One attempt a message, so that every doubling
is ours.
"""

import os
import random
import re
import shutil
import signal
import threading
import time
from collections import Counter
from typing import Self

import pytest

from gwsmtp.limits.slots import Role
from tests.support.gateway import Gateway, open_folder
from tests.support.nexthop import NextHop
from tests.support.processes import children
from tests.support.rawclient import RawClient

pytestmark = pytest.mark.soak

CLIENTS = 8
MISBEHAVIOURS = (
    "mail#1=421 4.3.2 busy",
    "rcpt#1=reset",
    "data#1=close",
    "body#1=reset",
    "end#1=451 4.3.0 later",
    "end#1=554 5.6.0 never",
    "end#1=close",
    "filed#1=close",
    "filed#1=delay 0.3",
    "greeting#1=421 4.3.2 busy",
    "rset#1=close",
)
IN_DOUBT = "451 4.4.2"


class Senders:
    """Clients that send numbered messages until told to stop; ``heard`` holds each one's answer,
    "" where the connection was lost.
    """

    def __init__(self, address: str, rng: random.Random) -> None:
        self._address = address
        self._seeds = [rng.random() for _ in range(CLIENTS)]
        self._is_over = threading.Event()
        self.heard: dict[str, str] = {}
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, client: int) -> None:
        rng, number = random.Random(self._seeds[client]), 0
        while not self._is_over.is_set():
            try:
                with RawClient(self._address, timeout_s=30) as connection:
                    connection.greet()
                    for _ in range(rng.randint(1, 4)):
                        number += 1
                        self._send(connection, f"soak-{client}-{number}-", rng)
            except (OSError, AssertionError):
                self._is_over.wait(0.02)

    def _send(self, connection: RawClient, name: str, rng: random.Random) -> None:
        self.heard[name] = ""
        connection.command("RSET")
        replies = connection.pipeline(["MAIL FROM:<s@client.test>", "RCPT TO:<a@example.test>"])
        if any(reply.code != 250 for reply in replies):
            self.heard[name] = replies[-1].raw.decode()
            return
        reply = connection.command("DATA")
        if reply.code == 354:
            line = b"." * rng.randint(0, 70) + b"\r\n"
            content = name.encode() + b"\r\n" + line * rng.choice((1, 50, 500, 5000))
            wire = re.sub(rb"(?m)^\.", b"..", content) + b".\r\n"
            cuts = sorted(rng.randrange(len(wire)) for _ in range(rng.randint(0, 5)))
            connection.send_chunks(wire, cuts)
            reply = connection.read_reply()
        self.heard[name] = reply.raw.decode()


def test_no_message_is_lost_or_doubled(soak_rng: random.Random, soak_seconds: float) -> None:
    folder = open_folder()
    try:
        with NextHop(folder) as hop, Gateway(folder, hop.address, recipients="callout") as gateway:
            ends_at = time.monotonic() + soak_seconds
            killed: Counter[str] = Counter()
            with Senders(gateway.address, soak_rng) as senders:
                while time.monotonic() < ends_at:
                    # The random pause is the experiment: a kill at any moment of any message.
                    threading.Event().wait(soak_rng.uniform(0.05, 0.8))
                    role = soak_rng.choice((Role.WORKER, Role.ENGINE, None, None, signal.SIGHUP))
                    living = children(gateway, role) if isinstance(role, Role) else []
                    if role is signal.SIGHUP:
                        gateway.signal(signal.SIGHUP)
                        killed["HUP"] += 1
                    elif living:
                        os.kill(soak_rng.choice(living).pid, signal.SIGKILL)
                        killed[living[0].role.name] += 1
                    else:
                        rules = soak_rng.sample(MISBEHAVIOURS, soak_rng.randint(0, 3))
                        hop.misbehave(*rules)
                hop.misbehave()
            filed = Counter(
                re.search(rb"soak-\d+-\d+-", path.read_bytes())[0].decode()  # type: ignore[index]
                for path in (hop.maildir / "new").iterdir()
            )
    finally:
        shutil.rmtree(folder)
    check(senders.heard, filed)
    outcomes = Counter(
        answer[:9] if answer[:1] != "2" else "250" for answer in senders.heard.values()
    )
    print(f"\nsoak: {len(senders.heard)} messages, killed {dict(killed)}, heard {dict(outcomes)}")
    assert outcomes["250"] > 0 < sum(killed.values())


def check(heard: dict[str, str], filed: Counter[str]) -> None:
    """Promise 1: what was answered 250 is there once; what was refused is not there; where the
    last reply was lost, to us or from us, it may be there once.
    """
    lost = [name for name, answer in heard.items() if answer[:1] == "2" and not filed[name]]
    doubled = [name for name, count in filed.items() if count > 1]
    unasked = [
        (name, answer)
        for name, answer in heard.items()
        if answer and answer[:1] != "2" and not answer.startswith(IN_DOUBT) and filed[name]
    ]
    assert not lost, f"answered 250 and lost: {lost}"
    assert not doubled, f"delivered twice: {doubled}"
    assert not unasked, f"refused and delivered: {unasked}"
