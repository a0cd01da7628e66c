"""Writes a configuration into a temporary file and reads it back."""

from pathlib import Path
from typing import Any

from gwsmtp.base.errors import ConfigError
from gwsmtp.config.loader import Report, check_file, load_config
from gwsmtp.config.root import Config

HEAD = "interface: {name: demo}\n"
ORGANIZATION = (
    'organizations: [{name: root, domains: [{name: example.test, smtp_host: "192.0.2.9:25"}]}]\n'
)


def write(directory: Path, text: str | bytes, mode: int = 0o600) -> Path:
    """A file with ``text``."""
    path = directory / "gw.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def config_of(directory: Path, text: str) -> Config:
    """The configuration of ``text`` behind a valid interface group."""
    return load_config(write(directory, HEAD + text))


def check(directory: Path, text: str, mode: int = 0o600) -> Report:
    """What a check says to ``text`` behind a valid interface group."""
    return check_file(write(directory, HEAD + text, mode))


def problems(directory: Path, text: str | bytes) -> list[str]:
    """The problems of a whole file, without the directory's name; at least one."""
    path = write(directory, text)
    try:
        load_config(path)
    except ConfigError as e:
        return [line.replace(f"{directory}/", "") for line in e.problems]
    raise AssertionError("the file was accepted")


def problem(directory: Path, text: str) -> str:
    """The only problem of ``text`` behind a valid interface group."""
    found = problems(directory, HEAD + text)
    assert len(found) == 1, found
    return found[0]


def value_of(directory: Path, text: str, key: str) -> Any:
    """The value at ``key`` (rows by number: ``a.0.b``) of a file that must be accepted."""
    value: Any = config_of(directory, text + "\n")
    for step in key.split("."):
        value = value[int(step)] if step.isdigit() else getattr(value, step)
    return value


def errors(directory: Path, text: str) -> list[str]:
    """The problems of ``text`` as ``line key: problem``."""
    return [line.partition("gw.yaml")[2].lstrip(":") for line in check(directory, text).problems]


def warnings(directory: Path, text: str) -> list[str]:
    """The warnings of ``text``, which must be accepted; with an organisation if it has none."""
    report = check(directory, text + (ORGANIZATION if "organizations" not in text else ""))
    assert report.problems == []
    return [line.partition("gw.yaml")[2].lstrip(":") for line in report.warnings]
