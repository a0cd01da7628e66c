"""The language of misbehaviours."""

from pathlib import Path

import pytest

from gwsmtp.trial.script import (
    Action,
    Kind,
    Rule,
    Script,
    ScriptError,
    ScriptFile,
    Stage,
    parse_action,
    parse_rule,
)


def _kinds(script: Script, stage: Stage, times: int, *arguments: str) -> list[str]:
    actions = [script.action_for(stage, *arguments) for _ in range(times)]
    return [action.kind.value if action else "-" for action in actions]


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("550 5.1.1 no such user", Action(Kind.REPLY, b"550 5.1.1 no such user\r\n")),
        (r"250-one\n250 two", Action(Kind.REPLY, b"250-one\r\n250 two\r\n")),
        ("250", Action(Kind.REPLY, b"250\r\n")),
        (r"raw 250 a\n\x00\\", Action(Kind.RAW, b"250 a\n\x00\\")),
        ("hang", Action(Kind.HANG)),
        ("close", Action(Kind.CLOSE)),
        ("reset", Action(Kind.RESET)),
        ("garbage", Action(Kind.GARBAGE)),
        ("flood", Action(Kind.FLOOD)),
        ("line", Action(Kind.LINE)),
        ("ok", Action(Kind.OK)),
        ("drip", Action(Kind.DRIP)),
        ("drip 451 later", Action(Kind.DRIP, b"451 later\r\n")),
        ("delay 2", Action(Kind.OK, delay_s=2)),
        ("delay 0.5 451 4.3.0 later", Action(Kind.REPLY, b"451 4.3.0 later\r\n", delay_s=0.5)),
        ("delay 1 close", Action(Kind.CLOSE, delay_s=1)),
    ],
)
def test_an_action_is_read_from_its_text(text: str, action: Action) -> None:
    assert parse_action(text) == action


@pytest.mark.parametrize(
    "text",
    [
        "explode",
        "close now",
        "99 too short a code",
        "600 no such class",
        r"250 first\n250 second",
        r"250-first\n251 second",
        "250-never ends",
        "raw",
        r"raw \q",
        "raw €",
        "delay",
        "delay soon",
        "delay -1",
        "delay 601",
        "delay 1 delay 1",
        "delay nan",
    ],
)
def test_a_wrong_action_is_refused(text: str) -> None:
    with pytest.raises(ScriptError):
        parse_action(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("end", "STAGE[:GLOB][#COUNT]=ACTION"),
        ("noon=close", "no stage 'noon'"),
        ("quit:x=close", "nothing to match"),
        ("end#0=close", "count from 1"),
        ("end#3-2=close", "do not go backwards"),
        ("end=explode", "no action 'explode'"),
    ],
)
def test_a_wrong_rule_is_refused_by_name(text: str, problem: str) -> None:
    with pytest.raises(ScriptError) as caught:
        parse_rule(text)
    assert problem in str(caught.value)
    assert text in str(caught.value)


def test_a_glob_narrows_and_ignores_case() -> None:
    script = Script.parse(["rcpt:unknown*=550 5.1.1 no"])
    assert script.action_for(Stage.RCPT, "Unknown.Person@example.test") is not None
    assert script.action_for(Stage.RCPT, "known@example.test") is None
    assert script.action_for(Stage.MAIL, "unknown@example.test") is None


def test_a_glob_of_end_is_matched_with_sender_and_recipients() -> None:
    script = Script.parse(["end:*@bad.test=451 4.3.0 later"])
    assert script.action_for(Stage.END, "a@good.test", "b@bad.test") is not None
    assert script.action_for(Stage.END, "a@good.test", "b@good.test") is None


@pytest.mark.parametrize(
    ("count", "acts"),
    [("", "yyyyy"), ("#2", "nynnn"), ("#1-3", "yyynn"), ("#3+", "nnyyy")],
)
def test_a_count_says_at_which_times(count: str, acts: str) -> None:
    script = Script.parse([f"end{count}=close"])
    assert _kinds(script, Stage.END, 5) == ["close" if one == "y" else "-" for one in acts]


def test_rules_in_sequence_count_only_when_asked() -> None:
    script = Script.parse(["end#1=close", "end#1=451 4.3.0 later", "# a comment", ""])
    assert _kinds(script, Stage.END, 3) == ["close", "reply", "-"]


def test_what_is_positive_lets_the_dialogue_go_on() -> None:
    positive = ["ok", "drip", "drip 250 ok", "250 ok", "354 go", "delay 1"]
    negative = [
        "550 no",
        "drip 451 x",
        "close",
        "garbage",
        "flood",
        "line",
        "raw 250 ok",
        "hang",
        "reset",
    ]
    assert all(parse_action(text).is_positive for text in positive)
    assert not any(parse_action(text).is_positive for text in negative)


def test_a_rule_is_a_value_to_look_at() -> None:
    rule = parse_rule("rcpt:a*#2-4=close")
    assert isinstance(rule, Rule)
    assert (rule.stage, rule.glob, rule.first, rule.last) == (Stage.RCPT, "a*", 2, 4)
    assert repr(rule.action) == "Action(close, b'', delay_s=0)"
    assert len({parse_action("close"), parse_action("close"), parse_action("hang")}) == 2


class TestScriptFile:
    def test_is_read_anew_when_it_changes(self, tmp_path: Path) -> None:
        path = tmp_path / "script"
        script = ScriptFile(path)
        assert _kinds(script, Stage.END, 1) == ["-"]
        _replace(path, "end#1=close\n")
        assert _kinds(script, Stage.END, 2) == ["close", "-"]
        _replace(path, "end#1=reset\n")  # of the same length, and its count begins anew
        assert _kinds(script, Stage.END, 2) == ["reset", "-"]
        path.unlink()
        assert _kinds(script, Stage.END, 1) == ["-"]

    def test_that_is_wrong_leaves_the_rules_and_tells_once(self, tmp_path: Path) -> None:
        problems: list[str] = []
        path = tmp_path / "script"
        _replace(path, "end=close\n")
        script = ScriptFile(path, problems.append)
        assert _kinds(script, Stage.END, 1) == ["close"]
        _replace(path, "end=explode\n")
        assert _kinds(script, Stage.END, 3) == ["close"] * 3
        assert len(problems) == 1
        assert "explode" in problems[0]

    def test_without_a_listener_for_problems_keeps_quiet(self, tmp_path: Path) -> None:
        path = tmp_path / "script"
        _replace(path, "nonsense\n")
        script = ScriptFile(path)
        assert _kinds(script, Stage.END, 1) == ["-"]
        with pytest.raises(ScriptError):
            ScriptFile(path).load()


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_suffix(".new")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.rename(path)
