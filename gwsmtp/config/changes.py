"""What differs between two configurations, and what each difference needs to act.

Used by ``gwsmtp config diff`` and by the master at reload: what needs more than new workers is
told before ``adopt`` leaves it undone. Pure; secrets are masked in the texts.
"""

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel

from gwsmtp.config.organizations import Organization
from gwsmtp.config.reference import yaml_value
from gwsmtp.config.root import Config, walk_organizations
from gwsmtp.config.setting import Applies, Mark, is_row_list, mark_of, model_in

_WEIGHT = {kind: weight for weight, kind in enumerate(Applies)}
_SHOWN_CHARACTERS = 200


class Change:
    """One key that differs. ``old`` and ``new`` are texts, "" for what was not or is no more."""

    __slots__ = ("applies", "key", "new", "old")

    def __init__(self, key: str, old: str, new: str, applies: Applies) -> None:
        self.key = key
        self.old = old
        self.new = new
        self.applies = applies

    def __str__(self) -> str:
        if not self.old:
            return f"{self.key}: added {self.new} ({self.applies})"
        if not self.new:
            return f"{self.key}: removed, was {self.old} ({self.applies})"
        if self.old == self.new:
            return f"{self.key}: changed ({self.applies})"
        return f"{self.key}: {self.old} -> {self.new} ({self.applies})"


def changes(old: Config, new: Config) -> list[Change]:
    """Every difference, those that need most first, then by key."""
    found = [*_group("", old, new), *_organizations(old.organizations, new.organizations)]
    found.sort(key=lambda change: (-_WEIGHT[change.applies], change.key))
    return found


def needs(found: list[Change]) -> Applies | None:
    """What all changes together need; None where there are none."""
    return max((change.applies for change in found), key=lambda kind: _WEIGHT[kind], default=None)


def adopt(old: Config, new: Config) -> tuple[Config, list[Change]]:
    """What a reload may put in effect: ``new`` with the old values of what needs a restart, and
    those changes that it leaves out.
    """
    found = changes(old, new)
    return _kept(old, new), [change for change in found if change.applies is Applies.RESTART]


Model = TypeVar("Model", bound=BaseModel)


def _kept(old: Model, new: Model) -> Model:
    update: dict[str, Any] = {}
    for name, field in type(new).model_fields.items():
        before, after = getattr(old, name), getattr(new, name)
        if before == after:
            continue
        mark = mark_of(field)
        if model_in(field.annotation) is not None and not is_row_list(field.annotation):
            update[name] = _kept(before, after)
        elif mark is not None and mark.applies is Applies.RESTART:
            update[name] = before
    return new.model_copy(update=update) if update else new


def _group(prefix: str, old: BaseModel, new: BaseModel) -> Iterator[Change]:
    for name, field in type(new).model_fields.items():
        if not prefix and name == "organizations":
            continue
        before, after = getattr(old, name), getattr(new, name)
        if before == after:
            continue
        key = f"{prefix}{name}"
        mark = mark_of(field)
        if model_in(field.annotation) is not None and not is_row_list(field.annotation):
            yield from _group(f"{key}.", before, after)
        elif isinstance(mark, Mark):
            yield Change(key, _text(before), _text(after), mark.applies)


def _text(value: Any) -> str:
    text = yaml_value(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


def _organizations(
    old: tuple[Organization, ...], new: tuple[Organization, ...]
) -> Iterator[Change]:
    """By name: a domain that moves to another place in the file has not changed."""
    if old == new:
        return
    before, after = _by_name(old), _by_name(new)
    for key in before.keys() | after.keys():
        one, other = before.get(key), after.get(key)
        if one != other:
            yield Change(
                key,
                "" if one is None else _text(one),
                "" if other is None else _text(other),
                Applies.WORKERS,
            )


def _by_name(organizations: tuple[Organization, ...]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    names: dict[tuple[str | int, ...], str] = {}
    for path, unit in walk_organizations(organizations):
        parent = names.get(path[:-2], "")
        names[path] = unit.name
        result[f"organizations[{unit.name}]"] = f"below {parent}" if parent else "at the top"
        for domain in unit.domains:
            result[f"organizations[{unit.name}].domains[{domain.name}]"] = domain
    return result
