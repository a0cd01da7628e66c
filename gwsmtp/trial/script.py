r"""Misbehaviours of the next hop as data: rules in text, one a line.

    STAGE[:GLOB][#COUNT]=ACTION

STAGE is the moment, GLOB narrows it (shell wildcards, case ignored), COUNT says at which times:

| stage    | when                                              | GLOB is matched with          |
|----------|---------------------------------------------------|-------------------------------|
| greeting | a connection was accepted                         | -                             |
| ehlo     | EHLO                                              | the name given                |
| helo     | HELO                                              | the name given                |
| mail     | MAIL                                              | the sender                    |
| rcpt     | RCPT                                              | the recipient                 |
| data     | DATA, before any reply to it                      | sender, or any recipient      |
| body     | the first octets of a message have come           | sender, or any recipient      |
| end      | the final dot has come, nothing is filed          | sender, or any recipient      |
| filed    | the message is filed, its reply is still to come  | sender, or any recipient      |
| rset     | RSET                                              | -                             |
| noop     | NOOP                                              | -                             |
| quit     | QUIT                                              | -                             |

| action                 | what happens                                                          |
|------------------------|-----------------------------------------------------------------------|
| `550 5.1.1 no`         | this reply; `\n` parts several lines (`250-a\n250 b`); 421 closes     |
| `raw TEXT`             | exactly these octets, with `\r`, `\n`, `\t`, `\\` and `\xHH`          |
| `ok`                   | what would have been said anyway (to leave out addresses, times) |
| `hang`                 | silence, nothing read, until the client goes or 10 minutes are over   |
| `close`                | an orderly end of the connection, no reply                            |
| `reset`                | the connection is reset (RST), no reply                               |
| `garbage`              | 512 octets that are no reply, then the session goes on                |
| `flood`                | lines of a reply without end: 64 MiB of them, then `close`            |
| `line`                 | one line of a reply without end: 64 MiB of it, then `close`           |
| `drip [REPLY]`         | the reply (else the usual one), one octet every 100 ms                |
| `delay SECONDS [ACTION]` | waits, then ACTION (else the usual reply)                           |

| count  | the rule acts                    |
|--------|----------------------------------|
| none   | always                           |
| `#2`   | the second time only             |
| `#1-3` | the first three times            |
| `#3+`  | from the third time on           |

Rules are asked in order and the first that acts ends the search; a rule counts how often it was
asked and its GLOB matched, over all connections. So `end#1=close`, `end#1=451 4.3.0 later` closes
the first time, defers the second, and files from the third on. A message is not filed when a rule
of `end` does anything but a 2xx reply, `ok`, or these after a delay or as a drip. A refused MAIL or
RCPT (a reply that is not 2xx) leaves no sender or recipient behind. Elsewhere than at `end`, a
`raw` that begins with a 2 grants what was asked for. Lines that are empty or begin with `#` are
comments.

Examples: `rcpt:unknown*=550 5.1.1 unknown` · `end=451 4.3.0 later` · `end#1=close` ·
`filed#1=reset` (filed, yet the answer is lost) · `ehlo=502 5.5.1 no` · `data=delay 3 close`.

Contract: no sockets, no waiting; ``ScriptFile`` looks at its file's stat before every answer (a
small local file: microseconds). Limits: a file changed twice within its time stamp's resolution
and to the same size may be read only once: replace it by rename, which changes the inode.
"""

import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path

MAX_DELAY_S = 600.0


class Stage(StrEnum):
    """The moments at which a rule may act."""

    GREETING = "greeting"
    EHLO = "ehlo"
    HELO = "helo"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    END = "end"
    FILED = "filed"
    RSET = "rset"
    NOOP = "noop"
    QUIT = "quit"


class Kind(StrEnum):
    """What an action does once its delay is over."""

    REPLY = "reply"
    RAW = "raw"
    OK = "ok"
    HANG = "hang"
    CLOSE = "close"
    RESET = "reset"
    GARBAGE = "garbage"
    FLOOD = "flood"
    LINE = "line"
    DRIP = "drip"


