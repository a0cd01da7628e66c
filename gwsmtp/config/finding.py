"""What a rule over several keys says: an error (the file is refused) or a warning."""

from collections.abc import Callable, Iterator

from gwsmtp.config.root import Config
from gwsmtp.config.yamltext import Path


class Finding:
    """``path`` is the key it belongs to, as steps; ``is_error`` False makes it a warning."""

    __slots__ = ("is_error", "path", "text")

    def __init__(self, path: Path, text: str, is_error: bool) -> None:
        self.path = path
        self.text = text
        self.is_error = is_error


class Rule:
    """``check`` may look at the groups in ``needs`` only: the others may not be valid."""

    __slots__ = ("check", "needs")

    def __init__(self, check: Callable[[Config], Iterator[Finding]], *needs: str) -> None:
        self.check = check
        self.needs = needs


def error(key: str | Path, text: str) -> Finding:
    """The file is refused; ``key`` as ``a.b`` or as steps."""
    return Finding(_steps(key), text, True)


def warning(key: str | Path, text: str) -> Finding:
    """Worth a look; the file is accepted."""
    return Finding(_steps(key), text, False)


def _steps(key: str | Path) -> Path:
    return tuple(key.split(".")) if isinstance(key, str) else key
