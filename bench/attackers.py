"""The attackers of bench/attack: one process an attack, many source addresses of 127.0.0.0/8.

``python -m bench.attackers NAME --plain H:P --ssl H:P --seconds S --strength F`` attacks for S
seconds and prints one line of JSON: what it tried and what it heard. Bounded whatever happens: in
connections at one time, in new connections a second (both in ``ATTACKS``) and in time; a kernel
alarm ends a process that hangs. It runs at a low priority, as it shares the processors with what it
attacks. Which addresses: 127.N.x.y, N of the attack, x all over, so that many /24s take part.
"""

import argparse
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent
from gevent import socket

NICE = 10
PATIENCE_S = 10.0
_HELLO = bytes.fromhex("160301020001fc0303") + bytes(507)


class Enemy:
    """One hostile connection, ``is_ssl`` on the SSL listener. ``tally`` counts what it hears; reads
    and writes may raise OSError.
    """

    def __init__(
        self, sock: Any, is_ssl: bool, tally: Counter[str], until: float, rng: random.Random
    ) -> None:
        self.sock = sock
        self.is_ssl = is_ssl
        self.tally = tally
        self.until = until
        self.rng = rng
        self._input = b""

    @property
    def has_time(self) -> bool:
        return time.monotonic() < self.until

    def reply(self) -> int:
        """The code of the next reply, 0 at the end of the connection."""
        while True:
            line, found, rest = self._input.partition(b"\n")
            if found:
                self._input = rest
                if line[3:4] != b"-":
                    self.tally[f"said {line[:3].decode('ascii', 'replace')}"] += 1
                    return int(line[:3]) if line[:3].isdigit() else 0
                continue
            data = self.sock.recv(4096)
            if not data:
                self.tally["closed"] += 1
                return 0
            self._input += data

    def ask(self, line: str) -> int:
        """One command and the code of its reply."""
        self.sock.sendall(line.encode() + b"\r\n")
        return self.reply()

    def drip(self, octets: bytes, pause_s: float) -> None:
        """One octet at a time, again and again, until the peer closes or time is over."""
        self.sock.settimeout(pause_s)
        position = 0
        while self.has_time:
            self.sock.sendall(octets[position : position + 1])
            position = (position + 1) % len(octets)
            try:
                if not self.sock.recv(4096):
                    self.tally["closed"] += 1
                    return
            except TimeoutError:
                pass


def flood(enemy: Enemy) -> None:
    """Reads the greeting and goes."""
    enemy.reply()


def dictionary(enemy: Enemy) -> None:
    """Guesses mailboxes."""
    if enemy.reply() != 220 or enemy.ask("EHLO guess.example") != 250:
        return
    if enemy.ask("MAIL FROM:<a@guess.example>") != 250:
        return
    for _ in range(50):
        name = f"unknown{enemy.rng.randrange(10**6)}"
        if not enemy.has_time or enemy.ask(f"RCPT TO:<{name}@example.test>") in (0, 421):
            return


def slow_commands(enemy: Enemy) -> None:
    """A command that never ends."""
    if enemy.reply() == 220:
        enemy.drip(b"EHLO slow.example ", 2.0)


def slow_data(enemy: Enemy) -> None:
    """A message that never ends."""
    if enemy.reply() != 220 or enemy.ask("EHLO slow.example") != 250:
        return
    for line in ("MAIL FROM:<a@slow.example>", "RCPT TO:<user@example.test>"):
        if enemy.ask(line) != 250:
            return
    if enemy.ask("DATA") == 354:
        enemy.drip(b"slow content, line after line\r\n", 1.0)


def slow_handshake(enemy: Enemy) -> None:
    """A ClientHello that never ends, on the SSL listener or after STARTTLS."""
    if not enemy.is_ssl:
        if enemy.reply() != 220 or enemy.ask("EHLO slow.example") != 250:
            return
        if enemy.ask("STARTTLS") != 220:
            return
    enemy.drip(_HELLO, 1.0)


def noop(enemy: Enemy) -> None:
    """NOOP, as fast as it is answered."""
    if enemy.reply() != 220:
        return
    while enemy.has_time and enemy.ask("NOOP") == 250:
        pass


def garbage(enemy: Enemy) -> None:
    """Lines of nonsense, without waiting for anything."""
    for _ in range(4):
        enemy.sock.sendall(enemy.rng.randbytes(1020) + b"\r\n")
    while enemy.reply():
        pass


