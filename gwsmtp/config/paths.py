"""Directories. All are derived from ``base`` unless given; relative ones start at the file."""

from pathlib import Path
from typing import Any

from gwsmtp.config.setting import Applies, Group, setting
from gwsmtp.config.types import FilePath

INSTALLED = Path("/opt/gwava/gwsmtp")


def _below(name: str) -> Any:
    def default(before: dict[str, Any]) -> Path:
        base: Path = before["base"]
        return base / name

    return default


def _tmp(before: dict[str, Any]) -> Path:
    # The manual has it beside the installation, at /opt/gwava/tmp
    base: Path = before["base"]
    return base.parent / "tmp" if base == INSTALLED else base / "tmp"


def _directory(title: str, description: str, factory: Any, text: str) -> Any:
    return setting(
        factory=factory,
        default_text=text,
        title=title,
        description=description,
        applies=Applies.RESTART,
        enforced=True,
    )


class PathsGroup(Group):
    """Where files live; every attribute is an absolute path."""

    base: FilePath = setting(
        INSTALLED,
        title="Base directory",
        description="Directory that the others are below.",
        applies=Applies.RESTART,
        enforced=True,
    )
    spool: FilePath = _directory(
        "Spool", "Messages on their way, and what rows 13 keeps.", _below("private"), "base/private"
    )
    hold: FilePath = _directory("Hold", "Messages that are held.", _below("hold"), "base/hold")
    run: FilePath = _directory(
        "Run", "Pidfile, sockets and the shared table; best on a tmpfs.", _below("run"), "base/run"
    )
    log: FilePath = _directory("Log", "Log files.", _below("log"), "base/log")
    tmp: FilePath = _directory(
        "Temporary files",
        "What the diagnostic settings retain.",
        _tmp,
        "base/tmp; beside the default base, where the manual has it",
    )
