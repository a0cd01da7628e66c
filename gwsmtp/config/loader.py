"""From a file to a checked value: the one way every YAML file of ours is read.

``load(path, model)`` is for any file; ``load_config(path)`` for the configuration itself, with the
rules over several keys; ``check_file(path)`` gives the same as lists of problems and warnings.
All problems of a file come at once, each as ``file:line key: problem``. Whatever the bytes, the
only exception is ConfigError. Blocks on the disk, and seconds for 100,000 domains: the master
calls it in a forked child.
"""

import os
import stat
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gwsmtp.base.errors import ConfigError
from gwsmtp.config.problems import Problem, from_validation
from gwsmtp.config.root import Config, with_host_domain
from gwsmtp.config.yamltext import MAX_BYTES, Parsed, TextError, decode, find_lines, parse
from gwsmtp.config.yamltext import Path as KeyPath

Model = TypeVar("Model", bound=BaseModel)
MAX_REPORTED = 200


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


def _parse(text: str, path: Path) -> Parsed:
    try:
        return parse(text)
    except TextError as e:
        raise ConfigError([_render(p.path, p.problem, p.line, path) for p in e.problems]) from None


def load(path: Path, model: type[Model]) -> Model:
    """The file as a ``model``. Raises ConfigError with every problem."""
    text = read_text(path)
    parsed = _parse(text, path)
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


def context_of(path: Path) -> dict[str, Any]:
    """What validators are told: where relative paths start (links stay links)."""
    return {"directory": Path(os.path.abspath(path)).parent}


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


def load_config(path: Path) -> Config:
    """The configuration in ``path``, checked. Raises ConfigError with every problem."""
    return with_host_domain(load(path, Config))
