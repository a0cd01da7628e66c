"""Words between master and child, and their descriptors."""

import os
import socket

import pytest

from gwsmtp.process.control import Hearing, Word, make_pair, tell


def test_words_come_in_order_with_their_descriptors() -> None:
    ours, theirs = make_pair()
    hearing = Hearing(theirs.detach())
    assert hearing.next() is None
    read_end, write_end = os.pipe()
    assert tell(ours, Word.HOLD)
    assert tell(ours, Word.LOG, write_end)
    assert tell(ours, Word.ACCEPT)
    assert hearing.next() == (Word.HOLD, -1)
    heard = hearing.next()
    assert heard is not None
    word, fd = heard
    assert word is Word.LOG
    assert not os.get_inheritable(fd)
    os.write(fd, b"x")
    assert os.read(read_end, 10) == b"x"
    assert hearing.next() == (Word.ACCEPT, -1)
    assert hearing.next() is None
    for one in (fd, read_end, write_end):
        os.close(one)
    ours.close()
    with pytest.raises(EOFError):
        hearing.next()
    hearing.close()


def test_word_of_a_newer_master_is_passed_over() -> None:
    ours, theirs = make_pair()
    hearing = Hearing(theirs.detach())
    ours.send(b"sing")
    tell(ours, Word.HOLD)
    assert hearing.next() == (Word.HOLD, -1)
    ours.close()
    hearing.close()


def test_child_that_does_not_listen_holds_up_nobody() -> None:
    ours, theirs = make_pair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    assert not all(tell(ours, Word.HOLD) for _ in range(100_000))
    theirs.close()
    assert not tell(ours, Word.HOLD)
    ours.close()
