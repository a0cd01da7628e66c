"""``gwsmtp config reference|show|diff``."""

import json
from pathlib import Path

from click.testing import CliRunner

from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.cli.config import command
from gwsmtp.config.reference import reference, starter
from tests.config.helpers import HEAD, ORGANIZATION, write

RUNNER = CliRunner()


def run(*arguments: object) -> tuple[int, str, str]:
    result = RUNNER.invoke(command, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_reference() -> None:
    assert run("reference") == (0, reference(), "")
    assert run("reference", "--starter") == (0, starter(), "")


def test_show_masks_secrets(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + ORGANIZATION + "ssl: {pass_phrase: hush}\n")
    code, out, _ = run("show", "-c", path)
    assert code == 0
    assert "hush" not in out
    assert "client_protocol_timeout: 5" in out
    code, out, _ = run("show", "-c", path, "--json")
    assert code == 0
    assert "hush" not in out
    assert json.loads(out)["interface"]["name"] == "demo"


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    code, out, err = run("show", "-c", write(tmp_path, "interface: {}\n"))
    assert code == ExitCode.CONFIG
    assert out == ""
    assert err == f"{tmp_path}/gw.yaml:1 interface.name: is required\n"


def test_diff(tmp_path: Path) -> None:
    old = write(tmp_path, HEAD + ORGANIZATION).rename(tmp_path / "old.yaml")
    new = write(tmp_path, HEAD + ORGANIZATION + "server: {enabled: off}\n")
    assert run("diff", old, old) == (0, "no difference\n", "")
    code, out, _ = run("diff", old, new)
    assert code == 0
    assert out == "server.enabled: true -> false (rebind)\nneeds: rebind\n"
    _, out, _ = run("diff", old, new, "--json")
    assert json.loads(out) == {
        "needs": "rebind",
        "changes": [{"key": "server.enabled", "old": "true", "new": "false", "needs": "rebind"}],
    }
    assert json.loads(run("diff", old, old, "--json")[1]) == {"needs": None, "changes": []}
    assert run("diff", old, tmp_path / "none")[0] == ExitCode.CONFIG
