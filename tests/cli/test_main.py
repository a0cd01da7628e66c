"""The group of commands: lazy, and errors in one line."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from gwsmtp.base.errors import ConfigError, HaltMaster, ScanUnavailable
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.cli import main as cli_main
from gwsmtp.cli.main import COMMANDS, cli
from gwsmtp.master.signals import SIGNALS

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", "from gwsmtp.cli.main import main; main()", *arguments],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_names_every_command_and_imports_none() -> None:
    program = (
        "import sys\nfrom gwsmtp.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n"
        "    print([m for m in sys.modules if m.startswith('gwsmtp.cli.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name, _, text in COMMANDS:
        assert (f"  {name} " in done.stdout) == bool(text)
        assert text in done.stdout
    assert "['gwsmtp.cli.main']" in done.stdout


def test_unknown_command_is_a_usage_error() -> None:
    done = run("frobnicate")
    assert done.returncode == ExitCode.USAGE
    assert "No such command" in done.stderr


def test_help_of_run_is_made_from_the_table_of_signals() -> None:
    done = run("run", "--help")
    assert done.returncode == ExitCode.OK
    for row in SIGNALS:
        assert f"  {row.name} " in done.stdout
    assert "gwsmtp run -c" in done.stdout


def test_configuration_that_is_not_there_is_one_line() -> None:
    for command in ("run", "reload", "stop", "status"):
        done = run(command, "-c", "/nonexistent/gwsmtp.yaml")
        assert done.returncode == ExitCode.CONFIG
        assert done.stderr == "/nonexistent/gwsmtp.yaml: No such file or directory\n"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (HaltMaster(ExitCode.CANNOT_BIND, "taken"), ExitCode.CANNOT_BIND, "gwsmtp: taken\n"),
        (ConfigError(["a:1 b: c", "a:2 d: e"]), ExitCode.CONFIG, "a:1 b: c\na:2 d: e\n"),
        (ScanUnavailable("down"), ExitCode.FAILED, "gwsmtp: down\n"),
        (PermissionError(13, "Permission denied", "x"), ExitCode.FAILED, None),
        (click.UsageError("no"), ExitCode.USAGE, None),
    ],
)
def test_foreseen_errors_are_lines_and_codes(
    error: BaseException,
    code: int,
    line: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_args: object, **_values: object) -> None:
        raise error

    monkeypatch.setattr(cli, "main", fail)
    with pytest.raises(SystemExit) as caught:
        cli_main.main()
    assert caught.value.code == code
    said = capsys.readouterr().err
    assert "Traceback" not in said
    if line is not None:
        assert said == line
