"""Which gateway a file means: what ``stop`` and ``status`` need to find one that runs.

A file that has become unusable must not keep an administrator from stopping the gateway that was
started with it, so only ``interface.name``, ``paths.base``, ``paths.run`` and
``workers.drain_timeout`` are looked at, whatever else is wrong. The keys that name the gateway must
be good; a drain timeout that is not counts as its default. Blocks on the disk.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from gwsmtp.base.errors import ConfigError
from gwsmtp.config.interface import InterfaceGroup
from gwsmtp.config.loader import context_of, parse_text, read_text, rendered
from gwsmtp.config.paths import PathsGroup
from gwsmtp.config.problems import Problem, from_validation
from gwsmtp.config.setting import Group
from gwsmtp.config.workers import WorkersGroup

_NEEDED = (("interface", "name"), ("paths", "base"), ("paths", "run"))


class _Place(Group):
    """The groups of a file that say where its gateway is."""

    interface: InterfaceGroup
    paths: PathsGroup = Field(default_factory=PathsGroup)


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """The instance ``name``, whose files are in ``run``; ``drain_timeout`` in seconds."""

    name: str
    run: Path
    drain_timeout: int

    @property
    def pidfile(self) -> Path:
        """Where its master says who it is."""
        return self.run / f"{self.name}.pid"

    @property
    def table(self) -> Path:
        """Its shared table."""
        return self.run / f"{self.name}.table"


def find_whereabouts(path: Path) -> Whereabouts:
    """What the file at ``path`` says of it. Raises ConfigError where it is no YAML, cannot be read,
    or one of the keys that name the gateway has a problem.
    """
    text = read_text(path)
    parsed = parse_text(text, path)
    value = _picked(parsed.value, *_NEEDED)
    naming = {needed[:steps] for needed in _NEEDED for steps in (1, 2)}
    problems = [Problem(p.path, p.problem, p.line) for p in parsed.problems if p.path in naming]
    try:
        place = _Place.model_validate(value, context=context_of(path))
    except ValidationError as e:
        problems += from_validation(e, _Place, value)
        raise ConfigError(rendered(problems, text, path)) from None
    if problems:
        raise ConfigError(rendered(problems, text, path))
    return Whereabouts(place.interface.name, place.paths.run, _drain_timeout(parsed.value))


def _picked(value: Any, *paths: tuple[str, str]) -> dict[str, dict[str, Any]]:
    """Of the groups in ``value`` no more than the keys named by ``paths``."""
    found: dict[str, dict[str, Any]] = {}
    for group, key in paths:
        inner = value.get(group) if isinstance(value, dict) else None
        if isinstance(inner, dict):
            kept = found.setdefault(group, {})
            if key in inner:
                kept[key] = inner[key]
    return found


def _drain_timeout(value: Any) -> int:
    picked = _picked(value, ("workers", "drain_timeout")).get("workers", {})
    try:
        return WorkersGroup.model_validate(picked).drain_timeout
    except ValidationError:
        return WorkersGroup().drain_timeout
