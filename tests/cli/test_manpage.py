"""gwsmtp(8) is what the tables say, and nothing in it is a request by accident."""

import re
from pathlib import Path

from gwsmtp.base.exitcodes import EXIT_CODE_MEANING
from gwsmtp.cli.main import COMMANDS
from gwsmtp.cli.manpage import manpage
from gwsmtp.master.signals import SIGNALS

PAGE = Path(__file__).resolve().parents[2] / "packaging/man/gwsmtp.8"


def test_the_packaged_page_is_current() -> None:
    assert PAGE.read_text() == manpage(), "run: gwsmtp manpage > packaging/man/gwsmtp.8"


def test_every_row_of_the_tables_is_in_it() -> None:
    text = manpage().replace("\\-", "-")
    for row in SIGNALS:
        assert f".TP\n.B {row.name}\n{row.does}\n" in text
    for code, meaning in EXIT_CODE_MEANING.items():
        assert f".TP\n.B {int(code)}\n{meaning}\n" in text
    for name, _, does in COMMANDS:
        assert (f".TP\n.B {name}\n{does}\n" in text) == bool(does)


def test_no_text_is_taken_for_a_request() -> None:
    requests = {line.split()[0] for line in manpage().splitlines() if line.startswith((".", "'"))}
    assert requests == {'.\\"', ".TH", ".SH", ".B", ".I", ".RI", ".TP", ".PP"}
    assert not re.search(r"\\(?![-e&\"])", manpage())