def small(enemy: Enemy) -> None:
    """What nobody could object to, but so many."""
    if enemy.reply() != 220 or enemy.ask("EHLO small.example") != 250:
        return
    gevent.sleep(0.3)
    enemy.ask("NOOP")
    enemy.ask("QUIT")


def banned(enemy: Enemy) -> None:
    """Comes again and again, though it is banned."""
    while enemy.reply():
        pass


@dataclass(frozen=True)
class Attack:
    """``most`` connections at one time, ``rate`` new ones a second, from ``sources`` addresses of
    127.``net``.0.0/16; a connection is given up after ``connect_s``.
    """

    title: str
    net: int
    sources: int
    most: int
    rate: int
    run: Callable[[Enemy], None]
    connect_s: float = PATIENCE_S
    is_tls: bool = False


ATTACKS: dict[str, Attack] = {
    "flood": Attack("connection flood", 20, 100, 100, 300, flood),
    "dictionary": Attack("dictionary attack", 21, 40, 40, 80, dictionary),
    "slow-commands": Attack("slowloris on commands", 22, 64, 384, 200, slow_commands),
    "slow-data": Attack("slowloris on DATA", 23, 64, 384, 200, slow_data),
    "slow-handshakes": Attack(
        "slowloris on handshakes", 24, 64, 512, 250, slow_handshake, is_tls=True
    ),
    "noop": Attack("NOOP loop", 25, 20, 20, 40, noop),
    "garbage": Attack("garbage flood", 26, 40, 40, 150, garbage),
    "small": Attack("many small sources", 27, 10_000, 150, 150, small),
    "banned": Attack("banned clients that go on", 28, 60, 120, 400, banned, connect_s=0.25),
}


def source_of(attack: Attack, number: int) -> str:
    """Where an attacker's connection comes from."""
    number %= attack.sources
    return f"127.{attack.net}.{number % 250}.{1 + number // 250}"


class Attackers:
    """All connections of one attack."""

    def __init__(
        self, attack: Attack, plain: tuple[str, int], ssl: tuple[str, int], strength: float
    ) -> None:
        self.tally: Counter[str] = Counter()
        self._attack = attack
        self._plain = plain
        self._ssl = ssl
        self._rng = random.Random(attack.net)
        self._rate = attack.rate * strength
        self._most = max(1, round(attack.most * strength))
        self._number = 0
        self._until = self._due = 0.0

    def run(self, seconds: float) -> None:
        """Attacks for ``seconds``."""
        self._due = time.monotonic()
        self._until = self._due + seconds
        greenlets = [gevent.spawn(self._come_again) for _ in range(self._most)]
        gevent.joinall(greenlets, seconds + 1)
        gevent.killall(greenlets)

    def _come_again(self) -> None:
        while True:
            now = time.monotonic()
            due = self._due = max(self._due, now) + 1 / self._rate
            if due >= self._until:
                return
            gevent.sleep(due - now)
            self._number += 1
            self._come(self._number)

    def _come(self, number: int) -> None:
        attack = self._attack
        is_ssl = attack.is_tls and number % 2 == 1
        self.tally["tried"] += 1
        sock = socket.socket()
        try:
            sock.settimeout(attack.connect_s)
            sock.bind((source_of(attack, number), 0))
            sock.connect(self._ssl if is_ssl else self._plain)
            self.tally["connected"] += 1
            sock.settimeout(PATIENCE_S)
            attack.run(Enemy(sock, is_ssl, self.tally, self._until, self._rng))
        except TimeoutError:
            self.tally["no answer"] += 1
        except OSError as error:
            self.tally[(error.strerror or str(error)).lower()] += 1
        finally:
            sock.close()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=ATTACKS)
    parser.add_argument("--plain", type=_address, required=True)
    parser.add_argument("--ssl", type=_address, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--strength", type=float, default=1.0)
    options = parser.parse_args()
    signal.alarm(int(options.seconds) + 20)
    os.nice(NICE)
    attackers = Attackers(ATTACKS[options.name], options.plain, options.ssl, options.strength)
    attackers.run(options.seconds)
    print(json.dumps({"cpu_s": time.process_time(), "heard": dict(attackers.tally)}))


if __name__ == "__main__":
    main()
