"""``gwsmtp check``: everything that is wrong with a configuration file, at once."""

import json
import sys
from pathlib import Path

import click

from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.cli.options import config_option
from gwsmtp.config.loader import Report, check_file
from gwsmtp.config.root import Config
from gwsmtp.config.setting import mark_of, settings_of

EPILOG = (
    "Example: gwsmtp check -c conf/gwsmtp.yaml. "
    f"Exit codes: 0 the file can be used (warnings or not), {int(ExitCode.CONFIG)} it cannot."
)


@click.command(name="check", epilog=EPILOG)
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--all", "every", is_flag=True, help="List every setting that does not act yet.")
def command(config_path: Path, as_json: bool, every: bool) -> None:
    """Check a configuration file and report every problem as FILE:LINE KEY: PROBLEM.

    Warnings and settings that are accepted but do not act yet are listed too; they do not change
    the exit code.
    """
    report = check_file(config_path)
    idle = idle_settings() if every else report.unenforced()
    if as_json:
        click.echo(json.dumps(_as_dict(report, idle), indent=2, ensure_ascii=False))
    else:
        _print(config_path, report, idle)
    sys.exit(ExitCode.CONFIG if report.problems else ExitCode.OK)


def idle_settings() -> list[str]:
    """Every key that is accepted and does not act yet."""
    return [
        key
        for key, field in settings_of(Config)
        if (mark := mark_of(field)) is not None and not mark.enforced
    ]


def _as_dict(report: Report, idle: list[str]) -> dict[str, object]:
    return {
        "ok": not report.problems,
        "problems": report.problems,
        "warnings": report.warnings,
        "not_enforced": idle,
    }


def _print(file: Path, report: Report, idle: list[str]) -> None:
    for line in report.problems:
        click.echo(line)
    for line in report.warnings:
        click.echo(f"warning: {line}")
    for key in idle:
        click.echo(f"warning: {key}: not enforced yet")
    if report.problems:
        return
    remarks = len(report.warnings) + len(idle)
    click.echo(f"{file}: ok" + (f", {remarks} warnings" if remarks else ""))
