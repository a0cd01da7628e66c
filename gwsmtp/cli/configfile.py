"""The option every command has that needs a configuration: ``-c FILE``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

DEFAULT_FILE = "/opt/gwava/gwsmtp/conf/gwsmtp.yaml"


def config_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``-c FILE`` as the parameter ``config_file`` (a Path)."""
    return click.option(
        "-c",
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        default=Path(DEFAULT_FILE),
        envvar="GWSMTP_CONFIG",
        show_default=True,
        show_envvar=True,
        metavar="FILE",
        help="Configuration file.",
    )(function)
