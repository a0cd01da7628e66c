"""What pydantic found, said in our words: one line a problem, with line number and a remedy.

Messages never quote a value: it may be a secret.
"""

import difflib
import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

from gwsmtp.config.setting import Group, model_at
from gwsmtp.config.yamltext import OMITTED, Path

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.-]{1,60}\Z")
# Said elsewhere already, or a consequence of something that is said
MAX_WORDED = 200
_SILENT = frozenset({"default_factory_not_called"})


class Problem:
    """One problem or remark: which key, what is wrong. ``line`` is 0 until it is looked up."""

    __slots__ = ("line", "path", "text")

    def __init__(self, path: Path, text: str, line: int = 0) -> None:
        self.path = path
        self.text = text
        self.line = line

    def render(self, file: str) -> str:
        """``file:line key: problem``."""
        where = f"{file}:{self.line}" if self.line else file
        key = key_text(self.path)
        return f"{where} {key}: {self.text}" if key else f"{where}: {self.text}"

    def __repr__(self) -> str:
        return f"Problem({self.render('')!r})"


def key_text(path: Path) -> str:
    """``external_delivery.relay_targets[0].host``; strange keys are quoted, on one line."""
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
            continue
        text = step if _PLAIN_KEY.match(step) else repr(step[:60])
        parts.append(f".{text}" if parts else text)
    return "".join(parts)


def from_validation(
    error: ValidationError, model: type[BaseModel], value: Any, prefix: Path = ()
) -> list[Problem]:
    """Every problem pydantic found in ``value``, those of refused values left out."""
    found: list[Problem] = []
    details = error.errors(include_url=False)
    holders = {detail["loc"][:n] for detail in details for n in range(len(detail["loc"]))}
    for detail in details:
        path: Path = tuple(detail["loc"])
        if detail["type"] == "too_short" and path in holders:
            continue  # pydantic counts the good entries only, and the bad ones are told
        if detail["type"] in _SILENT or _value_at(value, path) is OMITTED:
            continue
        if len(found) >= MAX_WORDED:
            found.append(Problem(path, ""))  # counted only: looking for near words takes time
            continue
        written = _as_written(value, path)
        text = _message(detail, model, path, _value_at(value, written))
        found.append(Problem((*prefix, *written), text))
    return found


def _as_written(value: Any, path: Path) -> Path:
    """``path`` in the file's own terms: the short forms (``smtp_host``, a row that is one text,
    several entries in one text) have fewer steps than the models they become.
    """
    steps: list[str | int] = []
    for index, step in enumerate(path):
        if isinstance(value, dict) and step == "smtp_hosts" and "smtp_host" in value:
            return (*steps, "smtp_host")
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        elif isinstance(value, str):
            return (*steps, *(rest for rest in path[index:] if isinstance(rest, int)))
        steps.append(step)
    return path


def _value_at(value: Any, path: Path) -> Any:
    """What the file holds at ``path``; None where the path leaves the file's values."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
        if value is OMITTED:
            return value
    return value


def _message(detail: Any, model: type[BaseModel], path: Path, value: Any) -> str:
    kind: str = detail["type"]
    context: dict[str, Any] = detail.get("ctx", {})
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", detail["msg"]))
    if kind == "extra_forbidden":
        return "unknown key" + nearest(str(path[-1]), _keys_at(model, path[:-1]))
    if kind == "missing":
        return "is required"
    if kind in ("string_type", "string_sub_type"):
        return _text_wanted(value)
    if kind in ("int_type", "int_from_float", "int_parsing"):
        return f"must be a whole number, not {_kind_of(value)}"
    if kind in ("float_type", "float_parsing"):
        return f"must be a number, not {_kind_of(value)}"
    if kind in ("bool_type", "bool_parsing"):
        return f"must be true or false, not {_kind_of(value)}"
    if kind in ("literal_error", "enum"):
        expected = str(context.get("expected", "")).replace("'", "")
        hint = nearest(value, re.split(r", | or ", expected)) if isinstance(value, str) else ""
        return f"must be {expected}{hint or _quote_hint(value)}"
    if kind in ("tuple_type", "list_type"):
        return f"must be a list, not {_kind_of(value)}"
    if kind in ("model_type", "model_attributes_type", "dict_type", "dataclass_type"):
        return f"must be a group of keys, not {_kind_of(value)}"
    if kind == "string_pattern_mismatch":
        return f"does not fit the pattern {context['pattern']}"
    return _bounds(kind, context) or str(detail["msg"]).lower()


def _bounds(kind: str, context: dict[str, Any]) -> str:
    if kind in ("greater_than_equal", "less_than_equal"):
        word = "least" if kind == "greater_than_equal" else "most"
        return f"must be at {word} {context['ge' if word == 'least' else 'le']}"
    if kind in ("string_too_long", "string_too_short"):
        word, name = ("most", "max") if kind.endswith("long") else ("least", "min")
        return f"must have at {word} {context[f'{name}_length']} characters"
    if kind in ("too_long", "too_short"):
        word, name = ("most", "max") if kind.endswith("long") else ("least", "min")
        return f"must have at {word} {context[f'{name}_length']} entries"
    return ""


def _keys_at(model: type[BaseModel], path: Path) -> Iterable[str]:
    inner = model_at(model, path)
    if inner is None:
        return ()
    return (*inner.model_fields, *(inner.short_forms if issubclass(inner, Group) else ()))


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean "x"?`` for the closest of ``known``, or nothing."""
    close = difflib.get_close_matches(word[:60], list(known), n=1, cutoff=0.5)
    return f'; did you mean "{close[0]}"?' if close else ""


def _kind_of(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number with a point", str: "text"}
    if value is None:
        return "nothing"
    return names.get(type(value), "a list" if isinstance(value, list) else "a group of keys")


def _quote_hint(value: Any) -> str:
    return "; put it in quotes" if isinstance(value, bool | int | float) else ""


def _text_wanted(value: Any) -> str:
    if value is None:
        return 'must be text; "" where it is to be blank'
    if isinstance(value, bool):
        return "must be text: unquoted yes, no, on, off, true, false are not; put it in quotes"
    if isinstance(value, int | float):
        return "must be text, not a number; put it in quotes"
    if isinstance(value, list):
        return 'must be text, not a list; an IPv6 address needs quotes: "[::1]:25"'
    return f"must be text, not {_kind_of(value)}"
