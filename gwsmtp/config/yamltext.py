"""YAML text to plain values, without YAML's surprises.

The event stream of libyaml is read in one loop (no recursion, no node tree: 100,000 domains are
1.2 million events) and becomes dicts, lists, text, numbers, booleans and None. Everything that
YAML reads differently from what a person meant is refused with the line and a remedy: numbers in
base 60 (``10:30``) and base 8 (``0600``), dates, tags, anchors and aliases (``*@*`` unquoted is an
alias; an alias inside an alias can fill any memory), merge keys, a second document, a doubled key.
``yes no on off`` are booleans, as in YAML 1.1; where text is wanted the model refuses them.

``parse`` never raises anything but ``TextError``, whatever the bytes. Blocks on nothing.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

Path = tuple[str | int, ...]
MAX_BYTES = 128 * 1024 * 1024
MAX_DEPTH = 32
MAX_PROBLEMS = 200

_WORDS: dict[str, Any] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False),
}
_LONGEST_WORD = max(map(len, _WORDS))
_NUMERIC_START = frozenset("0123456789+-.")
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\Z")
_FLOAT = re.compile(r"[-+]?[0-9]{1,17}\.[0-9]{0,17}\Z")
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?\Z")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?\Z")
_OTHER_NUMBERS = re.compile(
    r"[-+]?(?:0[0-9_]+|0x[0-9a-fA-F_]+|0b[01_]+|0o[0-7_]+|[0-9][0-9_]*|[0-9][0-9_]*\.[0-9_]*"
    r"|[0-9.][0-9_.]*[eE][-+]?[0-9]+|\.[0-9_]+|\.(?:inf|Inf|INF|nan|NaN|NAN))\Z"
)
_BRACKETED = re.compile(r"\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\](?::[0-9]+)?")
# a word that begins with one of YAML's signs
_WORD = re.compile(r"[*%@`&!|>][^\s,\]}]*")
_CONTROL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class TextProblem:
    """One thing wrong with the text: ``line`` counts from 1, ``path`` names the key if known."""

    __slots__ = ("line", "path", "problem")

    def __init__(self, line: int, path: Path, problem: str) -> None:
        self.line = line
        self.path = path
        self.problem = problem


class TextError(Exception):
    """The text cannot be read to its end; what was found before comes first."""

    def __init__(self, problems: list[TextProblem]) -> None:
        super().__init__(problems[-1].problem)
        self.problems = problems


class Parsed:
    """``value`` of the only document; ``problems`` found on the way, their values left out."""

    __slots__ = ("problems", "value")

    def __init__(self, value: Any, problems: list[TextProblem]) -> None:
        self.value = value
        self.problems = problems


class _Omitted:
    """Stands for a value that was refused, so that nobody complains about it twice."""


OMITTED: Any = _Omitted()


def decode(data: bytes) -> str:
    """The text of a file. Raises TextError for what is no UTF-8 or holds control characters."""
    if len(data) > MAX_BYTES:
        raise TextError([TextProblem(1, (), f"the file has more than {MAX_BYTES} octets")])
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise TextError([TextProblem(1, (), "the file is UTF-16; save it as UTF-8")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        raise TextError([TextProblem(line, (), "the file is not UTF-8 here")]) from None
    bad = _CONTROL.search(text)
    if bad:
        line = text.count("\n", 0, bad.start()) + 1
        problem = f"control character U+{ord(bad.group()):04X}"
        raise TextError([TextProblem(line, (), problem)])
    return text


def scalar(text: str) -> Any:
    """What an unquoted word means. Raises ValueError with a remedy for YAML's traps."""
    if len(text) <= _LONGEST_WORD and text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC_START:
        return text
    if _DECIMAL.match(text):
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    if _BASE_60.match(text):
        raise ValueError(f'{text} is a number in base 60 to YAML: put it in quotes, "{text}"')
    if _DATE.match(text):
        raise ValueError(f'{text} is a date to YAML: put it in quotes, "{text}"')
    if _OTHER_NUMBERS.match(text):
        raise ValueError(
            f"{text[:40]} is not a plain decimal number: write it so, or put it in quotes"
        )
    return text


class _Frame:
    """An open mapping or list."""

    __slots__ = ("container", "key", "keys_seen", "path", "waits_for_key")

    def __init__(self, container: Any, path: Path) -> None:
        self.container = container
        self.path = path
        self.key: str | None = None
        self.waits_for_key = isinstance(container, dict)

    def child_path(self) -> Path:
        if isinstance(self.container, list):
            return (*self.path, len(self.container))
        return self.path if self.key is None else (*self.path, self.key)


