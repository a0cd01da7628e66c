"""The repository's own order holds, and each rule of it is seen to find its violation."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture import tree

Plant = Callable[[dict[str, str]], Path]
Rule = Callable[[Path], list[str]]

RULES: tuple[Rule, ...] = (
    tree.top_level_is_fixed,
    tree.packages_have_init,
    tree.scripts_are_short,
    tree.scripts_explain_themselves,
    tree.no_paths_of_a_workplace,
)

BROKEN: list[tuple[Rule, dict[str, str], str]] = [
    (tree.top_level_is_fixed, {"notes.txt": ""}, "notes.txt: not one of"),
    (tree.top_level_is_fixed, {"src/a.py": ""}, "src: not one of"),
    (tree.packages_have_init, {"tests/net/test_a.py": ""}, "tests/net: no __init__.py"),
    (tree.packages_have_init, {"gwsmtp/net/deep/__init__.py": ""}, "gwsmtp/net: no __init__.py"),
    (tree.scripts_are_short, {"scripts/a": "x\n" * 40}, "scripts/a: 40 lines"),
    (tree.scripts_explain_themselves, {"scripts/a": "#!/bin/sh\necho"}, "begin with #!"),
    (tree.scripts_explain_themselves, {"scripts/a": "#!/bin/sh\n# Does.\n"}, "not executable"),
    (tree.no_paths_of_a_workplace, {"conf/a": "x\ndir: /" + "home/joe/x"}, "conf/a:2: names"),
    (tree.no_paths_of_a_workplace, {"README.md": "see `/" + "work/x`"}, "README.md:1: names"),
]

FINE: list[tuple[Rule, dict[str, str]]] = [
    (tree.top_level_is_fixed, {"README.md": "", ".ci/run": "", "gwsmtp/a.py": ""}),
    (
        tree.packages_have_init,
        {"tests/__init__.py": "", "tests/a.py": "", "tests/corpus/x.eml": ""},
    ),
    (tree.scripts_are_short, {"scripts/a": "x\n" * 39}),
    (tree.scripts_explain_themselves, {"scripts/_a": "x=1"}),
    (
        tree.no_paths_of_a_workplace,
        {"tests/corpus/x": "/" + "home/joe/", "a": "http://x.y/" + "work/z"},
    ),
    (tree.no_paths_of_a_workplace, {"conf/x": "\0/" + "home/joe/"}),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_repository_keeps(rule: Rule, root: Path) -> None:
    assert rule(root) == []


@pytest.mark.parametrize(("rule", "files", "problem"), BROKEN)
def test_violation_is_found(rule: Rule, files: dict[str, str], problem: str, plant: Plant) -> None:
    found = rule(plant(files))
    assert any(problem in line for line in found), found


@pytest.mark.parametrize(("rule", "files"), FINE)
def test_what_is_allowed_passes(rule: Rule, files: dict[str, str], plant: Plant) -> None:
    assert rule(plant(files)) == []


def test_every_rule_is_tried_on_a_violation() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


def test_files_that_git_ignores_do_not_count(plant: Plant) -> None:
    root = plant({".gitignore": "var/\n", "var/spool": "", "README.md": "", "new.txt": ""})
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    assert tree.tracked_files(root) == [".gitignore", "README.md", "new.txt"]
    assert tree.top_level_is_fixed(root) == ["new.txt: not one of the top level's entries"]
