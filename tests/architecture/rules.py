"""Rules 4 to 7 of DESIGN's layout: what a module may contain."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.architecture.house import FUNCTIONS, House, Module, dotted, is_at

# Rule 4 ------------------------------------------------------------------------------------------

# rangelock packs the kernel's struct flock, which is no part of the table.
KNOW_OFFSETS: Final = ("limits/layout.py",)
MAY_CAST: Final = ("limits/layout.py", "limits/arena.py")
MAY_PACK: Final = ("limits/layout.py", "limits/rangelock.py")
NOT_THE_TABLE: Final = ("boot_id",)  # what the kernel says, taken apart by octets


def only_layout_knows_offsets(house: House) -> list[str]:
    """Rule 4: elsewhere in limits no struct, no index or slice with a number of its own beyond 1,
    and nobody else casts memory.
    """
    problems = []
    for module in house:
        if not is_at(module, *MAY_CAST):
            problems += [
                module.problem(call, "casts memory outside limits/layout and limits/arena")
                for call, _ in module.calls()
                if isinstance(call.func, ast.Attribute)
                and call.func.attr == "cast"
                and call.args
                and isinstance(call.args[0], ast.Constant)
                and isinstance(call.args[0].value, str)
                and len(call.args[0].value) == 1
            ]
        if not is_at(module, "limits/") or is_at(module, *KNOW_OFFSETS):
            continue
        if not is_at(module, *MAY_PACK):
            problems += [
                module.problem(line, f"imports {target} outside limits/layout")
                for target, line in module.imports
                if target in ("struct", "ctypes")
            ]
        for node in ast.walk(module.tree):
            if (
                isinstance(node, ast.Subscript)
                and _numbers_beyond_one(node.slice)
                and dotted(node.value) not in NOT_THE_TABLE
            ):
                text = ast.unparse(node)
                problems.append(module.problem(node, f"an offset of its own: {text}"))
    return problems


def _numbers_beyond_one(node: ast.AST) -> bool:
    return any(
        isinstance(n, ast.Constant) and isinstance(n.value, int) and n.value > 1
        for n in ast.walk(node)
    )


_REPLY_TEXT: Final = re.compile(r"[2345]\d\d[ -][245]\.\d{1,3}\.\d{1,3}\b")
SPEAK_FOR_OTHERS: Final = ("trial/",)  # its misbehaviours are a script of what hosts say


def only_the_catalogue_words_replies(house: House) -> list[str]:
    """Rule 4: nobody else builds a Reply (a next hop's goes through reply.passed_on) or writes
    one as text.
    """
    problems = []
    for module in house:
        if is_at(module, "base/replies.py", "base/reply.py", *SPEAK_FOR_OTHERS):
            continue
        problems += [
            module.problem(call, "builds a Reply outside base/replies")
            for call, name in module.calls()
            if name.rpartition(".")[2] == "Reply"
        ]
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
                if _REPLY_TEXT.match(text):
                    problems.append(module.problem(node, "a reply's text outside base/replies"))
    return problems


PRINTING: Final = re.compile(r"print|(click|rich)\.(echo|secho|print)|sys\.std(out|err)\.write")


def only_cli_prints(house: House) -> list[str]:
    """Rule 4."""
    return [
        module.problem(call, f"{name} outside cli/")
        for module in house
        if not is_at(module, "cli/")
        for call, name in module.calls()
        if PRINTING.fullmatch(name)
    ]


# Rule 5 ------------------------------------------------------------------------------------------

TIME_ALLOWED: Final[dict[str, str]] = {
    "base/clock.py": "where time enters",
}
# Where objects are put together, a generator may be made and a secret drawn.
RANDOM_SOURCES: Final = ("process/", "master/", "cli/")
_RANDOM_SOURCE: Final = re.compile(
    r"random\.(Random|SystemRandom)|os\.(urandom|getrandom)|secrets\.\w+|uuid\.uuid[14]"
)


def time_enters_through_the_clock(house: House) -> list[str]:
    """Rule 5."""
    problems = []
    for module in house:
        if module.place in TIME_ALLOWED:
            continue
        problems += [
            module.problem(line, "imports time; take a Clock")
            for target, line in module.imports
            if target == "time"
        ]
        problems += [
            module.problem(call, f"{name}(); take a Clock")
            for call, name in module.calls()
            if re.search(r"\b(datetime|date)\.(now|utcnow|today)$", name)
        ]
    return problems


def randomness_is_an_argument(house: House) -> list[str]:
    """Rule 5: no functions of the module random; a generator comes from outside, seeded."""
    problems = []
    for module in house:
        problems += [
            module.problem(node, f"from {node.module} import {alias.name}; import the module")
            for node in ast.walk(module.tree)
            if isinstance(node, ast.ImportFrom) and node.module in ("random", "secrets", "uuid")
            for alias in node.names
            if alias.name not in ("Random", "UUID")
        ]
        for call, name in module.calls():
            if _RANDOM_SOURCE.fullmatch(name) or name == "Random":
                if not is_at(module, *RANDOM_SOURCES) and not (
                    name.endswith("Random") and call.args
                ):
                    problems.append(module.problem(call, f"{name}(); take it as an argument"))
            elif name.startswith("random."):
                problems.append(module.problem(call, f"{name}(); take a random.Random"))
    return problems


# Rule 6 ------------------------------------------------------------------------------------------

_CONSTANT_NAME: Final = re.compile(r"_{0,2}[A-Z][A-Z0-9_]*|__\w+__")
_CONTAINERS: Final = frozenset(
    ("list", "dict", "set", "bytearray", "defaultdict", "deque", "OrderedDict", "Counter")
)
_MUTATORS: Final = {
    *("append", "add", "update", "pop", "popitem", "clear", "extend", "insert", "setdefault"),
    *("remove", "discard", "sort", "reverse", "appendleft", "popleft"),
}
_EFFECTS: Final = re.compile(
    r"open|(os|socket|subprocess|threading|signal|tempfile|random|time|gevent|atexit)\..*|"
    r"(ThreadPool|Lock|RLock|Event|Semaphore|Thread|Queue|Path\.(cwd|home))"
)
_NO_EFFECTS: Final = re.compile(
    r"os\.(sysconf|path\..*|fsencode|fsdecode)|socket\.(CMSG_\w+|hton[sl]|ntoh[sl])"
)
_CALLS_FOR_THEMSELVES: Final = re.compile(r"\w+\.model_rebuild")


def no_module_level_state(house: House) -> list[str]:
    """Rule 6: a container at module level is a constant by name or by Final, and nothing in its
    module changes it; nothing is rebound by ``global``.
    """
    problems = []
    for module in house:
        constants = set()
        for node in _top_level(module.tree.body):
            names, value, is_final = _assigned(node)
            constants |= set(names)
            if value is not None and _is_container(value) and not is_final:
                problems += [
                    module.problem(node, f"{name}: a container that is no constant")
                    for name in names
                    if not _CONSTANT_NAME.fullmatch(name)
                ]
        problems += [
            module.problem(node, f"global {', '.join(node.names)}")
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Global)
        ]
        problems += _changes(module, constants)
    return problems


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run at import, those inside if, try, with and loops included."""
    for node in body:
        yield node
        if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test):
            continue
        if not isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            for field in ("body", "orelse", "finalbody"):
                yield from _top_level(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                yield from _top_level(handler.body)


def _assigned(node: ast.stmt) -> tuple[list[str], ast.expr | None, bool]:
    if isinstance(node, ast.Assign):
        return [t.id for t in node.targets if isinstance(t, ast.Name)], node.value, False
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        is_final = ast.unparse(node.annotation).split("[")[0] in ("Final", "typing.Final")
        return [node.target.id], node.value, is_final
    return [], None, False


def _is_container(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return dotted(value.func).rpartition(".")[2] in _CONTAINERS
    kinds = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
    return isinstance(value, kinds)


def _changes(module: Module, constants: set[str]) -> Iterator[str]:
    """Changes of the module's own constants inside its functions."""
    for function in ast.walk(module.tree):
        if not isinstance(function, FUNCTIONS):
            continue
        local = {a.arg for a in ast.walk(function) if isinstance(a, ast.arg)} | {
            n.id
            for n in ast.walk(function)
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        for node in ast.walk(function):
            changed = ""
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
                changed = dotted(node.value)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                changed = dotted(node.func.value) if node.func.attr in _MUTATORS else ""
            if changed in constants - local:
                yield module.problem(node, f"changes {changed}, state of the module")


def imports_have_no_effects(house: House) -> list[str]:
    """Rule 6: no call for its own sake at module level, none whose result is a resource."""
    problems = []
    for module in house:
        for node in _top_level(module.tree.body):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                name = dotted(node.value.func)
                if not _CALLS_FOR_THEMSELVES.fullmatch(name):
                    problems.append(module.problem(node, f"{name or 'a call'} at import"))
            value = _assigned(node)[1]
            for call in ast.walk(value) if value is not None else ():
                if not isinstance(call, ast.Call):
                    continue
                name = dotted(call.func)
                if _EFFECTS.fullmatch(name) and not _NO_EFFECTS.fullmatch(name):
                    problems.append(module.problem(node, f"{name} at import"))
    return problems


# Rule 7 ------------------------------------------------------------------------------------------

LONGEST_FILE: Final = 400
LONGEST_FUNCTION: Final = 60
_REASON: Final = re.compile(r"#\s*long: \S{3,}")


def long_things_say_why(root: Path) -> list[str]:
    """Rule 7: ``# long: reason`` on a line of its own before the first statement behind the
    docstring of a long file; on or above the ``def`` of a long function.
    """
    problems = []
    for folder in ("gwsmtp", "tests", "bench", "scripts"):
        for file in sorted((root / folder).rglob("*.py")):
            path = file.relative_to(root).as_posix()
            lines = file.read_text().splitlines()
            tree = ast.parse("\n".join(lines), path)
            if len(lines) > LONGEST_FILE and not _file_says_why(tree, lines):
                problems.append(f"{path}:1: {len(lines)} lines and no '# long: reason'")
            for node in ast.walk(tree):
                if not isinstance(node, FUNCTIONS):
                    continue
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                head = "\n".join(lines[max(first - 2, 0) : node.body[0].lineno - 1])
                if length > LONGEST_FUNCTION and not _REASON.search(head):
                    what = f"{node.name} has {length} lines and no '# long: reason'"
                    problems.append(f"{path}:{node.lineno}: {what}")
    return problems


def _file_says_why(tree: ast.Module, lines: list[str]) -> bool:
    body = tree.body[1:] if ast.get_docstring(tree) is not None else tree.body
    end = body[0].lineno if body else len(lines)
    return any(_REASON.match(line) for line in lines[:end])
