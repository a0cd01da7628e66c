"""How commands show a client: its row, its network's, and what it is exempt from."""

from dataclasses import dataclass
from typing import Any

import click

from gwsmtp.cli.opened import WallTime, span
from gwsmtp.config.root import Config
from gwsmtp.limits.allow import Allowed, read_allowed
from gwsmtp.limits.arena import Table
from gwsmtp.limits.clients import ClientView, NetworkView, read_client, read_network
from gwsmtp.limits.identity import identify
from gwsmtp.limits.policy import Limit


@dataclass(frozen=True, slots=True)
class Standing:
    """How the gateway stands to a client. ``allowed_s`` is the rest of its entry in the allow list
    in seconds, 0: it is not on it; ``is_exempt``: a source of row 64.
    """

    client: ClientView | None
    network: NetworkView | None
    allowed_s: int
    is_exempt: bool


def limit_word(limit: Limit) -> str:
    """As the configuration writes it: ``tls_handshakes``."""
    return "tls_handshakes" if limit is Limit.HANDSHAKES else limit.name.lower()


def standing(table: Table, config: Config, ip: str, now_ms: int) -> Standing:
    """Everything about the client at ``ip``. Takes no lock."""
    from gwsmtp.process.defence import exempt_sources, make_policy

    policy, identity = make_policy(config), identify(ip)
    return Standing(
        client=read_client(table, identity, policy, now_ms),
        network=read_network(table, identity, policy, now_ms),
        allowed_s=_allowed_s(read_allowed(table, now_ms), ip, now_ms),
        is_exempt=exempt_sources(config).find(ip) is not None,
    )


def client_as_dict(view: ClientView | None, wall: WallTime) -> dict[str, Any] | None:
    """For ``--json``."""
    if view is None:
        return None
    return {
        "client": view.client,
        "live": view.live,
        "score": round(view.score, 3),
        "penalty_s": view.penalty_s,
        "strikes": view.strikes,
        "pass_s": view.pass_s,
        "clean_sessions": view.clean_sessions,
        "bad_recipients": view.bad_recipients,
        "accepted_recipients": view.accepted_recipients,
        "used": {
            limit_word(limit): {"used": rate.used, "burst": rate.burst}
            for limit, rate in view.rates.items()
        },
        "first_seen": wall.epoch(view.first_seen_ms),
        "last_seen": wall.epoch(view.last_seen_ms),
    }


def network_as_dict(view: NetworkView | None, wall: WallTime) -> dict[str, Any] | None:
    """For ``--json``."""
    if view is None:
        return None
    return {
        "network": view.network,
        "live": view.live,
        "used": {"connections": {"used": view.connections.used, "burst": view.connections.burst}},
        "last_seen": wall.epoch(view.last_seen_ms),
    }


def show_client(found: dict[str, Any]) -> None:
    """Prints ``client``, ``network``, ``allowed_s`` and ``exempt`` for people."""
    client, network = found["client"], found["network"]
    click.echo(f"client {found['asked']}")
    if client is None:
        click.echo("  has no row in the table: not seen, long forgotten, or exempt")
    else:
        _show_row(client)
    if network is not None:
        used = network["used"]["connections"]
        click.echo(
            f"network {network['network']}\n"
            f"  {network['live']} live connections, "
            f"connections {used['used']} of a burst of {used['burst']}"
        )
    if found["exempt"]:
        click.echo("exempt: a source of relay_protection.allowed_sources, skips these tests")
    if found["allowed_s"]:
        click.echo(f"on the allow list for another {span(found['allowed_s'])}")


def _show_row(client: dict[str, Any]) -> None:
    rows = [
        ("live connections", str(client["live"])),
        ("score", f"{client['score']:.2f} points"),
        ("penalty", f"{span(client['penalty_s'])} left" if client["penalty_s"] else "none"),
        ("strikes", str(client["strikes"])),
        (
            "pass",
            f"{span(client['pass_s'])} left"
            if client["pass_s"]
            else f"none, {client['clean_sessions']} clean sessions",
        ),
        (
            "recipients",
            f"{client['bad_recipients']} unknown, {client['accepted_recipients']} accepted",
        ),
    ]
    rows += [
        (f"rate of {name}", f"{rate['used']} of a burst of {rate['burst']}")
        for name, rate in client["used"].items()
    ]
    for name, value in rows:
        click.echo(f"  {name:<24}{value}")


def _allowed_s(entries: list[Allowed], ip: str, now_ms: int) -> int:
    rests = [entry.until_ms - now_ms for entry in entries if entry.pattern.matches(ip)]
    return -(-max(rests, default=0) // 1000)
