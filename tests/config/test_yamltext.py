"""YAML's traps: each refused with its line and a remedy; everything else is what it looks like."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwsmtp.config import yamltext
from gwsmtp.config.yamltext import OMITTED, TextError, decode, find_lines, parse, scalar


def problem_of(text: str) -> str:
    """``line key: problem`` of the only problem."""
    try:
        found = parse(text).problems
    except TextError as e:
        found = e.problems
    assert len(found) == 1, [p.problem for p in found]
    key = ".".join(str(step) for step in found[0].path)
    return f"{found[0].line} {key}: {found[0].problem}"


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1", 1), ("-7", -7), ("0", 0), ("+3", 3), ("0.3", 0.3), ("5.", 5.0), ("true", True),
        ("no", False), ("on", True), ("OFF", False), ("~", None), ("", None), ("null", None),
        ("10.*", "10.*"), ("1.2.3.4", "1.2.3.4"), ("127.0.0.1:25", "127.0.0.1:25"),
        ("172.16.0.0/12", "172.16.0.0/12"), ("2001:db8::1", "2001:db8::1"), ("-", "-"),
        ("+", "+"), (".", "."), ("1a", "1a"), ("yEs", "yEs"), ("a:b", "a:b"), ("y", "y"),
        ("1.2.3.4:25:1", "1.2.3.4:25:1"),
    ],
)  # fmt: skip
def test_plain_words(word: str, value: Any) -> None:
    result = scalar(word)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("10:30", "base 60"),
        ("1:20:30", "base 60"),
        ("-1:30.5", "base 60"),
        ("0600", "plain decimal"),
        ("08", "plain decimal"),
        ("0x1F", "plain decimal"),
        ("0b1", "plain decimal"),
        ("0o17", "plain decimal"),
        ("1_000", "plain decimal"),
        (".5", "plain decimal"),
        ("1e3", "plain decimal"),
        ("1.5e+3", "plain decimal"),
        (".inf", "plain decimal"),
        ("-.NaN", "plain decimal"),
        ("12345678901234567890", "plain decimal"),
        ("2026-11-24", "date"),
        ("2026-11-24 10:00:00", "date"),
    ],
)
def test_traps_are_refused_with_a_remedy(word: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        scalar(word)
    assert parse(f'a: "{word}"').value == {"a": word}
    assert problem_of(f"a:\n  b: {word}").startswith("2 a.b: ")
    assert parse(f"a: [{word}]").value["a"] == [OMITTED]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("listen: [::1]:25", '1 listen: [ begins a list in YAML: put an IPv6 address in quotes'),
        ("listen: [[::1]:25]", "put an IPv6 address in quotes: [::1]:25"),
        ("a:\n  - [::1]:25", "2 a.0: [ begins a list"),
        ("a: *@*", "1 a: * begins an alias in YAML: put *@* in quotes"),
        ("a: [*@*, b]", "* begins an alias"),
        ("a: *.example.com", "* begins an alias"),
        ("a: *name", '1 a: * begins an alias in YAML: put it in quotes, "*name"'),
        ("a: &x 1", "anchors (&) are not supported"),
        ("a: &x {b: 1}", "anchors (&) are not supported"),
        ("a: !!int '1'", "tags (tag:yaml.org,2002:int) are not supported"),
        ("a: !foo [1]", "tags (!foo) are not supported"),
        ("a: %client%", "% has a meaning in YAML: put %client% in quotes"),
        ("a: @x", "@ has a meaning in YAML"),
        ("<<: {a: 1}", "merge keys"),
        ("a: 1\na: 2", "2 a: is given twice"),
        ("a: {b: 1, b: 2}", "1 a.b: is given twice"),
        ("a: 1\n---\nb: 2", "2 : a second document"),
        ("? {a: 1}\n: b", "a key must be plain text"),
        ("? [a]\n: b", "a key must be plain text"),
        ("a:\n\tb: 1", "a tab cannot indent"),
        ("a: {b: 1", "YAML:"),
        ("a: b: c", "1 : YAML: mapping values are not allowed"),
    ],
)  # fmt: skip
def test_refusals(text: str, expected: str) -> None:
    assert expected in problem_of(text)


def test_aliases_cannot_expand() -> None:
    bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
    with pytest.raises(TextError) as caught:
        parse(bomb)
    assert caught.value.problems[-1].line == 2


def test_quoted_and_block_scalars_are_text() -> None:
    text = "a: 'yes'\nb: \"10\"\nc: |\n  10:30\n  x\nd: >-\n  no\n"
    assert parse(text).value == {"a": "yes", "b": "10", "c": "10:30\nx\n", "d": "no"}


def test_keys_are_text_whatever_they_look_like() -> None:
    assert parse("on: 1\n62: 2\n0600: 3\n").value == {"on": 1, "62": 2, "0600": 3}


def test_problems_are_collected_up_to_a_bound() -> None:
    assert len(parse("a: 10:30\nb: 0600\nc: 1\n").problems) == 2
    many = "".join(f"k{i}: 0600\n" for i in range(1000))
    assert len(parse(many).problems) == yamltext.MAX_PROBLEMS


def test_what_was_found_before_a_fatal_error_is_kept() -> None:
    with pytest.raises(TextError) as caught:
        parse("a: 10:30\nb: [")
    assert [p.line for p in caught.value.problems] == [1, 2]


def test_depth_is_bounded() -> None:
    depth = yamltext.MAX_DEPTH
    parse("[" * depth + "]" * depth)
    assert "nested more than" in problem_of("[" * (depth + 1) + "]" * (depth + 1))


def test_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamltext, "MAX_BYTES", 10)
    assert decode(b"a: 1234567") == "a: 1234567"
    with pytest.raises(TextError, match="more than 10 octets"):
        decode(b"a: 12345678")


def test_decoding() -> None:
    assert decode(b"\xef\xbb\xbfa") == "a"
    assert decode("grüß: 😀".encode()) == "grüß: 😀"
    for data in (b"a\n\x01", b"a\n\xc3", b"a\n\x7f", "a\n\x84".encode(), "a\n\ufffe".encode()):
        with pytest.raises(TextError) as caught:
            decode(data)
        assert caught.value.problems[0].line == 2


def test_lines_of_paths() -> None:
    text = "a:\n  b: 1\n  c:\n    - x\n    - d: 2\n      e: {f: [1,\n        2]}\nz: 9\n"
    wanted: dict[yamltext.Path, int] = {
        ("a",): 1, ("a", "b"): 2, ("a", "c"): 3, ("a", "c", 0): 4, ("a", "c", 1): 5,
        ("a", "c", 1, "d"): 5, ("a", "c", 1, "e"): 6, ("a", "c", 1, "e", "f"): 6,
        ("a", "c", 1, "e", "f", 1): 7, ("z",): 8,
    }  # fmt: skip
    assert find_lines(text, {*wanted, ("nowhere",), ("a", "c", 7)}) == wanted
    assert find_lines("a: 1\na: 2\n", {("a",)}) == {("a",): 1}
    assert find_lines("a: 1\nb: [", {("a",)}) == {("a",): 1}


_PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**9), 10**9),
        st.text(st.characters(blacklist_categories=("Cs", "Cc"), max_codepoint=0xD7FF)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text("abc", min_size=1), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(deadline=None)
@given(_PLAIN)
def test_what_json_writes_is_read_back(value: Any) -> None:
    import json

    assert parse(json.dumps(value, ensure_ascii=True)).value == value


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_gives_a_value_or_a_text_error(text: str) -> None:
    try:
        parse(decode(text.encode("utf-8", "surrogatepass")))
    except TextError as e:
        assert all(problem.line >= 1 for problem in e.problems)
