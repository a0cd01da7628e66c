"""Rules 4 to 7 hold in gwsmtp, and each is seen to find its violation."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture import rules
from tests.architecture.house import House

Plant = Callable[[dict[str, str]], Path]
Rule = Callable[[House], list[str]]

RULES: tuple[Rule, ...] = (
    rules.only_layout_knows_offsets,
    rules.only_the_catalogue_words_replies,
    rules.only_cli_prints,
    rules.time_enters_through_the_clock,
    rules.randomness_is_an_argument,
    rules.no_module_level_state,
    rules.imports_have_no_effects,
)

BROKEN: list[tuple[Rule, str, str, str]] = [
    (
        rules.only_layout_knows_offsets,
        "limits/slots.py",
        "from struct import pack",
        "imports struct",
    ),
    (rules.only_layout_knows_offsets, "limits/slots.py", "w = t[base + 3]", "t[base + 3]"),
    (rules.only_layout_knows_offsets, "limits/slots.py", "w = t[8:16]", "t[8:16]"),
    (rules.only_layout_knows_offsets, "limits/slots.py", "w = view.cast('Q')", "casts memory"),
    (
        rules.only_layout_knows_offsets,
        "metrics/a.py",
        "w = memoryview(b).cast('Q')",
        "casts memory",
    ),
    (
        rules.only_the_catalogue_words_replies,
        "session/a.py",
        "from gwsmtp.base.reply import Reply\nR = Reply(250, '2.0.0', 'Fine')",
        "a.py:2: builds a Reply",
    ),
    (
        rules.only_the_catalogue_words_replies,
        "protocol/a.py",
        "from gwsmtp.base import reply\ndef f():\n    return reply.Reply(250, '', 'x')",
        "a.py:3: builds a Reply",
    ),
    (
        rules.only_the_catalogue_words_replies,
        "process/worker.py",
        "BUSY = b'421 4.3.2 Busy\\r\\n'",
        "a reply's text",
    ),
    (
        rules.only_the_catalogue_words_replies,
        "net/a.py",
        "X = f'550-5.1.1 No {x}'",
        "a reply's text",
    ),
    (
        rules.only_cli_prints,
        "master/a.py",
        "def f():\n    print('x')",
        "a.py:2: print outside cli/",
    ),
    (rules.only_cli_prints, "trial/a.py", "click.echo('x')", "click.echo outside cli/"),
    (rules.only_cli_prints, "base/a.py", "sys.stderr.write('x')", "sys.stderr.write outside"),
    (rules.time_enters_through_the_clock, "net/a.py", "import time", "imports time"),
    (
        rules.time_enters_through_the_clock,
        "net/a.py",
        "def f():\n    from time import monotonic",
        "a.py:2: imports time",
    ),
    (
        rules.time_enters_through_the_clock,
        "net/a.py",
        "from datetime import datetime, UTC\nx = datetime.now(UTC)",
        "datetime.now()",
    ),
    (
        rules.randomness_is_an_argument,
        "net/a.py",
        "import random\nx = random.choice(y)",
        "choice()",
    ),
    (rules.randomness_is_an_argument, "net/a.py", "from random import choice", "import choice"),
    (rules.randomness_is_an_argument, "net/a.py", "x = random.Random()", "random.Random()"),
    (rules.randomness_is_an_argument, "limits/a.py", "x = os.urandom(8)", "os.urandom()"),
    (rules.randomness_is_an_argument, "process/a.py", "x = random.random()", "random.random()"),
    (rules.no_module_level_state, "net/a.py", "cache = {}", "cache: a container"),
    (rules.no_module_level_state, "net/a.py", "seen: set[str] = set()", "seen: a container"),
    (rules.no_module_level_state, "net/a.py", "if x:\n    hosts = [h for h in y]", "hosts: a cont"),
    (rules.no_module_level_state, "net/a.py", "from x import d\nq = d.deque()", "q: a container"),
    (
        rules.no_module_level_state,
        "net/a.py",
        "n = 0\ndef f():\n    global n\n    n = 1",
        "global n",
    ),
    (rules.no_module_level_state, "net/a.py", "C = {}\ndef f(k):\n    C[k] = 1", "changes C"),
    (rules.no_module_level_state, "net/a.py", "C = {}\ndef f(k):\n    del C[k]", "changes C"),
    (rules.no_module_level_state, "net/a.py", "C = []\ndef f(k):\n    C.append(k)", "changes C"),
    (rules.imports_have_no_effects, "net/a.py", "signal.signal(1, f)", "signal.signal at import"),
    (rules.imports_have_no_effects, "net/a.py", "try:\n    f()\nexcept E:\n    g()", "g at import"),
    (rules.imports_have_no_effects, "net/a.py", "FILE = open('x')", "open at import"),
    (rules.imports_have_no_effects, "net/a.py", "LOCK = threading.Lock()", "threading.Lock at imp"),
    (rules.imports_have_no_effects, "net/a.py", "X: int = os.getpid() + 1", "os.getpid at import"),
]

FINE: list[tuple[Rule, str, str]] = [
    (rules.only_layout_knows_offsets, "limits/layout.py", "import struct\nx = t[8:16]"),
    (rules.only_layout_knows_offsets, "limits/arena.py", "x = m.cast('Q')\ny = x[layout.AT + i]"),
    (rules.only_layout_knows_offsets, "limits/slots.py", "x = t[0]\ny = t[-1]\nz = t[i + 1]"),
    (rules.only_layout_knows_offsets, "limits/arena.py", "x = boot_id[8:16]"),
    (rules.only_layout_knows_offsets, "spool/a.py", "x = t[2:]\ny = typing.cast(str, z)"),
    (rules.only_the_catalogue_words_replies, "base/replies.py", "X = Reply(250, '2.0.0', 'Ok')"),
    (
        rules.only_the_catalogue_words_replies,
        "session/a.py",
        "r: Reply = passed_on(c, l)\nX = '250'",
    ),
    (rules.only_cli_prints, "cli/a.py", "print('x')\nclick.echo('x')"),
    (rules.time_enters_through_the_clock, "base/clock.py", "import time"),
    (rules.time_enters_through_the_clock, "net/a.py", "def f(clock):\n    return clock.now()"),
    (
        rules.randomness_is_an_argument,
        "net/a.py",
        "from random import Random\ndef f(r): r.random()",
    ),
    (rules.randomness_is_an_argument, "net/a.py", "def f(seed): return random.Random(seed)"),
    (rules.randomness_is_an_argument, "process/a.py", "x = random.Random()\ny = os.urandom(8)"),
    (rules.no_module_level_state, "net/a.py", "A = {}\n_B = []\nc: Final = {}\n__all__ = ['A']"),
    (rules.no_module_level_state, "net/a.py", "C = {}\ndef f():\n    C = []\n    C.append(1)"),
    (rules.no_module_level_state, "net/a.py", "def f():\n    x = {}\n    x[1] = 2"),
    (rules.imports_have_no_effects, "net/a.py", "log = logging.getLogger(__name__)\n'text'"),
    (rules.imports_have_no_effects, "net/a.py", "if __name__ == '__main__':\n    main()"),
    (rules.imports_have_no_effects, "net/a.py", "PAGE = os.sysconf('SC_PAGE_SIZE')"),
    (rules.imports_have_no_effects, "net/a.py", "SPACE = socket.CMSG_SPACE(4)"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_gwsmtp_keeps(rule: Rule, house: House) -> None:
    assert rule(house) == []


@pytest.mark.parametrize(("rule", "place", "text", "problem"), BROKEN)
def test_violation_is_found(rule: Rule, place: str, text: str, problem: str, plant: Plant) -> None:
    found = rule(House(plant({f"gwsmtp/{place}": text})))
    assert any(problem in line for line in found), found


@pytest.mark.parametrize(("rule", "place", "text"), FINE)
def test_what_is_allowed_passes(rule: Rule, place: str, text: str, plant: Plant) -> None:
    assert rule(House(plant({f"gwsmtp/{place}": text}))) == []


def test_every_rule_is_tried_on_a_violation() -> None:
    assert {rule for rule, _, _, _ in BROKEN} == set(RULES)


def test_long_things_of_the_repository_say_why(root: Path) -> None:
    assert rules.long_things_say_why(root) == []


def _function(lines: int, above: str = "", beside: str = "") -> str:
    return f"{above}def f():{beside}\n" + "    x = 1\n" * (lines - 1)


@pytest.mark.parametrize(
    "text",
    [
        _function(61),
        _function(61, above="# long:\n"),
        "x = 1\n" * 401,
        '"""Doc."""\nx = 1\n# long: too late, nobody looks here\n' + "x = 1\n" * 400,
    ],
)
def test_long_thing_without_reason_is_found(text: str, plant: Plant) -> None:
    found = rules.long_things_say_why(plant({"gwsmtp/a.py": text}))
    assert len(found) == 1
    assert "no '# long: reason'" in found[0]


@pytest.mark.parametrize(
    "text",
    [
        _function(60),
        _function(61, above="# long: one table\n"),
        _function(61, beside="  # long: one table"),
        _function(61, above="# long: one table\n@decorated\n"),
        "x = 1\n" * 400,
        '"""Doc."""\n\n# long: one table\n' + "x = 1\n" * 400,
    ],
)
def test_short_thing_or_reason_passes(text: str, plant: Plant) -> None:
    assert rules.long_things_say_why(plant({"gwsmtp/a.py": text})) == []
