"""What several commands share: the option that names the configuration."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

DEFAULT_CONFIG = Path("/opt/gwava/gwsmtp/conf/gwsmtp.yaml")

Command = TypeVar("Command", bound=Callable[..., Any])


def default_config() -> Path:
    """GWSMTP_CONFIG where it is set, else the installed place."""
    return Path(os.environ.get("GWSMTP_CONFIG") or DEFAULT_CONFIG)


def config_option(command: Command) -> Command:
    """Adds ``-c FILE``, handed to the command as ``config_path``."""
    return click.option(
        "-c",
        "--config",
        "config_path",
        type=click.Path(path_type=Path, dir_okay=False),
        default=default_config,
        help=f"Configuration file. [default: $GWSMTP_CONFIG, or {DEFAULT_CONFIG}]",
    )(command)
