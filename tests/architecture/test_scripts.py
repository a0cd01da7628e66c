"""The scripts do what they say, as far as that costs no set-up."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.wait import wait_for

SCRIPTS = ("run", "build", "test", "check", "fmt", "cov", "soak", "tools", "haraka")
SKIPPING = """
import pytest

@pytest.mark.skip(reason="no root here")
def test_by_mark(): ...

def test_by_call():
    pytest.skip("no tool here")

@pytest.mark.xfail(strict=True, reason="known")
def test_expected():
    raise AssertionError
"""


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_is_the_header_and_does_nothing_else(name: str, root: Path) -> None:
    done = subprocess.run(
        [root / "scripts" / name, "--help"],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    header = []
    for line in (root / "scripts" / name).read_text().splitlines()[1:]:
        if not line.startswith("#"):
            break
        header.append(line[1:].removeprefix(" "))
    assert done.stdout.splitlines() == header
    assert f"scripts/{name}" in done.stdout
    assert done.stderr == ""


def _pytest(root: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"),
            *("-c", os.devnull, "-q", "-rs", *options),
        ],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_skipped_test_passes_but_not_in_full_mode(root: Path, tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(SKIPPING)
    (tmp_path / "test_b.py").write_text("import pytest\npytest.importorskip('no_such_module')")
    quick = _pytest(root, tmp_path)
    assert "3 skipped, 1 xfailed" in quick.stdout, quick.stdout
    assert quick.returncode == 0
    full = _pytest(root, "--no-skips", "--continue-on-collection-errors", tmp_path)
    assert "1 failed, 1 xfailed, 2 errors" in full.stdout, full.stdout
    assert "no tool here (with --no-skips a skipped test is a failure)" in full.stdout
    assert full.returncode == 1


@pytest.mark.full
def test_unpacked_programs_send_mail_to_each_other(
    tool: Callable[[str], Path], tmp_path: Path
) -> None:
    """From another directory and over a socket file, which needs no free port."""
    mail, address = tmp_path / "mail", tmp_path / "sink"
    mail.mkdir()
    as_whom = ["-u", "root"] if os.geteuid() == 0 else []  # smtp-sink as root insists on one
    swaks = [
        "--socket",
        str(address),
        "-f",
        "a@b.test",
        "-t",
        "c@d.test",
        "--h-Subject",
        "from swaks",
    ]
    source = ["-s", "2", "-m", "5", "-S", "from smtp-source", f"unix:{address}"]

    def subjects() -> list[str]:
        lines = [line for file in mail.iterdir() for line in file.read_text().splitlines()]
        return sorted(line[9:] for line in lines if line.startswith("Subject: "))

    sink = subprocess.Popen([tool("smtp-sink"), *as_whom, "-d", f"{mail}/", f"unix:{address}", "9"])
    try:
        wait_for(address.exists, "smtp-sink's socket")
        subprocess.run([tool("swaks"), "--silent", "3", *swaks], cwd="/", check=True, timeout=30)
        subprocess.run([tool("smtp-source"), *source], cwd="/", check=True, timeout=30)
        sent = [*["from smtp-source"] * 5, "from swaks"]
        wait_for(lambda: subjects() == sent, "six messages in smtp-sink's folder")
    finally:
        sink.kill()
        sink.wait()
