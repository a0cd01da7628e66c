"""Rules about listeners and the machine."""

import os
from pathlib import Path

import pytest

from gwsmtp.config.listenrules import is_for_this_machine, unreadable
from gwsmtp.config.loader import check_file
from tests.config.helpers import ORGANIZATION, errors, warnings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server: {listen: ['127.0.0.1:25', '127.0.0.1']}", "2 server.listen[1]: 127.0.0.1:25 is"),
        ("server: {listen: '0.0.0.0:465'}", "ssl.listen[0]: 0.0.0.0:465 is given twice"),
        ("paths: {run: /" + "x" * 90 + "}", "2 paths.run: is longer than 80 bytes"),
    ],
)
def test_errors(tmp_path: Path, text: str, expected: str) -> None:
    found = errors(tmp_path, text)
    assert any(expected in line for line in found), found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server: {enabled: false}", "2 server.enabled: both servers are off"),
        (
            "server: {listen: ['0.0.0.0:25', '127.0.0.1:25']}",
            "2 server.listen[1]: 127.0.0.1:25 is covered",
        ),
        ("workers: {user: root}", "workers.user: the children would keep root's rights"),
    ],
)
def test_warnings(tmp_path: Path, text: str, expected: str) -> None:
    found = warnings(tmp_path, text + "\n")
    assert any(expected in line for line in found), found


def test_the_machine_of_an_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    class Name:
        nodename = "Node1.example.com"

    monkeypatch.setattr(os, "uname", Name)
    assert is_for_this_machine("")
    assert is_for_this_machine("node1")
    assert is_for_this_machine("NODE1.example.com")
    assert not is_for_this_machine("node1.example.org")
    assert not is_for_this_machine("node2")


def test_another_machines_interface_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "gw.yaml"
    path.write_text("interface: {name: a, host_server: elsewhere.example}\n" + ORGANIZATION)
    assert "will not run it" in check_file(path).warnings[0]


def test_addresses_on_any_free_port_are_never_the_same(tmp_path: Path) -> None:
    text = "server: {listen: ['127.0.0.1:0', '127.0.0.1:0']}\nssl: {listen: '127.0.0.1:0'}\n"
    assert errors(tmp_path, text) == []


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    assert unreadable(tmp_path / "none").endswith("No such file or directory")
    (tmp_path / "file").write_text("")
    assert unreadable(tmp_path / "file") == ""
