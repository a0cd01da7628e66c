"""From a file to a checked value: the one way every YAML file of ours is read.

``load(path, model)`` is for any file; ``load_config(path)`` for the configuration itself, with the
rules over several keys; ``check_file(path)`` gives the same as lists of problems and warnings.
All problems of a file come at once, each as ``file:line key: problem``. Whatever the bytes, the
only exception is ConfigError. Blocks on the disk, and seconds for 100,000 domains: the master
calls it in a forked child.
"""

import gc
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from gwsmtp.base.errors import ConfigError
from gwsmtp.config.crosscheck import crosscheck, readable_secrets, unenforced
from gwsmtp.config.problems import MAX_WORDED, Problem, from_validation
from gwsmtp.config.root import Config, with_host_domain, without_empty_groups
from gwsmtp.config.yamltext import MAX_BYTES, Parsed, TextError, decode, find_lines, parse
from gwsmtp.config.yamltext import Path as KeyPath

Model = TypeVar("Model", bound=BaseModel)
MAX_REPORTED = MAX_WORDED


def read_text(path: Path) -> str:
    """The file's text. Raises ConfigError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError:
        raise ConfigError([f"{str(path)!r}: is no file name"]) from None
    except OSError as e:
        raise ConfigError([f"{path}: {e.strerror}"]) from e
    try:
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError([f"{path}: is not a regular file"])
            data = file.read(MAX_BYTES + 1)
        return decode(data)
    except OSError as e:
        raise ConfigError([f"{path}: {e.strerror}"]) from e
    except TextError as e:
        raise ConfigError([_render(p.path, p.problem, p.line, path) for p in e.problems]) from None


def _render(key: KeyPath, text: str, line: int, path: Path) -> str:
    return Problem(key, text, line).render(str(path))


def parse_text(text: str, path: Path) -> Parsed:
    """The text of the file ``path`` as values. Raises ConfigError where it is no YAML."""
    try:
        return parse(text)
    except TextError as e:
        raise ConfigError([_render(p.path, p.problem, p.line, path) for p in e.problems]) from None


def load(path: Path, model: type[Model]) -> Model:
    """The file as a ``model``. Raises ConfigError with every problem."""
    text = read_text(path)
    parsed = parse_text(text, path)
    value = {} if parsed.value is None else parsed.value
    problems = [Problem(p.path, p.problem, p.line) for p in parsed.problems]
    try:
        result = model.model_validate(value, context=context_of(path))
    except ValidationError as e:
        problems += from_validation(e, model, value)
    else:
        if not problems:
            return result
    raise ConfigError(rendered(problems, text, path))


class Report:
    """What a check found. ``config`` is there where it can be used: without ``problems``, or with
    faults alone (``finding.fault``).
    """

    __slots__ = ("config", "problems", "warnings")

    def __init__(self, problems: list[str], warnings: list[str], config: Config | None) -> None:
        self.problems = problems
        self.warnings = warnings
        self.config = config

    def unenforced(self) -> list[str]:
        """Keys set to something else than their default that do not act yet."""
        return unenforced(self.config) if self.config is not None else []


def check_file(path: Path) -> Report:
    """Everything there is to say about the configuration in ``path``. Never raises ConfigError."""
    with _no_collector():
        return _check(path)


@contextmanager
def _no_collector() -> Iterator[None]:
    """Millions of objects are made and kept: the collector would look through them for nothing,
    again and again (a quarter of the time).
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _check(path: Path) -> Report:
    try:
        text = read_text(path)
        parsed = parse_text(text, path)
    except ConfigError as e:
        return Report(e.problems, [], None)
    value = {} if parsed.value is None else parsed.value
    context = context_of(path)
    problems = [Problem(p.path, p.problem, p.line) for p in parsed.problems]
    config: Config | None = None
    try:
        config = Config.model_validate(value, context=context)
        groups = {name: getattr(config, name) for name in Config.model_fields}
    except ValidationError as e:
        problems += from_validation(e, Config, value)
        groups = _valid_groups(e, value, context)
    findings = [*crosscheck(groups), *readable_secrets(groups, path)]
    problems += [Problem(f.path, f.text) for f in findings if f.is_error]
    is_usable = config is not None and not problems
    problems += [Problem(f.path, f.text) for f in findings if f.is_fault]
    warnings = [Problem(f.path, f.text) for f in findings if not (f.is_error or f.is_fault)]
    usable = with_host_domain(config) if config is not None and is_usable else None
    return Report(rendered(problems, text, path), rendered(warnings, text, path), usable)


def _valid_groups(failure: ValidationError, value: Any, context: dict[str, Any]) -> dict[str, Any]:
    """The top-level values that are good although the file as a whole is not."""
    if not isinstance(value, dict):
        return {}
    value = without_empty_groups(Config, value)
    bad = {detail["loc"][0] for detail in failure.errors(include_url=False) if detail["loc"]}
    groups: dict[str, Any] = {}
    for name, field in Config.model_fields.items():
        if name in bad:
            continue
        if name in value:
            annotation: Any = field.annotation
            adapter: TypeAdapter[Any] = TypeAdapter(annotation)
            groups[name] = adapter.validate_python(value[name], context=context)
        else:
            groups[name] = field.get_default(call_default_factory=True)
    return groups


def load_config(path: Path) -> Config:
    """The configuration in ``path``, checked. Raises ConfigError with every problem, but for a
    file whose problems are faults alone.
    """
    report = check_file(path)
    if report.config is None:
        raise ConfigError(report.problems)
    return report.config


def context_of(path: Path) -> dict[str, Any]:
    """What validators are told: where relative paths start (links stay links), and the SMTP hosts
    seen so far, so that equal ones of a file are one object.
    """
    return {"directory": Path(os.path.abspath(path)).parent, "hosts": {}}


def rendered(problems: list[Problem], text: str, path: Path) -> list[str]:
    """``problems`` with their lines, in the file's order, at most ``MAX_REPORTED`` of them."""
    shown = problems[:MAX_REPORTED]
    wanted = {p.path[:n] for p in shown if not p.line for n in range(1, len(p.path) + 1)}
    lines = find_lines(text, wanted) if wanted else {}
    for problem in shown:
        steps = len(problem.path)
        while not problem.line and steps:
            problem.line = lines.get(problem.path[:steps], 0)
            steps -= 1
    shown.sort(key=lambda problem: problem.line)
    result = [problem.render(str(path)) for problem in shown]
    if len(problems) > MAX_REPORTED:
        result.append(f"{path}: and {len(problems) - MAX_REPORTED} more problems")
    return result
