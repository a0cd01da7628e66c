"""Which form of the hot modules runs: compiled (packaging/compile.py), or plain Python."""

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path


def form() -> str:
    """``compiled`` or ``pure``. Looks beside the sources of this package and imports nothing."""
    hot = Path(__file__).parent.parent / "protocol"
    is_compiled = any((hot / f"server{suffix}").exists() for suffix in EXTENSION_SUFFIXES)
    return "compiled" if is_compiled else "pure"
