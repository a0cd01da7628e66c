"""What the modules that packaging/compile.py compiles must not contain: mypyc makes something else
of it than Python does (each was seen, with the version of packaging/constraints.txt).
"""

import ast
import importlib.util
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

HARMLESS: Final = frozenset(("len", "min", "max"))
BASES: Final = frozenset(
    (
        *("BaseException", "Exception", "Enum", "IntEnum", "StrEnum"),
        *("NamedTuple", "Protocol", "Generic"),
    )
)
"""Of other modules, the classes that may be inherited from."""


def compiled_files(root: Path) -> list[Path]:
    """The list of packaging/compile.py, made absolute."""
    spec = importlib.util.spec_from_file_location("compile", root / "packaging" / "compile.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [root / path for path in module.paths()]


def problems_of(sources: dict[str, str]) -> list[str]:
    """All that is wrong with ``{path: text}``, one line each."""
    trees = {path: ast.parse(text) for path, text in sources.items()}
    own = {
        node.name
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    found = []
    for path, tree in trees.items():
        for node in ast.walk(tree):
            problems = [*_of_slice(node), *_of_function(node), *_of_class(node, own | BASES)]
            found += [f"{path}:{getattr(node, 'lineno', 0)}: {problem}" for problem in problems]
    return found


def _of_slice(node: ast.AST) -> Iterator[str]:
    """``data[write(data):]`` of a memoryview calls ``write`` twice."""
    if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Slice):
        return
    for inner in ast.walk(node.slice):
        is_call = isinstance(inner, ast.Call)
        if is_call and ast.unparse(inner.func) not in HARMLESS:  # type: ignore[attr-defined]
            yield f"a call in the bounds of a slice may run twice: {ast.unparse(node)}"


def _of_function(node: ast.AST) -> Iterator[str]:
    """One name has one type: a second ``except`` with it raises TypeError."""
    if not isinstance(node, ast.FunctionDef):
        return
    caught = defaultdict(set)
    for inner in ast.walk(node):
        if isinstance(inner, ast.ExceptHandler) and inner.name and inner.type:
            caught[inner.name].add(ast.unparse(inner.type))
    for name, kinds in caught.items():
        if len(kinds) > 1:
            yield f"{name} names exceptions of several types: {', '.join(sorted(kinds))}"


def _of_class(node: ast.AST, known: set[str]) -> Iterator[str]:
    """Heirs of a class that is not compiled crash the collector."""
    if not isinstance(node, ast.ClassDef):
        return
    for base in node.bases:
        name = ast.unparse(base.value if isinstance(base, ast.Subscript) else base)
        if name not in known:
            yield f"{node.name} inherits from {name}, which is not compiled"
