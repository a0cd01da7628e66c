"""The source tree as the rules see it: modules parsed once, with their imports resolved.

A rule is a function over a ``House`` that returns problems, one line each, ``path:line: what``.
So the same function that guards gwsmtp is tried on small synthetic trees that break it.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Import(NamedTuple):
    """One name imported, as a full dotted module: of gwsmtp the deepest that is a module."""

    target: str
    line: int


class Module:
    """One file below gwsmtp/. ``name`` is dotted, ``place`` its path below gwsmtp/."""

    def __init__(self, root: Path, file: Path) -> None:
        self.path = file.relative_to(root).as_posix()
        self.place = file.relative_to(root / "gwsmtp").as_posix()
        self.is_package = file.name == "__init__.py"
        parts = file.relative_to(root).with_suffix("").parts
        self.name = ".".join(parts[:-1] if self.is_package else parts)
        self.package = self.name.split(".")[1] if "." in self.name else ""
        self.source = file.read_text()
        self.tree = ast.parse(self.source, self.path)
        self.imports: list[Import] = []

    def problem(self, node: ast.AST | int, what: str) -> str:
        line = node if isinstance(node, int) else getattr(node, "lineno", 1)
        return f"{self.path}:{line}: {what}"

    def resolve_imports(self, known: set[str]) -> None:
        """Fills ``imports``, those inside functions and under TYPE_CHECKING included."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                self.imports += [Import(alias.name, node.lineno) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                for alias in node.names:
                    full = f"{base}.{alias.name}"
                    self.imports.append(Import(full if full in known else base, node.lineno))

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        kept = parts[: len(parts) - node.level + self.is_package]
        return ".".join([*kept, *([node.module] if node.module else [])])

    def calls(self) -> Iterator[tuple[ast.Call, str]]:
        """Every call with the dotted name that is called ("" for anything more complicated)."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield node, dotted(node.func)


class House:
    """All modules of ``root``/gwsmtp by name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.modules: dict[str, Module] = {}
        for file in sorted((root / "gwsmtp").rglob("*.py")):
            module = Module(root, file)
            self.modules[module.name] = module
        for module in self:
            module.resolve_imports(set(self.modules))

    def __iter__(self) -> Iterator[Module]:
        return iter(self.modules.values())

    def below(self, *places: str) -> list[Module]:
        """The modules at ``places``: "limits/" is a package, "scan/wire.py" a file."""
        return [m for m in self if is_at(m, *places)]

    def reach(self, start: Module) -> Iterator[tuple[Import, list[str]]]:
        """Every import that follows from importing ``start``, with the way there."""
        ways: dict[str, list[str]] = {start.name: [start.name]}
        waiting = [start]
        while waiting:
            module = waiting.pop()
            for found in module.imports:
                yield found, ways[module.name]
                for name in with_parents(found.target):
                    if name in self.modules and name not in ways:
                        ways[name] = [*ways[module.name], name]
                        waiting.append(self.modules[name])


def with_parents(name: str) -> list[str]:
    """``a.b.c``, ``a.b``, ``a``: importing a module runs the packages it is in."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def is_at(module: Module, *places: str) -> bool:
    """Whether ``module`` is one of the files, or below one of the packages ("limits/")."""
    return any(
        module.place.startswith(place) if place.endswith("/") else module.place == place
        for place in places
    )


def dotted(node: ast.AST) -> str:
    """``a.b.c`` of a chain of names, else ""."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        left = dotted(node.value)
        return f"{left}.{node.attr}" if left else ""
    return ""


def is_or_below(name: str, *modules: str) -> bool:
    """Whether the dotted ``name`` is one of ``modules`` or inside one."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)
