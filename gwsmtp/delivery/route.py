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
        self.key = ",".join(host.name for host in hosts)


class Router:
    """Knows the route to each domain; one per worker. Remembers what it worked out."""

    __slots__ = ("_routes",)

    def __init__(self) -> None:
        self._routes: dict[HostedDomain, Route] = {}

    def route_to(self, domain: HostedDomain) -> Route:
        """The route to a hosted domain: its own SMTP hosts by priority (stable within one)."""
        route = self._routes.get(domain)
        if route is None:
            route = Route(tuple(sorted(domain.hosts, key=lambda host: host.priority)))
            self._routes[domain] = route
        return route
