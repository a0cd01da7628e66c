"""Which next hop a recipient has. Pure: no socket, no time (architecture rule 2).

In line means one next hop (DESIGN, One message, 7): two recipients travel together only when their
routes are equal, that is, when the same hosts would be tried in the same order.
"""

from gwsmtp.directory.domains import HostedDomain, SmtpHost


class Route:
    """The hosts to try, best first; ``key`` is equal for equal routes."""

    __slots__ = ("hosts", "key")

    def __init__(self, hosts: tuple[SmtpHost, ...]) -> None:
        self.hosts = hosts
        self.key = ",".join(str(host) for host in hosts)


def route_to(domain: HostedDomain) -> Route:
    """The route to a hosted domain: its own SMTP hosts by priority (stable within one)."""
    return Route(tuple(sorted(domain.hosts, key=lambda host: host.priority)))
