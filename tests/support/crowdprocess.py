"""A crowd of SMTP clients in a process of its own, from many /24 networks of the loopback.

    with Crowd(gateway.address, networks=100) as crowd:
        crowd.connect(2000)     # {"in": 1500, "refused": 500, "failed": 0}

A client is in from reading its 220 to the start of its own close; one that the server closed or
reset is lost. Standard library, nothing of gwsmtp. ``python -m tests.support.crowdprocess`` is the
process: one order a line of JSON, one answer each.
"""

import asyncio
import json
import random
import resource
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Self

_ROOT = Path(__file__).resolve().parents[2]
ANSWER_S = 30.0


class Crowd:
    """The process, as a test sees it; all numbers are of clients."""

    def __init__(self, address: str, networks: int = 100, *, is_ssl: bool = False) -> None:
        argv = [
            sys.executable,
            "-m",
            "tests.support.crowdprocess",
            address,
            str(networks),
            str(is_ssl),
        ]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.kill()
        self._process.wait()

    def connect(self, count: int) -> dict[str, int]:
        """That many connect at once; each stays if it is let in: {in, refused, failed}."""
        return self._ask("connect", count=count)

    def close(self, count: int) -> dict[str, int]:
        """That many of those that are in close: {in}."""
        return self._ask("close", count=count)

    def noop(self) -> dict[str, int]:
        """All that are in say NOOP: {in, answered, lost}; the lost are in no longer."""
        return self._ask("noop")

    def churn(self, count: int, seed: int) -> None:
        """That many come and go at random from now on."""
        self._ask("churn", count=count, seed=seed)

    def calm(self) -> dict[str, int]:
        """They stop: {peak, came, refused, failed, lost}; peak is the most that were ever in."""
        return self._ask("calm")

    def _ask(self, what: str, **arguments: int) -> dict[str, int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"what": what, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the crowd's process has died"
        answer: dict[str, int] = json.loads(line)
        return answer


class _Client:
    """One connection."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def come(self, address: tuple[str, int], context: ssl.SSLContext | None) -> str:
        """in, refused or failed."""
        try:
            self.reader, self.writer = await asyncio.open_connection(
                *address, local_addr=(self.source, 0), ssl=context
            )
        except (ConnectionError, ssl.SSLError):
            return "refused" if context else "failed"
        try:
            line = await self.reader.readline()
        except (ConnectionError, ssl.SSLError):
            line = b""
        if line.startswith(b"220 "):
            return "in"
        self.go()
        is_refusal = line.startswith(b"421 4.3.2 ") or (context and not line)
        return "refused" if is_refusal else "failed"

    async def noop(self) -> bool:
        try:
            self.writer.write(b"NOOP\r\n")
            return (await self.reader.readline()).startswith(b"250 ")
        except ConnectionError:
            return False

    def go(self) -> None:
        self.writer.transport.abort()


class _Process:
    """Carries orders out."""

    def __init__(self, address: str, networks: int, *, is_ssl: bool) -> None:
        host, _, port = address.rpartition(":")
        self._address = host, int(port)
        self._networks = networks
        self._context: ssl.SSLContext | None = None
        if is_ssl:
            self._context = ssl.create_default_context()
            self._context.check_hostname = False
            self._context.verify_mode = ssl.CERT_NONE
        self._in: list[_Client] = []
        self._started = 0
        self._live = self._peak = 0
        self._is_calm = asyncio.Event()
        self._churning: list[asyncio.Task[None]] = []
        self._sums: dict[str, int] = {}

    def _client(self) -> _Client:
        """The next one: networks in turn, so that all of them are there at any time."""
        number = self._started
        self._started += 1
        network, host = number % self._networks, number // self._networks % 250
        return _Client(f"127.{1 + network}.7.{1 + host}")

    async def connect(self, count: int) -> dict[str, int]:
        clients = [self._client() for _ in range(count)]
        ends = await asyncio.gather(*(c.come(self._address, self._context) for c in clients))
        self._in += [client for client, end in zip(clients, ends, strict=True) if end == "in"]
        return {end: ends.count(end) for end in ("in", "refused", "failed")}

    async def close(self, count: int) -> dict[str, int]:
        for _ in range(count):
            self._in.pop().go()
        return {"in": len(self._in)}

    async def noop(self) -> dict[str, int]:
        answers = await asyncio.gather(*(client.noop() for client in self._in))
        lost = [client for client, is_there in zip(self._in, answers, strict=True) if not is_there]
        for client in lost:
            self._in.remove(client)
            client.go()
        return {"in": len(self._in), "answered": sum(answers), "lost": len(lost)}

    async def churn(self, count: int, seed: int) -> dict[str, int]:
        self._is_calm.clear()
        self._live = self._peak = len(self._in)
        self._sums = dict.fromkeys(("came", "in", "refused", "failed", "lost"), 0)
        self._churning = [
            asyncio.create_task(self._come_and_go(random.Random(f"{seed} {n}")))
            for n in range(count)
        ]
        return {}

    async def calm(self) -> dict[str, int]:
        self._is_calm.set()
        await asyncio.gather(*self._churning)
        return {"peak": self._peak, **self._sums}

    async def _come_and_go(self, rng: random.Random) -> None:
        while not self._is_calm.is_set():
            client = self._client()
            end = await client.come(self._address, self._context)
            self._sums["came"] += 1
            self._sums[end] += 1
            if end == "in":
                self._live += 1
                self._peak = max(self._peak, self._live)
            await asyncio.sleep(rng.uniform(0.0, 0.1))
            if end == "in":
                self._sums["lost"] += client.reader.at_eof()
                self._live -= 1
                client.go()


async def _serve(process: _Process) -> None:
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        order = json.loads(line)
        answer = await asyncio.wait_for(getattr(process, order.pop("what"))(**order), ANSWER_S)
        print(json.dumps(answer), flush=True)


def main() -> None:
    address, networks, is_ssl = sys.argv[1:]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 16384), most))
    asyncio.run(_serve(_Process(address, int(networks), is_ssl=is_ssl == "True")))


if __name__ == "__main__":
    main()
