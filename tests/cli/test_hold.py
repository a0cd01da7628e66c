"""``gwsmtp hold`` and ``gwsmtp queue`` without a gateway: they work on the files."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gwsmtp.cli.main import cli
from gwsmtp.spool.files import Spool
from gwsmtp.spool.hold import Hold, HoldReason
from gwsmtp.spool.item import Mark, StateLine
from tests.support.spooled import CONTENT, TRACE, Octets, envelope

CONFIG = """\
interface: {name: test}
server: {listen: ["127.0.0.1:2525"]}
organizations: [{name: root, domains: [{name: example.test, smtp_host: "127.0.0.1:2600"}]}]
paths: {base: ./var}
"""
NASTY = b"Subject: \x1b[2Jred\r\nX: [bold]y[/bold]\r\n\r\nsecret\r\n"


class Place:
    """A folder as a gateway leaves it."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "gwsmtp.yaml"
        self.config.write_text(CONFIG)
        (folder / "var/private/queue").mkdir(parents=True)
        (folder / "var/hold").mkdir()
        self.spool = Spool(folder / "var/private/queue")
        self.hold = Hold(folder / "var/hold", self.spool)

    def put(self, number: int, content: bytes = CONTENT, reason: str = "expired") -> str:
        one = envelope(number, f"r{number}@example.test", received_at=1e9 + number)
        return self.hold.put(one, Octets(content), TRACE, reason)

    def run(self, *arguments: str) -> Result:
        group, name, *rest = arguments
        return CliRunner().invoke(
            cli, [group, name, "-c", str(self.config), *rest], standalone_mode=False
        )

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_an_empty_hold_says_so(place: Place) -> None:
    assert place.run("hold", "list").stdout == "nothing is held\n"
    assert place.json("hold", "list") == []
    assert place.run("queue", "list").stdout == "the queue is empty\n"
    assert place.json("queue", "list") == []


def test_what_is_held_is_listed(place: Place) -> None:
    first, second = place.put(1), place.put(2, reason=HoldReason.DICTIONARY_ATTACK)
    shown = place.run("hold", "list").stdout
    assert [line.split()[0] for line in shown.splitlines()] == ["id", first, second]
    for text in ("s1@client.example", "r2@example.test", "dictionary-attack", "192.0.2.7"):
        assert text in shown
    listed = place.json("hold", "list", "--reason", "expired")
    assert [(one["id"], one["reason"], one["sender"]) for one in listed] == [
        (first, "expired", "s1@client.example")
    ]
    assert listed[0]["recipients"][0]["address"] == "r1@example.test"
    assert listed[0]["octets"] > 0


def test_one_is_shown_and_obeys_no_terminal(place: Place) -> None:
    held = place.put(1, NASTY)
    shown = place.run("hold", "show", held).stdout
    assert "s1@client.example" in shown
    assert "Subject: \\x1b[2Jred" in shown
    assert "X: [bold]y[/bold]" in shown
    assert "secret" not in shown
    assert "\x1b" not in shown
    assert place.json("hold", "show", held)["held_at"] == 1e9 + 1
    assert place.run("hold", "show", held, "--raw").stdout_bytes == TRACE + NASTY


def test_release_and_delete_do_what_they_can(place: Place) -> None:
    first, second, third = (place.put(n) for n in (1, 2, 3))
    released = place.run("hold", "release", first, "bcd-99", second)
    assert released.return_value == 1
    assert released.stderr == "gwsmtp: there is no held message bcd-99\n"
    queued = sorted(place.spool.list())
    assert [line.split()[-4] for line in released.stdout.splitlines()] == queued
    assert [one["id"] for one in place.json("hold", "list")] == [third]
    assert [one["id"] for one in place.json("queue", "list")] == queued
    deleted = place.run("hold", "delete", third)
    assert (deleted.return_value, deleted.stdout) == (0, f"{third}: deleted\n")
    assert place.json("hold", "list") == []


def test_a_message_without_a_body_is_not_released(place: Place) -> None:
    one = envelope(1, "r@example.test")
    held = place.hold.put_headers_only(one, Octets(CONTENT), TRACE, "expired")
    assert "headers only" in place.run("hold", "list").stdout
    assert "not kept" in place.run("hold", "show", held).stdout
    released = place.run("hold", "release", held)
    assert (released.return_value, released.stderr) == (
        1,
        f"gwsmtp: {held}: only its headers were kept\n",
    )


def test_what_waits_is_shown_with_its_last_reply(place: Place) -> None:
    item_id = place.spool.put(envelope(1, "a@x.test", "b@x.test"), Octets(NASTY), TRACE)
    line = StateLine(1e9, Mark.DEFERRED, (0, 1), 1e9 + 60, "host:25", "451 4.3.0 later \x1b[31m")
    place.spool.append_state(item_id, [line])
    (place.spool.root / "bcd-9").write_bytes(b"nonsense")
    listed = place.run("queue", "list")
    for text in (item_id, "a@x.test and 1 more", "451 4.3.0 later \\x1b[31m"):
        assert text in listed.stdout
    assert listed.stderr == "gwsmtp: bcd-9: no item begins so\n"
    shown = place.run("queue", "show", item_id).stdout
    assert "<b@x.test> pending, 1 tries: host:25: 451 4.3.0 later" in shown
    assert place.run("queue", "show", item_id, "--raw").stdout_bytes == TRACE + NASTY
    assert place.json("queue", "show", item_id)["recipients"][1]["attempts"] == 1


def test_what_is_not_there_is_one_error(place: Place) -> None:
    for group in ("hold", "queue"):
        found = place.run(group, "show", "bcd-1").exception
        assert "bcd-1" in str(found)
