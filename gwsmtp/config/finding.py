"""What a rule over several keys says: an error (the file is refused), a fault or a warning.

A fault is something outside the file that cannot be used: a check refuses it, since a person is
there who can mend it, but a start goes on without the part that needs it. Mail must not be down
because a certificate is just being renewed.
"""

from collections.abc import Callable, Iterator

from gwsmtp.config.root import Config
from gwsmtp.config.yamltext import Path


class Finding:
    """``path`` is the key it belongs to, as steps; with both False it is a warning."""

    __slots__ = ("is_error", "is_fault", "path", "text")

    def __init__(
        self, path: Path, text: str, *, is_error: bool = False, is_fault: bool = False
    ) -> None:
        self.path = path
        self.text = text
        self.is_error = is_error
        self.is_fault = is_fault


class Rule:
    """``check`` may look at the groups in ``needs`` only: the others may not be valid."""

    __slots__ = ("check", "needs")

    def __init__(self, check: Callable[[Config], Iterator[Finding]], *needs: str) -> None:
        self.check = check
        self.needs = needs


def error(key: str | Path, text: str) -> Finding:
    """The file is refused; ``key`` as ``a.b`` or as steps."""
    return Finding(_steps(key), text, is_error=True)


def fault(key: str | Path, text: str) -> Finding:
    """A check refuses it; who starts anyway does without."""
    return Finding(_steps(key), text, is_fault=True)


def warning(key: str | Path, text: str) -> Finding:
    """Worth a look; the file is accepted."""
    return Finding(_steps(key), text)


def _steps(key: str | Path) -> Path:
    return tuple(key.split(".")) if isinstance(key, str) else key
