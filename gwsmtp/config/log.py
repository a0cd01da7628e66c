"""Logging: format, level and where to."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import PlainValidator, ValidationInfo

from gwsmtp.config.setting import Group, setting
from gwsmtp.config.types import resolve_path

STREAMS = ("stderr", "stdout")


def _to(value: Any, info: ValidationInfo) -> str:
    if not isinstance(value, str):
        raise ValueError("must be stderr, stdout or a path")
    return value if value in STREAMS else str(resolve_path(value, info))


class LoggingGroup(Group):
    """One INFO line a session and one a message; more with level debug."""

    format: Literal["kv", "json"] = setting(
        "kv",
        title="Log format",
        description="kv: key=value pairs. json: one object a line.",
    )
    level: Literal["debug", "info", "warning", "error"] = setting(
        "info", title="Log level", description="The least weight that is written.", enforced=True
    )
    to: Annotated[str, PlainValidator(_to)] = setting(
        "stderr",
        title="Log to",
        description="stderr, stdout or the path of a file (reopened on USR1).",
        enforced=True,
    )

    @property
    def path(self) -> Path | None:
        """The log file, None for a stream."""
        return None if self.to in STREAMS else Path(self.to)
