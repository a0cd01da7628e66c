"""Dictionary attacks (SETTINGS 2.2): what a client hears before and after it is hidden from."""

import time

import pytest

from gwsmtp.base.audit import MessageEnded
from gwsmtp.directory.domains import RecipientRule
from gwsmtp.limits.policy import Policy
from gwsmtp.session.services import HidingMode
from gwsmtp.spool.item import RecipientState
from tests.session.rig import Client, Rig
from tests.support.tables import make_table

KNOWN = frozenset({"good@example.test", "also@example.test"})


@pytest.fixture
def watched(house: Rig) -> Rig:
    """A house that knows its mailboxes, and its clients."""
    house.table, house.knows_clients = make_table(), True
    house.rule, house.known = RecipientRule.LIST, KNOWN
    house.policy = Policy(is_acting=False)  # hiding is no matter of row 86
    return house


def rcpt(client: Client, local: str, domain: str = "example.test") -> str:
    return client.ask(f"RCPT TO:<{local}@{domain}>\r\n".encode())


def attack(house: Rig, *locals_: str) -> Client:
    """A client that has tried these mailboxes; MAIL has been said."""
    client = house.greeted()
    client.ask(b"MAIL FROM:<s@client.test>\r\n")
    for local in locals_:
        rcpt(client, local)
    return client


def finish(client: Client) -> str:
    assert client.ask(b"DATA\r\n").startswith("354")
    return client.ask(b"Subject: x\r\n\r\nhi\r\n.\r\n")


def test_three_different_ones_hear_the_truth_and_the_fourth_does_not(watched: Rig) -> None:
    client = attack(watched)
    for _ in range(3):
        assert rcpt(client, "no1").startswith("550 5.1.1")
    assert rcpt(client, "no2").startswith("550 5.1.1")
    assert rcpt(client, "nobody", "elsewhere.example").startswith("550 5.7.1")
    assert rcpt(client, "no3").startswith("550 5.1.1")
    assert rcpt(client, "no4").startswith("250 2.1.5")
    assert rcpt(client, "nobody", "elsewhere.example").startswith("550 5.7.1")


@pytest.mark.parametrize("between", [b"RSET\r\n", b"EHLO again.test\r\n"])
def test_nothing_makes_the_client_known_again(watched: Rig, between: bytes) -> None:
    client = attack(watched, "no1", "no2", "good", "no3")
    client.ask(between)
    client.ask(b"MAIL FROM:<s@client.test>\r\n")
    assert rcpt(client, "no4").startswith("250")
    client.close()
    assert rcpt(attack(watched), "no5").startswith("250")


def test_good_mail_of_a_hidden_client_is_spooled_and_the_rest_is_marked(watched: Rig) -> None:
    attack(watched, "no1", "no2", "no3").close()
    client = attack(watched, "good", "nobody", "also")
    assert finish(client) == "250 2.0.0 Message accepted"
    (envelope,) = watched.store.envelopes
    assert [(one.address, one.state) for one in envelope.recipients] == [
        ("good@example.test", RecipientState.PENDING),
        ("nobody@example.test", RecipientState.REFUSED),
        ("also@example.test", RecipientState.PENDING),
    ]
    assert envelope.reason == "dictionary-attack"
    assert watched.woken == [f"{envelope.session_id}-1"]
    assert (watched.messages[-1].outcome, watched.messages[-1].notes) == (
        "accepted",
        "hidden-unknown=1",
    )


def test_a_full_disk_puts_the_message_off(watched: Rig) -> None:
    attack(watched, "no1", "no2", "no3").close()
    watched.store.is_full = True
    assert finish(attack(watched, "good")).startswith("452 4.3.1")
    assert watched.messages[-1].outcome == "deferred"


def test_good_bad_and_mixed_are_told_apart_by_nothing(watched: Rig) -> None:
    """The same octets, the same calls: one look-up a recipient, one item, one wake-up."""
    attack(watched, "no1", "no2", "no3").close()
    heard: list[list[str]] = []
    for names in (("good", "also"), ("bad1", "bad2"), ("good", "bad3"), ("bad4", "also")):
        client = attack(watched)
        heard.append([rcpt(client, name) for name in names])
        began = time.monotonic()
        heard[-1].append(finish(client))
        assert time.monotonic() - began >= 0.3
        assert len(watched.store.envelopes) == len(watched.woken) == len(heard)
        client.close()
    assert all(one == heard[0] for one in heard)


@pytest.mark.parametrize(
    ("mode", "reply"), [("defer", "450 4.7.1 Not now"), ("close", "421 4.7.0 Closing")]
)
def test_the_other_modes_keep_the_message_with_the_sender(
    watched: Rig, mode: HidingMode, reply: str
) -> None:
    watched.hiding = mode
    attack(watched, "no1", "no2", "no3").close()
    for name in ("good", "nobody"):
        assert rcpt(attack(watched), name).startswith(reply)
    assert "[" not in reply


def test_zero_hides_from_the_start_and_minus_one_never(watched: Rig) -> None:
    watched.policy = Policy(bad_recipients=0, is_acting=False)
    assert rcpt(attack(watched), "no1").startswith("250")
    watched.policy = Policy(bad_recipients=-1, is_acting=False)
    client = attack(watched, *(f"no{n}" for n in range(10)))
    assert rcpt(client, "no10").startswith("550 5.1.1")


def test_a_client_with_many_good_recipients_may_make_typos(watched: Rig) -> None:
    names = [f"user{n}" for n in range(25)]
    watched.known = frozenset(f"{name}@example.test" for name in names)
    client = attack(watched, *names, "no1", "no2", "no3")
    assert rcpt(client, "no4").startswith("550 5.1.1")  # 4 of 29 are bad, not 30 %


def test_what_a_hidden_client_tries_costs_no_points(watched: Rig) -> None:
    client = attack(watched, "no1", "no2", "no3")
    score = watched.sessions[-1].conduct.score
    for number in range(4, 9):
        rcpt(client, f"no{number}")
    finish(client)
    assert watched.sessions[-1].conduct.score == score
    assert isinstance(watched.messages[-1], MessageEnded)
