"""Rules 1, 2, 3 and 8 of DESIGN's layout: who may import whom."""

import ast
import json
import os
import re
import subprocess
import sys
from typing import Final

from tests.architecture.house import House, Module, is_at, is_or_below

LAYERS: Final = {
    "base": 0,
    "config": 1,
    **dict.fromkeys(("protocol", "limits", "spool", "directory", "net"), 2),
    **dict.fromkeys(("policy", "scan", "delivery", "tracking"), 3),
    **dict.fromkeys(("session", "engine", "reputation", "metrics", "trial"), 4),
    "process": 5,
    "master": 6,
    "cli": 7,
    "__main__": 8,
}

# The two exceptions: entry points held as strings and imported after the fork (the child's side of
# it is process/boot), and a command that is imported when it is called.
DYNAMIC_IMPORTS: Final = ("master/children.py", "process/boot.py", "cli/")

PURE: Final = (
    "protocol/",
    "limits/",
    "directory/",
    "scan/wire.py",
    "delivery/route.py",
)
IMPURE_MODULES: Final = (
    *("socket", "select", "selectors", "ssl", "asyncio", "threading"),
    *("gevent", "time", "logging", "gwsmtp.config"),
)

BEFORE_THE_FORK: Final = ("master/", "config/", "cli/__init__.py", "cli/main.py", "cli/run.py")
NOT_IN_THE_MASTER: Final = ("gevent", "dns")


def imports_go_down(house: House) -> list[str]:
    """Rule 1: to lower layers or inside the package; base stands on the standard library."""
    problems = []
    for module in house:
        if module.package and module.package not in LAYERS:
            problems.append(module.problem(1, f"package {module.package} has no layer"))
            continue
        own = LAYERS.get(module.package, -1)
        for target, line in module.imports:
            top, _, rest = target.partition(".")
            package = rest.partition(".")[0]
            if top != "gwsmtp":
                if module.package == "base" and top not in sys.stdlib_module_names:
                    problems.append(module.problem(line, f"base imports {top}, not of Python"))
            elif package and package != module.package and LAYERS.get(package, 99) >= own:
                problems.append(
                    module.problem(line, f"{module.package or 'gwsmtp'} may not import {package}")
                )
    return problems


def no_cycles(house: House) -> list[str]:
    """Rule 1: no module of a package reaches itself by imports inside the package."""
    problems: dict[frozenset[str], str] = {}
    for module in house:
        seen: set[str] = set()
        waiting = [(module, [module.name])]
        while waiting:
            here, way = waiting.pop()
            for target in {found.target for found in here.imports}:
                following = house.modules.get(target)
                if following is None or following.package != module.package:
                    continue
                if following is module:
                    problem = module.problem(1, f"cycle {' > '.join([*way, target])}")
                    problems.setdefault(frozenset(way), problem)
                elif target not in seen:
                    seen.add(target)
                    waiting.append((following, [*way, target]))
    return list(problems.values())


def dynamic_imports_stay_in_their_places(house: House) -> list[str]:
    """Rule 1: nobody else goes round the rule by importing a string."""
    return [
        module.problem(call, "imports by string")
        for module in house
        if not is_at(module, *DYNAMIC_IMPORTS)
        for call, name in module.calls()
        if name in ("__import__", "import_module", "importlib.import_module")
    ]


def entry_points_exist(house: House) -> list[str]:
    """Rule 1: the strings in master/children name functions that are there."""
    problems = []
    for module in house.below("master/children.py"):
        for node in ast.walk(module.tree):
            if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
                continue
            if not re.fullmatch(r"gwsmtp(\.\w+)+(:\w+)?", node.value):
                continue
            name, _, function = node.value.partition(":")
            target = house.modules.get(name)
            if target is None or (function and not _defines(target, function)):
                problems.append(module.problem(node, f"no such entry point: {node.value}"))
    return problems


def _defines(module: Module, function: str) -> bool:
    return any(
        isinstance(node, ast.FunctionDef) and node.name == function for node in module.tree.body
    )


def pure_packages_stay_pure(house: House) -> list[str]:
    """Rule 2: neither themselves nor through what they import of ours."""
    problems = []
    for module in house.below(*PURE):
        for (target, _), way in house.reach(module):
            if is_or_below(target, *IMPURE_MODULES):
                problems.append(module.problem(1, f"not pure: {' > '.join([*way, target])}"))
    return problems


def the_master_imports_no_gevent(house: House) -> list[str]:
    """Rule 3 as written in the source: every import counts, also one inside a function (but those
    of cli/main, which imports other commands when they are called).
    """
    problems = []
    for module in house.below(*BEFORE_THE_FORK):
        if module.place == "cli/main.py":
            continue
        for (target, _), way in house.reach(module):
            if is_or_below(target, *NOT_IN_THE_MASTER):
                problems.append(module.problem(1, f"before the fork: {' > '.join([*way, target])}"))
    return problems


def the_master_loads_no_gevent(house: House) -> list[str]:
    """Rule 3 as it happens: imports all of it in a fresh interpreter and looks at sys.modules."""
    names = [module.name for module in house.below(*BEFORE_THE_FORK)]
    program = (
        "import importlib, json, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        f"bad = [m for m in sys.modules if m.split('.')[0] in {NOT_IN_THE_MASTER!r}]\n"
        "print(json.dumps(sorted(bad)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=house.root,
        env={**os.environ, "PYTHONPATH": str(house.root), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        return [f"cannot import {', '.join(names)}: {done.stderr.strip()[-2000:]}"]
    return [f"loaded before the fork: {name}" for name in json.loads(done.stdout)]


def one_importer_of_spf(house: House) -> list[str]:
    """Rule 8."""
    return [
        module.problem(line, "only policy/spf.py imports spf")
        for module in house
        if module.place != "policy/spf.py"
        for target, line in module.imports
        if is_or_below(target, "spf")
    ]
