"""Rules over several keys: what is wrong, or worth a warning, although each value is good.

pydantic's own cross-field validators do not run when any field failed; these run on whatever
groups are valid, so that a file's problems come all at once. A rule reads values and, where it
says so, files; it never looks up names. The rules live by subject in ``listenrules``,
``tlsrules``, ``mailrules``, ``policyrules`` and ``ourules``; this file runs them.
"""

import os
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
from gwsmtp.config.tlsrules import TLS_RULES
from gwsmtp.config.yamltext import Path as KeyPath

RULES = (*LISTEN_RULES, *TLS_RULES, *MAIL_RULES, *POLICY_RULES, *OU_RULES)
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
    plans: dict[type[BaseModel], _Plan] = {}
    literals: list[KeyPath] = []
    for name, value in groups.items():
        _find_literals(literals, (name,), value, plans, set())
    return [warning(path, text) for path in literals]


def _find_literals(
    found: list[KeyPath],
    path: KeyPath,
    value: Any,
    plans: dict[type[BaseModel], "_Plan"],
    seen: set[int],
) -> None:
    """The paths of literal secrets; an object shared by many rows is looked at once."""
    if isinstance(value, tuple):
        for index, row in enumerate(value):
            if id(row) not in seen:
                seen.add(id(row))
                _find_literals(found, (*path, index), row, plans, seen)
        return
    if not isinstance(value, BaseModel):
        return
    plan = _plan_of(type(value), plans)
    for name in plan.secrets:
        secret = getattr(value, name)
        if isinstance(secret, Secret) and secret.is_literal:
            found.append((*path, name))
    for name in plan.nested:
        if name in value.model_fields_set:
            _find_literals(found, (*path, name), getattr(value, name), plans, seen)


def unenforced(config: Config) -> list[str]:
    """Keys that the file sets to something else than the default and that do not act yet."""
    found: dict[str, None] = {}
    plans: dict[type[BaseModel], _Plan] = {}
    for name in type(config).model_fields:
        _collect(found, name, getattr(config, name), plans)
    return list(found)


class _Plan:
    """The fields of a model by what the walks above look for."""

    __slots__ = ("idle", "nested", "secrets")

    def __init__(self, model: type[BaseModel]) -> None:
        fields = model.model_fields
        marks = {name: mark_of(field) for name, field in fields.items()}
        self.idle = {name for name, mark in marks.items() if mark and not mark.enforced}
        self.nested = [name for name in fields if model_in(fields[name].annotation) is not None]
        self.secrets = [name for name in fields if fields[name].annotation is Secret]


def _plan_of(model: type[BaseModel], plans: dict[type[BaseModel], _Plan]) -> _Plan:
    if model not in plans:
        plans[model] = _Plan(model)
    return plans[model]


def _collect(
    found: dict[str, None], key: str, value: Any, plans: dict[type[BaseModel], _Plan]
) -> None:
    if isinstance(value, tuple):
        for row in value:
            _collect(found, f"{key}[]", row, plans)
        return
    if not isinstance(value, BaseModel):
        return
    plan = _plan_of(type(value), plans)
    listed = {name for name in value.model_fields_set & plan.idle if _differs(value, name)}
    found.update((f"{key}.{name}", None) for name in sorted(listed))
    for name in plan.nested:
        if name in value.model_fields_set and name not in listed and _differs(value, name):
            _collect(found, f"{key}.{name}", getattr(value, name), plans)


def _differs(group: BaseModel, name: str) -> bool:
    """The field holds something else than its default."""
    field = type(group).model_fields[name]
    if field.is_required():
        return True
    default = field.get_default(call_default_factory=True, validated_data=group.__dict__)
    return bool(getattr(group, name) != default)
