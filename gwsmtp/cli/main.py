"""``gwsmtp``: the group of all commands.

A command's module is imported only when it is called; what ``gwsmtp --help`` says about it stands
in the table below. An error that was foreseen is one line on stderr and an exit code of
``base.exitcodes``, never a traceback; a traceback is a bug of ours.
"""

import importlib
import sys
from typing import NoReturn

import click

import gwsmtp
from gwsmtp.base.build import form
from gwsmtp.base.errors import ConfigError, GatewayError, HaltMaster
from gwsmtp.base.exitcodes import ExitCode

COMMANDS: tuple[tuple[str, str, str], ...] = (
    ("run", "gwsmtp.cli.run:command", "Run the gateway in the foreground."),
    ("check", "gwsmtp.cli.check:command", "Check a configuration file."),
    ("reload", "gwsmtp.cli.reload:command", "Put a changed configuration in effect."),
    ("stop", "gwsmtp.cli.stop:command", "Drain and stop a running gateway."),
    ("status", "gwsmtp.cli.status:command", "Show processes, sessions and totals."),
    ("top", "gwsmtp.cli.top:command", "Watch sessions, rates, pressure, clients and engines."),
    ("explain", "gwsmtp.cli.explain:command", "Say why a session or a client was refused."),
    ("table", "gwsmtp.cli.table:command", "Look up, unban or allow clients; shadow limits."),
    ("hold", "gwsmtp.cli.hold:command", "List, show, release or delete held messages."),
    ("queue", "gwsmtp.cli.queue:command", "List or show messages that wait."),
    ("config", "gwsmtp.cli.config:command", "Show the configuration and its reference."),
    ("engine", "gwsmtp.cli.engine:command", "Run, ask or ping a scan engine."),
    ("trial", "gwsmtp.cli.trial:command", "Run the built-in next hop, for trying out only."),
    ("manpage", "gwsmtp.cli.manpage:command", ""),
)
"""(name, module:attribute, what it does); nothing said: for those who build packages."""


class LazyGroup(click.Group):
    """A group that imports a command when it is called."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """In the table's order."""
        return [name for name, _, _ in COMMANDS]

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command itself, None where there is none of that name."""
        for name, target, _ in COMMANDS:
            if name == cmd_name:
                module, _, attribute = target.partition(":")
                command = getattr(importlib.import_module(module), attribute)
                if not isinstance(command, click.Command):
                    raise TypeError(f"{target} is no command")
                return command
        return None

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of ``--help``, without importing a single one."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, _, text in COMMANDS if text])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(f"{gwsmtp.__version__} ({form()})", prog_name="gwsmtp")
def cli() -> None:
    """The SMTP front of a mail-security gateway.

    Example: gwsmtp run -c gwsmtp.yaml
    """


def main() -> NoReturn:
    """The console script; always ends the process."""
    try:
        result = cli.main(prog_name="gwsmtp", standalone_mode=False)
        sys.exit(result if isinstance(result, int) else ExitCode.OK)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(ExitCode.FAILED)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        sys.exit(ExitCode.CONFIG)
    except HaltMaster as halt:
        _fail(halt.reason, halt.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # who read us has seen enough; Python would complain at exit
        sys.exit(ExitCode.FAILED)
    except (GatewayError, OSError) as error:
        _fail(str(error), ExitCode.FAILED)


def _fail(reason: str, code: int) -> NoReturn:
    click.echo(f"gwsmtp: {reason}", err=True)
    sys.exit(code)
