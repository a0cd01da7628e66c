"""Rules over several keys: what is wrong, or worth a warning, although each value is good.

pydantic's own cross-field validators do not run when any field failed; these run on whatever
groups are valid, so that a file's problems come all at once. A rule reads values and, where it
says so, files; it never looks up names. The rules live by subject in ``listenrules``,
``mailrules``, ``policyrules`` and ``ourules``; this file runs them.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gwsmtp.config.finding import Finding, warning
from gwsmtp.config.listenrules import LISTEN_RULES
from gwsmtp.config.mailrules import MAIL_RULES
from gwsmtp.config.ourules import OU_RULES
from gwsmtp.config.policyrules import POLICY_RULES
from gwsmtp.config.root import Config
from gwsmtp.config.secret import Secret
from gwsmtp.config.setting import mark_of, model_in
from gwsmtp.config.yamltext import Path as KeyPath

RULES = (*LISTEN_RULES, *MAIL_RULES, *POLICY_RULES, *OU_RULES)
_GROUP_OR_WORLD_READABLE = 0o044


def crosscheck(groups: dict[str, Any]) -> list[Finding]:
    """Runs every rule whose groups are in ``groups`` (top-level key -> valid value)."""
    view = Config.model_construct(**groups)
    found: list[Finding] = []
    for rule in RULES:
        if all(name in groups for name in rule.needs):
            found.extend(rule.check(view))
    return found


def readable_secrets(groups: dict[str, Any], file: Path) -> list[Finding]:
    """A warning per literal secret in a ``file`` that others than its owner may read."""
    try:
        mode = os.stat(file).st_mode
    except OSError:
        return []
    if not mode & _GROUP_OR_WORLD_READABLE:
        return []
    text = f"is a literal secret in a file others can read (mode {mode & 0o777:04o}); chmod 600"
    return [
        warning(path, text)
        for name, value in groups.items()
        for path, secret in _secrets((name,), value)
        if secret.is_literal
    ]


def _secrets(path: KeyPath, value: Any) -> Iterator[tuple[KeyPath, Secret]]:
    # One shared object may stand in 100,000 domains: only what a file sets can be a literal
    if isinstance(value, Secret):
        yield path, value
    elif isinstance(value, tuple):
        for index, row in enumerate(value):
            if isinstance(row, BaseModel):
                yield from _secrets((*path, index), row)
    elif isinstance(value, BaseModel):
        for name in value.model_fields_set:
            yield from _secrets((*path, name), getattr(value, name))


def unenforced(config: Config) -> list[str]:
    """Keys that the file sets to something else than the default and that do not act yet."""
    found: dict[str, None] = {}
    for name in type(config).model_fields:
        _collect(found, name, getattr(config, name), {})
    return list(found)


_Plan = tuple[frozenset[str], tuple[str, ...]]


def _plan(model: type[BaseModel]) -> _Plan:
    """(fields that do not act yet, fields that hold further models)."""
    idle: list[str] = []
    nested: list[str] = []
    for name, field in model.model_fields.items():
        mark = mark_of(field)
        if mark is not None and not mark.enforced:
            idle.append(name)
        if model_in(field.annotation) is not None:
            nested.append(name)
    return frozenset(idle), tuple(nested)


def _collect(
    found: dict[str, None], key: str, value: Any, plans: dict[type[BaseModel], _Plan]
) -> None:
    if isinstance(value, tuple):
        for row in value:
            _collect(found, f"{key}[]", row, plans)
        return
    if not isinstance(value, BaseModel):
        return
    model = type(value)
    if model not in plans:
        plans[model] = _plan(model)
    idle, nested = plans[model]
    listed = {name for name in value.model_fields_set & idle if _differs(value, name)}
    found.update((f"{key}.{name}", None) for name in sorted(listed))
    for name in nested:
        if name in value.model_fields_set and name not in listed and _differs(value, name):
            _collect(found, f"{key}.{name}", getattr(value, name), plans)


def _differs(group: BaseModel, name: str) -> bool:
    """The field holds something else than its default."""
    field = type(group).model_fields[name]
    if field.is_required():
        return True
    default = field.get_default(call_default_factory=True, validated_data=group.__dict__)
    return bool(getattr(group, name) != default)
