"""Which recipients a live gateway takes: hosted, known to their host, and of one next hop; and what
becomes of a positive call-out when the host refuses the recipient after all.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway import Gateway, open_folder
from tests.support.nexthop import NextHop
from tests.support.rawclient import RawClient, RawReply

pytestmark = pytest.mark.full

CONTENT = b"Subject: hello\r\n\r\nhello\r\n"
UNKNOWN = "550 5.1.1 Mailbox unknown"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    path = open_folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def other_hop(folder: Path) -> Iterator[NextHop]:
    with NextHop(folder, name="other") as hop:
        yield hop


@pytest.fixture(scope="module")
def next_hop(folder: Path) -> Iterator[NextHop]:
    with NextHop(folder) as hop:
        yield hop


@pytest.fixture(scope="module")
def gateway(folder: Path, next_hop: NextHop, other_hop: NextHop) -> Iterator[Gateway]:
    domains = [
        {"name": "example.test", "smtp_host": next_hop.address, "recipients": "callout"},
        {"name": "same.test", "smtp_host": next_hop.address, "recipients": "any"},
        {"name": "other.test", "smtp_host": other_hop.address, "recipients": "any"},
    ]
    settings = {
        "organizations": [{"name": "root", "domains": domains}],
        "workers": {"count": 1},
        "protocol": {"server_connection_timeout": 1, "server_protocol_timeout": 1},
        # The shipped default: 127.0.0.1 may relay one day, but not yet.
        "relay_protection": None,
    }
    with Gateway(folder, next_hop.address, settings) as gateway:
        yield gateway


@pytest.fixture
def client(gateway: Gateway, next_hop: NextHop) -> Iterator[RawClient]:
    next_hop.misbehave()
    with RawClient(gateway.address) as client:
        client.greet()
        yield client


def shown(reply: RawReply) -> str:
    return reply.raw.decode().rstrip("\r\n")


def rcpt(client: RawClient, recipient: str) -> str:
    return shown(client.command(f"RCPT TO:<{recipient}>"))


def mail(client: RawClient, sender: str = "a@client.example") -> None:
    assert client.command(f"MAIL FROM:<{sender}>").code == 250


def message(client: RawClient) -> str:
    """DATA and all that follows."""
    assert client.command("DATA").code == 354
    client.send(CONTENT + b".\r\n")
    return shown(client.read_reply())


def asked(hop: NextHop, recipient: str) -> int:
    """How often the next hop was told of ``recipient``."""
    return sum(f"<{recipient}>" in entry["line"] for entry in hop.entries("command"))


def test_not_hosted_is_refused_whoever_asks(client: RawClient) -> None:
    mail(client, "local@example.test")  # a relay source, and a hosted sender
    for recipient in ("a@elsewhere.test", "a@sub.example.test", "a@[127.0.0.1]"):
        assert rcpt(client, recipient).startswith("550 5.7.1 Relaying denied [")
    # No way round by a route or by old signs: what is asked for is a mailbox of ours, or nothing.
    assert rcpt(client, "@example.test:a@elsewhere.test").startswith("550 5.7.1 ")
    assert rcpt(client, "a@example.test").startswith("250 ")


def test_another_next_hop_is_for_another_message(
    client: RawClient, next_hop: NextHop, other_hop: NextHop
) -> None:
    mail(client, "two-hops@client.example")
    assert rcpt(client, "a@same.test").startswith("250 ")
    assert rcpt(client, "b@other.test").startswith("452 4.5.3 ")
    assert rcpt(client, "c@example.test").startswith("250 ")
    assert message(client).startswith("250 ")
    mail(client, "two-hops@client.example")
    assert rcpt(client, "b@other.test").startswith("250 ")
    assert rcpt(client, "a@same.test").startswith("452 4.5.3 ")
    assert message(client).startswith("250 ")
    for hop, recipients in (
        (next_hop, ["a@same.test", "c@example.test"]),
        (
            other_hop,
            ["b@other.test"],
        ),
    ):
        (entry,) = [m for m in hop.entries("message") if m["sender"] == "two-hops@client.example"]
        assert entry["recipients"] == recipients


def test_answers_are_remembered(client: RawClient, next_hop: NextHop) -> None:
    next_hop.misbehave("rcpt:nobody@*=550 5.1.1 nobody here")
    mail(client)
    for _ in range(3):
        assert rcpt(client, "somebody@example.test").startswith("250 ")
        assert rcpt(client, "nobody@example.test") == UNKNOWN
    assert asked(next_hop, "somebody@example.test") == asked(next_hop, "nobody@example.test") == 1


def test_a_group_is_asked_as_one(client: RawClient, next_hop: NextHop) -> None:
    next_hop.misbehave("rcpt:no-*=550 5.1.1 nobody here")
    names = [f"{'no' if n % 3 else 'yes'}-{n}@example.test" for n in range(20)]
    heard = client.pipeline(
        ["MAIL FROM:<a@client.example>", *(f"RCPT TO:<{name}>" for name in names)]
    )
    assert [reply.code for reply in heard[1:]] == [
        550 if name.startswith("no") else 250 for name in names
    ]
    assert [asked(next_hop, name) for name in names] == [1] * 20


@pytest.mark.parametrize(
    ("rule", "heard"),
    [
        ("550 5.7.1 by policy", "550 5.7.1 by policy"),
        ("552 5.2.2 full for good", "552 5.2.2 full for good"),
        ("553 5.1.3 no such address", UNKNOWN),
        ("550 nobody", UNKNOWN),
        ("450 4.2.1 full", "451 4.4.3"),
        ("421 4.3.2 closing", "451 4.4.3"),
        ("raw 354 go on\\r\\n", "451 4.4.3"),
        ("hang", "451 4.4.3"),
        ("close", "451 4.4.3"),
        ("reset", "451 4.4.3"),
        ("garbage", "451 4.4.3"),
        ("flood", "451 4.4.3"),
        ("line", "451 4.4.3"),
        (f"drip 250 {'x' * 60}", "451 4.4.3"),
        ("raw 250-half\\r\\n", "451 4.4.3"),
        ("250-2.1.5 two\\n250 2.1.5 lines", "250 2.1.5 "),
        ("raw 250 yes\\r\\n550 5.1.1 no\\r\\n", "250 2.1.5 "),
    ],
)
def test_what_a_call_out_hears(client: RawClient, next_hop: NextHop, rule: str, heard: str) -> None:
    name = f"{rule[:5].strip().replace(' ', '-')}-{len(rule)}@example.test"
    next_hop.misbehave(f"rcpt:{name}={rule}")
    mail(client)
    assert rcpt(client, name).startswith(heard)
    next_hop.misbehave()
    # What is not "unknown" is asked anew, and the session goes on.
    assert rcpt(client, name).startswith(UNKNOWN if heard == UNKNOWN else "250 ")


def test_refused_after_a_positive_call_out(client: RawClient, next_hop: NextHop) -> None:
    next_hop.misbehave("rcpt:gone@*#1=ok", "rcpt:gone@*=550 5.1.1 gone")
    mail(client)
    assert rcpt(client, "gone@example.test").startswith("250 ")
    assert message(client) == "550 5.1.1 gone"
    mail(client)
    assert rcpt(client, "gone@example.test") == UNKNOWN
    assert asked(next_hop, "gone@example.test") == 2
    assert not [m for m in next_hop.entries("message") if "gone@example.test" in m["recipients"]]


def test_one_of_two_refused_after_positive_call_outs(client: RawClient, next_hop: NextHop) -> None:
    """451 for both, and the client's next try delivers to the one that is there."""
    next_hop.misbehave("rcpt:left@*#1=ok", "rcpt:left@*=550 5.1.1 gone")
    mail(client, "first-try@client.example")
    assert rcpt(client, "left@example.test").startswith("250 ")
    assert rcpt(client, "stays@example.test").startswith("250 ")
    assert message(client).startswith("451 4.3.0 ")
    mail(client, "next-try@client.example")
    assert rcpt(client, "left@example.test") == UNKNOWN
    assert rcpt(client, "stays@example.test").startswith("250 ")
    assert message(client).startswith("250 ")
    senders = {entry["sender"]: entry["recipients"] for entry in next_hop.entries("message")}
    assert "first-try@client.example" not in senders
    assert senders["next-try@client.example"] == ["stays@example.test"]


def test_refused_by_policy_at_delivery_stays_known(client: RawClient, next_hop: NextHop) -> None:
    next_hop.misbehave("rcpt:strict@*#1=ok", "rcpt:strict@*#1=550 5.7.1 not from you")
    mail(client)
    assert rcpt(client, "strict@example.test").startswith("250 ")
    assert message(client) == "550 5.7.1 not from you"
    mail(client)
    assert rcpt(client, "strict@example.test").startswith("250 ")
    assert message(client).startswith("250 ")