class _Builder:
    """Builds the value of one document from events; problems are collected, not raised."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.stack: list[_Frame] = []
        self.problems: list[TextProblem] = []
        self.value: Any = None

    def problem(self, event: Any, path: Path, text: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(TextProblem(event.start_mark.line + 1, path, text))

    def fatal(self, event: Any, path: Path, text: str) -> TextError:
        return TextError([*self.problems, TextProblem(event.start_mark.line + 1, path, text)])

    def here(self) -> Path:
        return self.stack[-1].child_path() if self.stack else ()

    def put(self, value: Any) -> None:
        if not self.stack:
            self.value = value
            return
        frame = self.stack[-1]
        if frame.key is not None:
            frame.container[frame.key] = value
            frame.key = None
            frame.waits_for_key = True
        else:
            frame.container.append(value)

    def scalar(self, event: Any) -> None:
        text = event.value
        frame = self.stack[-1] if self.stack else None
        if event.anchor is not None or event.tag is not None:
            self.refuse_marks(event)
        if frame is not None and frame.waits_for_key:
            self.key(event, frame, text)
            return
        if not event.implicit[0] or event.style:
            self.put(text)
            return
        try:
            self.put(scalar(text))
        except ValueError as e:
            self.problem(event, self.here(), str(e))
            self.put(OMITTED)

    def key(self, event: Any, frame: _Frame, text: str) -> None:
        if text in frame.container:
            self.problem(event, (*frame.path, text), "is given twice")
        elif text == "<<":
            self.problem(event, frame.path, "merge keys (<<) are not supported")
        frame.key = text
        frame.waits_for_key = False

    def refuse_marks(self, event: Any) -> None:
        if event.anchor is not None:
            self.problem(event, self.here(), "anchors (&) are not supported; quote a leading &")
        if event.tag is not None:
            self.problem(event, self.here(), f"tags ({event.tag[:40]}) are not supported")

    def open(self, event: Any, container: Any) -> None:
        if event.anchor is not None or event.tag is not None:
            self.refuse_marks(event)
        if len(self.stack) >= MAX_DEPTH:
            raise self.fatal(event, (), f"is nested more than {MAX_DEPTH} deep")
        if self.stack and self.stack[-1].waits_for_key:
            line = self.text.splitlines()[event.start_mark.line]
            hint = _bracket_hint(line) or "a key must be plain text: put it in quotes"
            raise self.fatal(event, self.stack[-1].path, hint)
        self.stack.append(_Frame(container, self.here()))

    def close(self) -> None:
        self.put_closed(self.stack.pop().container)

    def put_closed(self, container: Any) -> None:
        self.put(container)


def parse(text: str) -> Parsed:
    """The value of ``text``. Raises TextError where YAML itself cannot go on."""
    builder = _Builder(text)
    documents = 0
    for event in _events(text, builder):
        kind = type(event)
        if kind is yaml.ScalarEvent:
            builder.scalar(event)
        elif kind is yaml.MappingStartEvent:
            builder.open(event, {})
        elif kind is yaml.SequenceStartEvent:
            builder.open(event, [])
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            builder.close()
        elif kind is yaml.AliasEvent:
            hint = f'* begins an alias in YAML: put it in quotes, "*{event.anchor}"'
            raise builder.fatal(event, builder.here(), hint)
        elif kind is yaml.DocumentStartEvent:
            documents += 1
            if documents > 1:
                raise builder.fatal(event, (), "a second document (---) begins here")
    return Parsed(builder.value, builder.problems)


def _events(text: str, builder: _Builder) -> Iterator[Any]:
    loader = yaml.CSafeLoader(text)
    try:
        while loader.check_event():
            yield loader.get_event()
    except yaml.YAMLError as e:
        raise TextError([*builder.problems, _explain(e, text, builder)]) from None
    finally:
        loader.dispose()


def _explain(error: yaml.YAMLError, text: str, builder: _Builder) -> TextProblem:
    """libyaml's error as one of ours, with a remedy where the text shows a usual mistake."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return TextProblem(1, (), "is no YAML")
    context = str(getattr(error, "context", None) or "")
    if context.endswith(("an alias", "an anchor")):
        mark = getattr(error, "context_mark", None) or mark
    lines = text.splitlines() or [""]
    number = min(mark.line, len(lines) - 1)
    line = lines[number]
    word = _WORD.match(line, mark.column) if mark.line == number else None
    path = builder.here()
    if word:
        what = "begins an alias" if word[0][0] == "*" else "has a meaning"
        hint = f"{word[0][0]} {what} in YAML: put {word[0][:60]} in quotes"
        return TextProblem(number + 1, path, hint)
    hint = _bracket_hint(line)
    if hint:
        # the list that YAML saw is no part of the key
        is_row = bool(path) and isinstance(path[-1], int)
        return TextProblem(number + 1, path[:-1] if is_row else path, hint)
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return TextProblem(number + 1, path, "a tab cannot indent in YAML: use blanks")
    problem = str(getattr(error, "problem", None) or "is no YAML")
    return TextProblem(number + 1, path, f"YAML: {problem}")


def _bracket_hint(line: str) -> str:
    bracketed = _BRACKETED.search(line)
    if bracketed is None:
        return ""
    return f"[ begins a list in YAML: put an IPv6 address in quotes: {bracketed[0]}"


def find_lines(text: str, wanted: set[Path]) -> dict[Path, int]:
    """The lines (from 1) where the ``wanted`` paths first stand, those that exist.

    A second reading of a text that ``parse`` accepted: positions are only needed for problems.
    """
    found: dict[Path, int] = {}
    paths: list[Path] = []
    counters: list[int] = []  # index in a list; -1: a key comes next; -2: its value
    builder = _Builder(text)
    try:
        for event in _events(text, builder):
            kind = type(event)
            if kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                paths.pop()
                counters.pop()
                continue
            is_scalar = kind is yaml.ScalarEvent
            opens = kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent
            if not (is_scalar or opens):
                continue
            path = paths[-1] if paths else ()
            if counters and counters[-1] == -1 and is_scalar:
                counters[-1] = -2
                paths[-1] = (*path[: len(counters) - 1], event.value)
                _note(found, wanted, paths[-1], event)
                continue
            if counters and counters[-1] >= 0:
                path = (*path[: len(counters) - 1], counters[-1])
                counters[-1] += 1
                _note(found, wanted, path, event)
            elif counters:
                counters[-1] = -1
            if opens:
                paths.append(path)
                counters.append(-1 if kind is yaml.MappingStartEvent else 0)
    except TextError:
        pass
    return found


def _note(found: dict[Path, int], wanted: set[Path], path: Path, event: Any) -> None:
    if path in wanted and path not in found:
        found[path] = event.start_mark.line + 1
