"""A password in the file: written there, or named as ``file:PATH`` or ``env:NAME``.

A secret never shows itself: ``repr``, ``str`` and every dump give a mask. ``reveal()`` reads the
file or the environment each time it is asked, so a changed password needs no reload; it blocks on
the disk and belongs behind ``net.offload`` in a gevent process. Relative paths are relative to
the configuration file.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import PlainValidator, ValidationInfo

from gwsmtp.base.errors import ConfigError

MASK = "********"
_MAX_SECRET = 4096
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class Secret:
    """``source`` is "" (nothing), "literal", "file" or "env"; compared by what was written."""

    __slots__ = ("_text", "source")

    def __init__(self, text: str, source: str = "literal") -> None:
        self._text = text
        self.source = source if text else ""

    @property
    def is_set(self) -> bool:
        """Something was written."""
        return bool(self._text)

    @property
    def is_literal(self) -> bool:
        """The secret itself stands in the configuration file."""
        return self.source == "literal"

    @property
    def path(self) -> Path | None:
        """The file it is read from, if it is."""
        return Path(self._text) if self.source == "file" else None

    def reveal(self) -> str:
        """The secret itself. Blocks on the disk for ``file:``. Raises ConfigError."""
        if self.source == "env":
            value = os.environ.get(self._text)
            if value is None:
                raise ConfigError([f"environment variable {self._text} is not set"])
            return value
        if self.source == "file":
            return _first_line(Path(self._text))
        return self._text

    def public(self) -> str:
        """How dumps show it: where it comes from, never what it is."""
        if self.source in ("file", "env"):
            return f"{self.source}:{self._text}"
        return MASK if self._text else ""

    def __str__(self) -> str:
        return self.public()

    def __repr__(self) -> str:
        return f"Secret({self.public()!r})"

    def __bool__(self) -> bool:
        return self.is_set

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Secret) and self._text == other._text and self.source == other.source
        )

    def __hash__(self) -> int:
        return hash((self._text, self.source))


def _first_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            line = file.read(_MAX_SECRET).split(b"\n", 1)[0].rstrip(b"\r")
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: the first line is not UTF-8"]) from None
    except OSError as e:
        raise ConfigError([f"{path}: {e.strerror}"]) from e


def _parse(value: Any, info: ValidationInfo) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise ValueError("must be text in quotes, or file:PATH or env:NAME")
    if "\0" in value or len(value) > _MAX_SECRET:
        raise ValueError(f"must have at most {_MAX_SECRET} characters and no NUL")
    kind, colon, rest = value.partition(":")
    if colon and kind == "env":
        if not _ENV_NAME.match(rest):
            raise ValueError("env: needs the name of an environment variable")
        return Secret(rest, "env")
    if colon and kind == "file":
        if not rest:
            raise ValueError("file: needs a path")
        base = (info.context or {}).get("directory", Path.cwd())
        return Secret(str(Path(base) / rest), "file")
    return Secret(value)


def _parse_pass_phrase(value: Any, info: ValidationInfo) -> Secret:
    # Row 35: the manual asks for a path; an absolute one that exists is read, all else is literal
    if isinstance(value, str) and value.startswith("/") and "\0" not in value:
        try:
            if Path(value).is_file():
                return Secret(value, "file")
        except OSError:
            pass
    return _parse(value, info)


SecretText = Annotated[Secret, PlainValidator(_parse)]
PassPhrase = Annotated[Secret, PlainValidator(_parse_pass_phrase)]