class ScriptError(ValueError):
    """A rule cannot be understood; the text names the rule and what is wrong with it."""


class Action:
    """``wire`` holds the octets of REPLY, RAW and DRIP; empty for DRIP means the usual reply."""

    __slots__ = ("delay_s", "kind", "wire")

    def __init__(self, kind: Kind, wire: bytes = b"", delay_s: float = 0.0) -> None:
        self.kind = kind
        self.wire = wire
        self.delay_s = delay_s

    @property
    def is_positive(self) -> bool:
        """The dialogue goes on as if all were well: the usual reply, or a 2xx or 3xx of its own."""
        if self.kind in (Kind.REPLY, Kind.DRIP) and self.wire:
            return self.wire[:1] in (b"2", b"3")
        return self.kind in (Kind.OK, Kind.DRIP)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Action) and (self.kind, self.wire, self.delay_s) == (
            other.kind,
            other.wire,
            other.delay_s,
        )

    def __hash__(self) -> int:
        return hash((self.kind, self.wire, self.delay_s))

    def __repr__(self) -> str:
        return f"Action({self.kind.value}, {self.wire!r}, delay_s={self.delay_s:g})"


class Rule:
    """One rule; ``asked`` is how often it has been asked so far."""

    __slots__ = ("action", "asked", "first", "glob", "last", "stage")

    def __init__(
        self, stage: Stage, glob: str, first: int, last: int | None, action: Action
    ) -> None:
        self.stage = stage
        self.glob = glob.lower()
        self.first = first
        self.last = last
        self.action = action
        self.asked = 0

    def acts(self, stage: Stage, arguments: Iterable[str]) -> bool:
        """Whether the rule acts now; counts when stage and GLOB match."""
        if stage is not self.stage:
            return False
        if self.glob and not any(fnmatchcase(text.lower(), self.glob) for text in arguments):
            return False
        self.asked += 1
        return self.asked >= self.first and (self.last is None or self.asked <= self.last)


class Script:
    """Rules in order, with their counters; used by one process, never from two threads at once."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rules = list(rules)

    @classmethod
    def parse(cls, lines: Iterable[str]) -> "Script":
        """A script from its lines; ScriptError names the first bad one."""
        stripped = (line.strip() for line in lines)
        return cls(parse_rule(line) for line in stripped if line and not line.startswith("#"))

    def action_for(self, stage: Stage, *arguments: str) -> Action | None:
        """What to do instead of the usual reply; None = nothing special."""
        for rule in self._rules:
            if rule.acts(stage, arguments):
                return rule.action
        return None


class ScriptFile(Script):
    """A script in a file, read anew (with all counters at zero) whenever the file has changed.

    A missing file is an empty script. One that cannot be read or understood leaves the rules as
    they were; ``on_error`` is told why.
    """

    def __init__(self, path: Path, on_error: Callable[[str], None] | None = None) -> None:
        super().__init__()
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self.on_error = on_error

    def load(self) -> None:
        """Reads the file if it has changed; raises ScriptError or OSError."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            self._stamp, self._rules = None, []
            return
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if stamp != self._stamp:
            self._stamp = stamp
            text = self._path.read_text(encoding="utf-8", errors="replace")
            self._rules = Script.parse(text.splitlines())._rules

    def action_for(self, stage: Stage, *arguments: str) -> Action | None:
        """As in Script, from the file as it is now."""
        try:
            self.load()
        except (ScriptError, OSError) as e:
            if self.on_error is not None:
                self.on_error(str(e))
        return super().action_for(stage, *arguments)


_RULE = re.compile(
    r"(?P<stage>[a-z]+)(?::(?P<glob>[^#=]+))?"
    r"(?:#(?P<first>[0-9]+)(?P<range>\+|-(?P<last>[0-9]+))?)?=(?P<action>.+)",
    re.DOTALL,
)
_REPLY_LINE = re.compile(r"(?P<code>[2-5][0-9][0-9])(?P<mark>[ -]|$).*")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPED = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\"}
_WITHOUT_GLOB = frozenset({Stage.GREETING, Stage.RSET, Stage.NOOP, Stage.QUIT})
_BARE_KINDS = {
    kind.value: kind
    for kind in (
        *(Kind.OK, Kind.HANG, Kind.CLOSE, Kind.RESET),
        *(Kind.GARBAGE, Kind.FLOOD, Kind.LINE),
    )
}


