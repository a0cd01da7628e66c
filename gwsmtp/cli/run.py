"""``gwsmtp run``: the gateway in the foreground; what systemd starts.

Imports nothing cooperative: the master forks from what is loaded here.
"""

import ipaddress
from functools import partial
from pathlib import Path
from typing import Protocol

import click

from gwsmtp.base.errors import ConfigError
from gwsmtp.base.exitcodes import EXIT_CODE_MEANING, ExitCode
from gwsmtp.cli.options import config_option
from gwsmtp.master.loader import Loaded
from gwsmtp.master.master import Master, RunOptions
from gwsmtp.master.readiness import Ready
from gwsmtp.master.signals import SIGNALS
from gwsmtp.process.context import Settings

_CODES = (
    ExitCode.OK,
    ExitCode.USAGE,
    ExitCode.BOOT_FAILED,
    ExitCode.CANNOT_BIND,
    ExitCode.CANNOT_CREATE,
    ExitCode.ALREADY_RUNNING,
    ExitCode.NO_PERMISSION,
    ExitCode.CONFIG,
)


class RunCommand(click.Command):
    """A command whose help ends with the tables that the code works by."""

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Signals and exit codes."""
        with formatter.section("Signals of the master"):
            formatter.write_dl([(row.name, row.does) for row in SIGNALS])
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), EXIT_CODE_MEANING[code]) for code in _CODES])


@click.command(cls=RunCommand, name="run")
@config_option
@click.option(
    "--trial",
    is_flag=True,
    help="Also start the built-in next hop on the address of the first hosted domain's SMTP host. "
    "For trying out only: it files mail into a Maildir.",
)
@click.option(
    "--ready-fd",
    type=click.IntRange(min=0),
    metavar="N",
    help="Write one JSON line with pid and addresses to this descriptor when everything serves.",
)
def command(config_path: Path, trial: bool, ready_fd: int | None) -> int:
    """Run the gateway in the foreground.

    Example: gwsmtp run -c gwsmtp.yaml --trial
    """
    from gwsmtp.config.loader import load_config

    config = load_config(config_path)
    hop, domain = None, ""
    if trial:
        hop, domain = trial_hop(config_path, config.organizations)
    options = RunOptions(
        trial=hop,
        ready_fd=-1 if ready_fd is None else ready_fd,
        on_ready=lambda ready: welcome(ready, domain),
        load=partial(load_again, config_path.absolute()),
    )
    return Master(config, options).run()


def load_again(path: Path, old: Settings) -> Loaded:
    """What a reload may put in effect; called in a fork of the master."""
    from gwsmtp.config.changes import adopt, changes
    from gwsmtp.config.loader import check_file
    from gwsmtp.config.root import Config

    report = check_file(path)
    if report.config is None or not isinstance(old, Config):
        return Loaded(problems=report.problems, warnings=report.warnings)
    config, kept = adopt(old, report.config)
    return Loaded(
        config,
        warnings=[*report.problems, *report.warnings],  # faults: what needs them does without
        changed=[change.key for change in changes(old, report.config)],
        kept=[change.key for change in kept],
    )


class _Endpoint(Protocol):
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...


class _SmtpHost(Protocol):
    @property
    def endpoint(self) -> _Endpoint: ...


class _Domain(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def smtp_hosts(self) -> "tuple[_SmtpHost, ...]": ...


class _Organization(Protocol):
    @property
    def domains(self) -> "tuple[_Domain, ...]": ...
    @property
    def children(self) -> "tuple[_Organization, ...]": ...


def trial_hop(
    path: Path, organizations: "tuple[_Organization, ...]"
) -> tuple[tuple[str, int], str]:
    """Where the built-in next hop is to listen, and for which domain; raises ConfigError."""
    domain = _first_domain(organizations)
    if domain is None:
        raise ConfigError([f"{path}: organizations: --trial needs a hosted domain"])
    endpoint = domain.smtp_hosts[0].endpoint
    host = "127.0.0.1" if endpoint.host == "localhost" else endpoint.host
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ConfigError(
            [
                f"{path}: organizations: --trial would stand in for {endpoint.host}, the SMTP host "
                f"of {domain.name}: it must be a loopback address, such as 127.0.0.1:2600"
            ]
        )
    return (host, endpoint.port), domain.name


def _first_domain(organizations: "tuple[_Organization, ...]") -> _Domain | None:
    for organization in organizations:
        if organization.domains:
            return organization.domains[0]
        below = _first_domain(organization.children)
        if below is not None:
            return below
    return None


def welcome(ready: Ready, domain: str) -> None:
    """Says on the terminal where the gateway listens and, with --trial, how to try it."""
    for address in ready.listen or ("no address: server.enabled is off",):
        click.echo(f"gwsmtp listens on {address}")
    if not ready.trial:
        return
    click.echo(
        f"\nFOR TRYING OUT ONLY: mail for {domain} goes to the built-in next hop\n"
        f"on {ready.trial}, which is no mail server."
    )
    if ready.listen:
        click.echo(f"Send a first message:\n\n  {first_message(ready.listen[0], domain)}\n")
    click.echo(f"It will be a file in {ready.maildir}/new")


def first_message(address: str, domain: str) -> str:
    """A command of one line that sends a message through the gateway."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    program = (
        f"import smtplib; s = smtplib.SMTP('{host}', {port}); "
        f"s.sendmail('you@sender.example', ['friend@{domain}'], "
        r"'Subject: Hello\r\n\r\nA first message.\r\n'); s.quit()"
    )
    return f'python3 -c "{program}"'
