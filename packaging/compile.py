#!/usr/bin/env python3
"""Compiles the modules every message passes with mypyc: a quarter less CPU, the same behaviour.

    packaging/compile.py            compiles where .compiled does not fit; prints that folder
    packaging/compile.py --look     prints the folder if it fits the sources, compiles nothing

The folder holds a copy of gwsmtp with the compiled modules beside their sources; whoever puts it
on PYTHONPATH runs it. Its name is a hash of everything it was made from, so that an edited source
is never shadowed by what was compiled from an older one, and the sources' own folder stays without
compiled files. Exit code 1, and one line why, where this machine cannot compile: the gateway runs
without as well. Needs mypy and its stubs (scripts/check installs them), a C compiler, Python's
headers.

What compiled code does otherwise than Python is kept out of these modules by
tests/architecture/test_compiled.py.
"""

import hashlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = {
    "base": "address audit clock decision errors eventlog ids lines netmatch quoting peer reply "
    "replies stage",
    "delivery": "attempt hop places pool recipients route",
    "directory": "domains",
    "engine": "server",
    "limits": "admission allow answers balance dictionary entrance guards hops identity layout "
    "peaks peers rangelock rate ring shadow undo",
    "net": "deadline flights wire",
    "process": "acceptor counters decisionlog door sparing worker",
    "protocol": "abnf client commands data events extensions hopcount params server state",
    "scan": "client connection messages outcome parse pool stream wire",
    "session": "closing conduct conversation defence hiding pace services session stages "
    "trace transaction",
    "spool": "draft",
}
"""By package. Not those that tests or other modules inherit from, nor what runs once a start."""

SETUP = """\
from setuptools import setup
from mypyc.build import mypycify
options = ["--config-file=", "--strict", "--no-warn-unused-ignores"]
compiled = mypycify(options + {paths!r}, opt_level="2", debug_level="0", group_name="gwsmtp")
setup(ext_modules=compiled)
"""


def paths() -> list[str]:
    """The compiled modules' files, from the repository's top."""
    return [
        f"gwsmtp/{package}/{name}.py" for package in MODULES for name in MODULES[package].split()
    ]


def folder() -> Path:
    """Where the compiled form of the present sources is, or would be."""
    digest = hashlib.sha256(sys.version.encode())
    constraints = ROOT / "packaging" / "constraints.txt"
    for path in sorted([*(ROOT / "gwsmtp").rglob("*.py"), Path(__file__).resolve(), constraints]):
        digest.update(b"%b\0%b\0" % (bytes(path.relative_to(ROOT)), path.read_bytes()))
    return ROOT / ".compiled" / digest.hexdigest()[:20]


def obstacle() -> str:
    """Why nothing can be compiled here; "" if it can."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return f"no C compiler ({compiler})"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "no Python headers (python3-dev)"
    try:
        import mypyc.build  # noqa: F401
        import setuptools  # noqa: F401
    except ImportError as e:
        return f"no {e.name}"
    return ""


def compile_into(target: Path) -> str:
    """Makes ``target``, whole or not at all; returns why not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as home:
        tree = Path(home, "tree")
        shutil.copytree(ROOT / "gwsmtp", tree / "gwsmtp", ignore=shutil.ignore_patterns("*.pyc"))
        (tree / "setup.py").write_text(SETUP.format(paths=paths()))
        argv = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
        done = subprocess.run(argv, cwd=tree, capture_output=True, text=True, check=False)
        if done.returncode:
            log = target.parent / "failed.log"
            log.write_text(done.stdout + done.stderr)
            return f"the compiler failed, see {log.relative_to(ROOT)}"
        shutil.rmtree(tree / "build")
        for old in target.parent.glob("?" * len(target.name)):
            shutil.rmtree(old, ignore_errors=True)
        tree.rename(target)
    return ""


def main() -> int:
    """See the module."""
    target = folder()
    if not target.is_dir():
        if "--look" in sys.argv:
            return 1
        reason = obstacle()
        if not reason:
            print("compiling gwsmtp (once, takes a minute) ...", file=sys.stderr)
            reason = compile_into(target)
        if reason:
            print(f"gwsmtp runs as plain Python: {reason}", file=sys.stderr)
            return 1
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
