"""``gwsmtp check``: what it prints and how it ends."""

import json
from pathlib import Path

from click.testing import CliRunner

from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.cli.check import command, idle_settings
from tests.config.helpers import HEAD, ORGANIZATION, write

RUNNER = CliRunner()


def test_a_good_file(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + ORGANIZATION)
    result = RUNNER.invoke(command, ["-c", str(path)])
    assert result.exit_code == 0
    assert result.stdout == f"{path}: ok\n"


def test_problems_come_with_file_line_and_key(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + "server:\n  enabeld: on\n  listen: [::1]:25\n")
    result = RUNNER.invoke(command, ["-c", str(path)])
    assert result.exit_code == ExitCode.CONFIG
    assert result.stdout.startswith(f"{path}:4 server.listen: [ begins a list in YAML")
    path = write(tmp_path, HEAD + "server:\n  enabeld: on\n  listen: x\n")
    result = RUNNER.invoke(command, ["-c", str(path)])
    assert result.exit_code == ExitCode.CONFIG
    lines = result.stdout.splitlines()
    assert lines[0] == f'{path}:3 server.enabeld: unknown key; did you mean "enabled"?'
    assert lines[1].startswith(f"{path}:4 server.listen[0]: an IP address is needed")
    assert lines[2].startswith("warning: ")


def test_warnings_do_not_change_the_exit_code(tmp_path: Path) -> None:
    text = HEAD + ORGANIZATION + "relay_protection:\n  restrict_relaying: off\n"
    path = write(tmp_path, text)
    result = RUNNER.invoke(command, ["-c", str(path)])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"warning: {path}:4 relay_protection.restrict_relaying: off")
    assert lines[-1].startswith(f"{path}: ok, ")


def test_json(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + ORGANIZATION)
    result = RUNNER.invoke(command, ["-c", str(path), "--json"])
    assert json.loads(result.stdout) == {
        "ok": True,
        "problems": [],
        "warnings": [],
        "not_enforced": [],
    }
    result = RUNNER.invoke(command, ["-c", str(tmp_path / "none"), "--json"])
    assert result.exit_code == ExitCode.CONFIG
    data = json.loads(result.stdout)
    assert data["ok"] is False
    assert data["problems"] == [f"{tmp_path}/none: No such file or directory"]


def test_settings_that_do_not_act_yet_are_listed(tmp_path: Path) -> None:
    for key in idle_settings():
        assert "[]" in key or "." in key
    path = write(tmp_path, HEAD + ORGANIZATION)
    result = RUNNER.invoke(command, ["-c", str(path), "--all"])
    assert result.exit_code == 0
    assert result.stdout.count("not enforced yet") == len(idle_settings())


def test_the_file_may_come_from_the_environment(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + ORGANIZATION)
    result = RUNNER.invoke(command, [], env={"GWSMTP_CONFIG": str(path)})
    assert result.exit_code == 0
    assert "GWSMTP_CONFIG" in RUNNER.invoke(command, ["--help"]).stdout
    assert "Example" in RUNNER.invoke(command, ["--help"]).stdout
