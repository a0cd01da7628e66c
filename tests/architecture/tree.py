"""What the repository as a whole keeps: its top level, its scripts, its test packages."""

import re
import subprocess
from pathlib import Path
from typing import Final

TOP_LEVEL: Final = {
    *("README.md", "ARCHITECTURE.md", "LICENSE", "pyproject.toml"),
    *("gwsmtp", "conf", "scripts", "bench", "tests", "packaging"),
}
LONGEST_SCRIPT: Final = 40  # lines; a script has fewer

# Paths of a machine the project happened to be worked on; spelled so that this file has none.
_WORKPLACE: Final = re.compile(r"(?<![\w./-])/(?:work|tmp/v|root|home/\w+)/")
NOT_OURS: Final = ("tests/corpus/",)  # messages of others may say what they like


def tracked_files(root: Path) -> list[str]:
    """What git knows or would add; in a tree without git, every file."""
    if not (root / ".git").exists():
        return sorted(f.relative_to(root).as_posix() for f in root.rglob("*") if f.is_file())
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(name for name in listed.stdout.split("\0") if name and (root / name).is_file())


def top_level_is_fixed(root: Path) -> list[str]:
    """Nothing lies at the top but the fixed list and dot files."""
    tops = {name.partition("/")[0] for name in tracked_files(root)}
    return [
        f"{top}: not one of the top level's entries"
        for top in sorted(tops - TOP_LEVEL)
        if not top.startswith(".")
    ]


def packages_have_init(root: Path) -> list[str]:
    """Every folder of gwsmtp and tests that holds Python, or a folder that does, is a
    package: a test file of the same name in two folders would otherwise hide the other.
    """
    files = [Path(name) for name in tracked_files(root) if name.endswith(".py")]
    folders = {
        folder
        for file in files
        if file.parts[0] in ("gwsmtp", "tests")
        for folder in file.parents
        if folder != Path()
    }
    return [
        f"{folder.as_posix()}: no __init__.py"
        for folder in sorted(folders)
        if folder / "__init__.py" not in files
    ]


def scripts_are_short(root: Path) -> list[str]:
    """A script of more than a page is a program and belongs where it is typed and tested."""
    problems = []
    for name in tracked_files(root):
        if name.startswith("scripts/"):
            count = len((root / name).read_text().splitlines())
            if count >= LONGEST_SCRIPT:
                problems.append(f"{name}: {count} lines, must be below {LONGEST_SCRIPT}")
    return problems


def scripts_explain_themselves(root: Path) -> list[str]:
    """Every script begins with ``#!`` and a comment (what ``--help`` prints) and is executable;
    those with a leading underscore belong to the others.
    """
    problems = []
    for name in tracked_files(root):
        if name.startswith("scripts/") and not name.startswith("scripts/_"):
            lines = (root / name).read_text().splitlines()
            if not (len(lines) > 1 and lines[0].startswith("#!") and lines[1].startswith("# ")):
                problems.append(f"{name}: does not begin with #! and a comment")
            if not (root / name).stat().st_mode & 0o100:
                problems.append(f"{name}: not executable")
    return problems


def no_paths_of_a_workplace(root: Path) -> list[str]:
    """No text file names a folder of the machine it was written on."""
    problems = []
    for name in tracked_files(root):
        if name.startswith(NOT_OURS):
            continue
        data = (root / name).read_bytes()
        if b"\0" in data:
            continue
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            if found := _WORKPLACE.search(line):
                problems.append(f"{name}:{number}: names {found.group()}")
    return problems
