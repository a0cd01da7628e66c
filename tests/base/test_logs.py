import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwsmtp.base.audit import MessageEnded, SessionEnded
from gwsmtp.base.eventlog import EventLog
from gwsmtp.base.lines import LineWriter
from gwsmtp.base.logs import LineHandler, setup
from gwsmtp.base.quoting import quoted
from tests.support.realclock import RealClock


class FixedClock(RealClock):
    """Always the same second."""

    def iso(self) -> str:
        return "2026-01-02T03:04:05+00:00"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[BinaryIO]:
    with (tmp_path / "log").open("w+b", buffering=0) as opened:
        yield opened


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The root logger, put back as it was afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def content(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode()


# quoted ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("mail.example.test", "mail.example.test"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "x"', '"say \\"x\\""'),
        ("line\r\nline", '"line\\x0d\\x0aline"'),
        ("back slash\\", '"back slash\\\\"'),
        ("\x85\x9b", '"\\x85\\x9b"'),
        ("m\xfcller", '"m\xfcller"'),
        ("a\u2028b\u202ec", '"a\\u2028b\\u202ec"'),
    ],
)
def test_value_is_quoted_where_it_could_be_misread(value: str, shown: str) -> None:
    assert quoted(value) == shown


@given(st.text())
def test_any_value_is_one_line_without_control_characters(value: str) -> None:
    shown = quoted(value)
    assert len(f"{shown}\n".splitlines()) == 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", shown)


@given(st.text(), st.text())
def test_values_are_read_back_unmistakably(one: str, two: str) -> None:
    pattern = r'("(?:[^"\\]|\\.)*"|[^\s"=]+)'
    found = re.fullmatch(f"a={pattern} b={pattern}", f"a={quoted(one)} b={quoted(two)}", re.DOTALL)
    assert found is not None
    assert [_unquoted(group) for group in found.groups()] == [one, two]


def _unquoted(shown: str) -> str:
    if not shown.startswith('"'):
        return shown
    return re.sub(
        r"\\(?:x(..)|u(....)|(.))",
        lambda found: chr(int(found[1] or found[2], 16)) if not found[3] else found[3],
        shown[1:-1],
        flags=re.DOTALL,
    )


# LineWriter --------------------------------------------------------------------------------------


def test_lines_wait_for_the_flush(file: BinaryIO) -> None:
    writer = LineWriter(file.fileno())
    writer.add("a\n")
    writer.add("b\n")
    assert content(file) == ""
    writer.flush()
    writer.flush()
    assert content(file) == "a\nb\n"


def test_64_kib_are_written_without_being_asked(file: BinaryIO) -> None:
    writer = LineWriter(file.fileno())
    line = "x" * 1023 + "\n"
    for _ in range(63):
        writer.add(line)
    assert content(file) == ""
    writer.add(line)
    assert content(file) == line * 64


def test_lone_surrogates_do_not_stop_the_log(file: BinaryIO) -> None:
    writer = LineWriter(file.fileno())
    writer.add("bad=\udcff\n")
    writer.flush()
    assert content(file) == "bad=\\udcff\n"


