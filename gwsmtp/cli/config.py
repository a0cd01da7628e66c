"""``gwsmtp config``: the reference, what is in effect, and what a change needs."""

import json
import sys
from pathlib import Path

import click

from gwsmtp.base.errors import ConfigError
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.cli.options import config_option
from gwsmtp.config.changes import changes, needs
from gwsmtp.config.loader import load_config
from gwsmtp.config.reference import reference, starter
from gwsmtp.config.root import Config
from gwsmtp.config.show import as_yaml, plain

_CODES = f"Exit codes: 0, or {int(ExitCode.CONFIG)} where a file cannot be used."


@click.group(name="config", epilog="Example: gwsmtp config show -c conf/gwsmtp.yaml")
def command() -> None:
    """Show settings: all there are, those in effect, or the difference of two files."""


@command.command(name="reference", epilog="Example: gwsmtp config reference > reference.yaml")
@click.option("--starter", "short", is_flag=True, help="A file to start from, without prose.")
def reference_command(short: bool) -> None:
    """Print every setting with its meaning and default, as YAML."""
    click.echo(starter() if short else reference(), nl=False)


@command.command(name="show", epilog=f"Example: gwsmtp config show -c gwsmtp.yaml. {_CODES}")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show_command(config_path: Path, as_json: bool) -> None:
    """Print the configuration in effect, defaults included and secrets masked."""
    config = _load(config_path)
    if as_json:
        click.echo(json.dumps(plain(config), indent=2, ensure_ascii=False))
    else:
        click.echo(as_yaml(config), nl=False)


@command.command(name="diff", epilog=f"Example: gwsmtp config diff old.yaml new.yaml. {_CODES}")
@click.argument("old_file", metavar="OLD", type=click.Path(path_type=Path))
@click.argument("new_file", metavar="NEW", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def diff_command(old_file: Path, new_file: Path, as_json: bool) -> None:
    """Print what changes from OLD to NEW and what each change needs to act.

    workers: a reload. rebind: a reload, and listeners change. restart: stop and start.
    """
    found = changes(_load(old_file), _load(new_file))
    together = needs(found)
    if as_json:
        rows = [{"key": c.key, "old": c.old, "new": c.new, "needs": str(c.applies)} for c in found]
        result = {"needs": str(together) if together else None, "changes": rows}
        click.echo(json.dumps(result, indent=2, ensure_ascii=False))
        return
    for change in found:
        click.echo(str(change))
    click.echo(f"needs: {together}" if together else "no difference")


def _load(file: Path) -> Config:
    try:
        return load_config(file)
    except ConfigError as e:
        for line in e.problems:
            click.echo(line, err=True)
        sys.exit(ExitCode.CONFIG)
