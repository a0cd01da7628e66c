"""The compiled modules keep what makes them mean the same as their sources."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.compiled import compiled_files, problems_of

BROKEN = [
    ("def f(data, write):\n    return data[write(data) :]", "may run twice"),
    (
        "def f():\n    try:\n        g()\n    except OSError as e:\n        h(e)\n"
        "    except ValueError as e:\n        h(e)",
        "e names exceptions",
    ),
    ("import logging\nclass A(logging.Handler): ...", "A inherits from logging.Handler"),
]
FINE = [
    "def f(data, n):\n    return data[: len(data) - n]",
    "def f():\n    try:\n        g()\n    except OSError as e:\n        h(e)\n"
    "    except ValueError as wrong:\n        h(wrong)",
    "from enum import Enum\nclass A(Enum): ...\nclass B(A): ...\nclass C(Exception): ...",
]


def test_compiled_modules_keep_the_rules(root: Path) -> None:
    files = compiled_files(root)
    assert len(files) > 30
    assert problems_of({str(f.relative_to(root)): f.read_text() for f in files}) == []


@pytest.mark.parametrize(("text", "problem"), BROKEN)
def test_violation_is_found(text: str, problem: str) -> None:
    (found,) = problems_of({"a.py": text})
    assert problem in found
    assert found.startswith("a.py:")


@pytest.mark.parametrize("text", FINE)
def test_what_is_fine_is_left_alone(text: str) -> None:
    assert problems_of({"a.py": text}) == []


def test_an_edited_source_is_never_shadowed(root: Path, tmp_path: Path) -> None:
    for path in ("packaging/compile.py", "packaging/constraints.txt", "gwsmtp/__init__.py"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes((root / path).read_bytes())
    program = "import runpy; print(runpy.run_path('packaging/compile.py')['folder']())"

    def run(*argv: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *argv], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    folder = Path(run("-c", program).stdout.strip())
    assert run("packaging/compile.py", "--look").returncode == 1  # nothing there yet
    folder.mkdir(parents=True)
    looked = run("packaging/compile.py", "--look")
    assert (looked.returncode, looked.stdout.strip()) == (0, str(folder))
    with (tmp_path / "gwsmtp/__init__.py").open("a") as source:
        source.write("# changed\n")
    looked = run("packaging/compile.py", "--look")
    assert (looked.returncode, looked.stdout, looked.stderr) == (1, "", "")


def test_without_a_compiler_it_is_plain_python(root: Path, tmp_path: Path) -> None:
    for path in ("packaging/compile.py", "packaging/constraints.txt", "gwsmtp/__init__.py"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes((root / path).read_bytes())
    done = subprocess.run(
        [sys.executable, "packaging/compile.py"],
        cwd=tmp_path,
        env={"PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("gwsmtp runs as plain Python: no C compiler (")
    assert done.stderr.count("\n") == 1