def test_short_writes_are_continued(file: BinaryIO, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    writer = LineWriter(file.fileno())
    writer.add("0123456789\n")
    writer.flush()
    assert content(file) == "0123456789\n"


def test_full_device_loses_lines_and_says_how_many_later(file: BinaryIO) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        writer = LineWriter(full.fileno())
        writer.add("lost 1\n")
        writer.add("lost 2\n")
        writer.flush()
        writer.add("lost 3\n")
        writer.flush()
        writer.fd = file.fileno()
        writer.add("written\n")
        writer.flush()
        writer.add("and again\n")
        writer.flush()
    assert content(file) == ('level=ERROR msg="log lines lost" count=3\nwritten\nand again\n')


def test_closed_descriptor_does_not_raise() -> None:
    fd = os.open("/dev/null", os.O_WRONLY)
    os.close(fd)
    writer = LineWriter(fd)
    writer.add("nowhere\n")
    writer.flush()


# LineHandler and setup ---------------------------------------------------------------------------


def record(message: str, *args: object, exc: BaseException | None = None) -> logging.LogRecord:
    info = (type(exc), exc, exc.__traceback__) if exc else None
    return logging.LogRecord("gwsmtp.x", logging.WARNING, "x.py", 1, message, args, info)


def test_record_becomes_one_line(file: BinaryIO) -> None:
    handler = LineHandler(LineWriter(file.fileno()), "worker-0", FixedClock())
    handler.emit(record("no %s\nhere", "scanner"))
    assert content(file) == (
        "2026-01-02T03:04:05+00:00 worker-0 level=WARNING logger=gwsmtp.x "
        'msg="no scanner\\x0ahere"\n'
    )


def test_pairs_stay_as_they_are(file: BinaryIO) -> None:
    LineHandler(LineWriter(file.fileno()), "master", FixedClock()).emit(record("event=ready n=2"))
    assert content(file).endswith(" logger=gwsmtp.x event=ready n=2\n")


def test_traceback_becomes_one_value(file: BinaryIO) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        caught = error
    LineHandler(LineWriter(file.fileno()), "master", FixedClock()).emit(record("x", exc=caught))
    written = content(file)
    assert written.count("\n") == 1
    assert 'trace="Traceback (most recent call last):\\x0a' in written
    assert "ValueError: two\\x0alines" in written


def test_record_follows_the_hot_lines_before_it(file: BinaryIO) -> None:
    writer = LineWriter(file.fileno())
    writer.add("first\n")
    LineHandler(writer, "worker-0", FixedClock()).emit(record("second"))
    assert content(file).splitlines()[0] == "first"
    assert content(file).splitlines()[1].endswith("msg=second")


def test_record_that_cannot_be_formatted_raises_nothing(
    file: BinaryIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = LineHandler(LineWriter(file.fileno()), "worker-0", FixedClock())
    handled: list[logging.LogRecord] = []
    monkeypatch.setattr(handler, "handleError", handled.append)
    bad = record("%d", "no number")
    handler.emit(bad)
    assert handled == [bad]
    assert content(file) == ""


def test_setup_replaces_what_was_there(file: BinaryIO, root_logger: logging.Logger) -> None:
    root_logger.addHandler(logging.NullHandler())
    setup("master", "info", file.fileno(), FixedClock())
    writer = setup("worker-0", "warning", file.fileno(), FixedClock())
    assert len(root_logger.handlers) == 1
    logging.getLogger("gwsmtp.x").info("not shown")
    logging.getLogger("gwsmtp.x").warning("shown")
    writer.add("hot\n")
    writer.flush()
    lines = content(file).splitlines()
    assert lines == [
        "2026-01-02T03:04:05+00:00 worker-0 level=WARNING logger=gwsmtp.x msg=shown",
        "hot",
    ]


def test_setup_by_default_writes_to_stderr_with_the_time_of_day() -> None:
    program = (
        "import logging; from gwsmtp.base import logs; logs.setup('master', 'info');"
        "logging.getLogger('a').info('hello')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert re.fullmatch(r"\d{4}-\S+ master level=INFO logger=a msg=hello\n", done.stderr)


# EventLog ----------------------------------------------------------------------------------------


def written_by(event: SessionEnded | MessageEnded, file: BinaryIO) -> str:
    writer = LineWriter(file.fileno())
    EventLog(writer, "worker-1", FixedClock())(event)
    writer.flush()
    return content(file)


def test_line_of_a_session(file: BinaryIO) -> None:
    event = SessionEnded("bcdfghjklm", "smtp", "192.0.2.7", 4711)
    event.helo = "my host"
    event.after = "DATA"
    event.reason = "timeout"
    event.messages, event.commands, event.errors = 1, 5, 2
    event.bytes_in, event.bytes_out, event.duration_s = 300, 200, 1.23456
    assert written_by(event, file) == (
        "2026-01-02T03:04:05+00:00 worker-1 level=INFO event=session sid=bcdfghjklm listener=smtp "
        'peer=192.0.2.7 port=4711 helo="my host" after=DATA reason=timeout messages=1 commands=5 '
        "errors=2 in=300 out=200 seconds=1.235\n"
    )


def test_line_of_a_message_that_got_nowhere(file: BinaryIO) -> None:
    line = written_by(MessageEnded("bcdfghjklm", 3, "192.0.2.7", ""), file)
    assert line == (
        "2026-01-02T03:04:05+00:00 worker-1 level=INFO event=message sid=bcdfghjklm n=3 "
        'peer=192.0.2.7 helo="" from=<> to= size=0 verdict=- hop=- outcome=lost reply=""\n'
    )


def test_line_of_a_message_with_everything(file: BinaryIO) -> None:
    event = MessageEnded("bcdfghjklm", 1, "192.0.2.7", "c.test")
    event.sender = "a@b.test"
    event.recipients = ("c@d.test", "e@d.test")
    event.size_bytes = 4096
    event.outcome, event.reply = "accepted", "250 2.0.0 Ok"
    event.verdict, event.hop = "accept", "192.0.2.9:25"
    event.cause, event.notes = "why not", "shadow=rate"
    event.scan_s, event.delivery_s = 0.0, 0.01234
    assert written_by(event, file).endswith(
        "from=<a@b.test> to=<c@d.test>,<e@d.test> size=4096 verdict=accept hop=192.0.2.9:25 "
        'outcome=accepted reply="250 2.0.0 Ok" scan=0.0000 delivery=0.0123 cause="why not" '
        "notes=shadow=rate\n"
    )


@given(st.text(), st.lists(st.text(), max_size=3), st.text(), st.text(), st.text())
def test_nothing_a_client_says_makes_a_second_line(
    sender: str, recipients: list[str], helo: str, reply: str, cause: str
) -> None:
    event = MessageEnded("bcdfghjklm", 1, "192.0.2.7", helo)
    event.sender, event.recipients = sender, tuple(recipients)
    event.reply, event.cause = reply, cause
    with os.fdopen(os.memfd_create("log"), "w+b", buffering=0) as file:
        line = written_by(event, file)
    assert len(line.splitlines()) == 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line[:-1])
    pairs = r' (\w+)=(?:"(?:[^"\\]|\\.)*"|[^ "][^ ]*|)(?=[ \n])'
    keys = " ".join(key for key in re.findall(pairs, line) if key != "cause")
    assert keys == "level event sid n peer helo from to size verdict hop outcome reply"


def test_quoted_local_part_cannot_forge_a_pair(file: BinaryIO) -> None:
    event = MessageEnded("bcdfghjklm", 1, "192.0.2.7", "c.test")
    event.sender = '"x> outcome=accepted y=<"@d.test'
    event.recipients = ("bounce+a=b.test@d.test", '"a>,<b"@d.test')
    line = written_by(event, file)
    assert r" from=<\"x\x3e\x20outcome=accepted\x20y=\x3c\"@d.test> to=" in line
    assert r"to=<bounce+a=b.test@d.test>,<\"a\x3e\x2c\x3cb\"@d.test> " in line


def test_no_blank_of_unicode_divides_an_address(file: BinaryIO) -> None:
    blanks = [chr(code) for code in range(0x10000) if chr(code).isspace()]
    event = MessageEnded("bcdfghjklm", 1, "192.0.2.7", "c.test")
    event.sender = f'"{"x=y".join(blanks)}"@d.test'
    line = written_by(event, file)
    assert [pair for pair in line.split() if "x=y" in pair] == [
        pair for pair in line.split() if pair.startswith("from=")
    ]
