"""What is filed is what was given, whole or not at all."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gwsmtp.trial.maildir import Maildir


@pytest.fixture
def maildir(tmp_path: Path) -> Maildir:
    folder = Maildir(tmp_path / "deep" / "maildir")
    folder.create()
    return folder


def test_a_message_is_filed_octet_by_octet(maildir: Maildir) -> None:
    content = b"Subject: x\r\n\r\n.\r\nbare \n and \r and \x00\xff"
    path = maildir.file(content, "a@b", ["c@d"])
    assert path.parent == maildir.path / "new"
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o600
    assert not list((maildir.path / "tmp").iterdir())


def test_an_empty_message_is_a_file_too(maildir: Maildir) -> None:
    assert maildir.file(b"", "", ["c@d"]).read_bytes() == b""


def test_the_envelope_is_written_only_when_asked_for(tmp_path: Path) -> None:
    folder = Maildir(tmp_path, with_envelope=True)
    folder.create()
    path = folder.file(b"Subject: x\r\n", "a@b", ["c@d", "e@f"])
    assert path.read_bytes() == (
        b"Return-Path: <a@b>\r\nDelivered-To: c@d\r\nDelivered-To: e@f\r\nSubject: x\r\n"
    )


def test_names_are_unique_from_many_threads(maildir: Maildir) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda n: maildir.file(b"%d" % n, "", []), range(200)))
    assert len(set(paths)) == 200
    assert sorted(int(path.read_bytes()) for path in paths) == list(range(200))


def test_a_failure_leaves_nothing_behind(maildir: Maildir, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        maildir.file(b"x", "a@b", ["c@d"])
    assert not list((maildir.path / "tmp").iterdir())
    assert not list((maildir.path / "new").iterdir())