def parse_rule(text: str) -> Rule:
    """One rule from its text; ScriptError says what is wrong."""
    found = _RULE.fullmatch(text)
    if found is None:
        raise ScriptError(f"{text!r}: a rule is STAGE[:GLOB][#COUNT]=ACTION")
    try:
        stage = Stage(found["stage"])
    except ValueError as e:
        known = ", ".join(stage.value for stage in Stage)
        raise ScriptError(f"{text!r}: no stage {found['stage']!r}; there are {known}") from e
    if found["glob"] and stage in _WITHOUT_GLOB:
        raise ScriptError(f"{text!r}: {stage.value} has nothing to match {found['glob']!r} with")
    first, last = 1, None
    if found["first"]:
        first = int(found["first"])
        last = None if found["range"] == "+" else int(found["last"] or first)
    if first < 1 or (last is not None and last < first):
        raise ScriptError(f"{text!r}: the times count from 1 and do not go backwards")
    try:
        action = parse_action(found["action"].strip())
    except ScriptError as e:
        raise ScriptError(f"{text!r}: {e}") from e
    return Rule(stage, found["glob"] or "", first, last, action)


def parse_action(text: str) -> Action:
    """One action from its text; ScriptError says what is wrong."""
    word, _, rest = text.partition(" ")
    if word in _BARE_KINDS and not rest:
        return Action(_BARE_KINDS[word])
    if word == "raw" and rest:
        return Action(Kind.RAW, _unescaped(rest))
    if word == "drip":
        return Action(Kind.DRIP, _reply_wire(rest) if rest else b"")
    if word == "delay":
        return _delayed(rest)
    if word[:1].isdigit():
        return Action(Kind.REPLY, _reply_wire(text))
    kinds = ", ".join([*_BARE_KINDS, "raw TEXT", "drip [REPLY]", "delay SECONDS [ACTION]"])
    raise ScriptError(f"no action {text!r}; there are a reply, {kinds}")


def _delayed(text: str) -> Action:
    seconds, _, rest = text.partition(" ")
    try:
        delay_s = float(seconds)
    except ValueError as e:
        raise ScriptError(f"{seconds!r} is no number of seconds") from e
    if not 0 <= delay_s <= MAX_DELAY_S:
        raise ScriptError(f"a delay is between 0 and {MAX_DELAY_S:g} seconds")
    action = parse_action(rest.strip()) if rest.strip() else Action(Kind.OK)
    if action.delay_s:
        raise ScriptError("one delay is enough")
    return Action(action.kind, action.wire, delay_s)


def _reply_wire(text: str) -> bytes:
    lines = text.split(r"\n")
    found = [_REPLY_LINE.fullmatch(line) for line in lines]
    marks = ["-" if match and match["mark"] == "-" else " " for match in found]
    codes = {match["code"] if match else "" for match in found}
    if "" in codes or len(codes) != 1 or marks != ["-"] * (len(lines) - 1) + [" "]:
        raise ScriptError(
            f"{text!r} is no reply: lines `CODE text`, all but the last `CODE-text` (raw sends "
            "anything)"
        )
    return "".join(f"{line}\r\n" for line in lines).encode()


def _unescaped(text: str) -> bytes:
    def octets(found: re.Match[str]) -> str:
        escape = found[1]
        if len(escape) == 3:
            return chr(int(escape[1:], 16))
        if escape not in _ESCAPED:
            raise ScriptError(f"no escape \\{escape} in raw")
        return _ESCAPED[escape]

    try:
        return _ESCAPE.sub(octets, text).encode("latin-1")
    except UnicodeEncodeError as e:
        raise ScriptError("raw takes octets: write others as \\xHH") from e
