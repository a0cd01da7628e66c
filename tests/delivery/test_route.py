"""Which recipients travel together."""

from gwsmtp.delivery.route import Router
from gwsmtp.directory.domains import Directory, HostedDomain, RecipientRule, SmtpHost


def domain(name: str, *hosts: SmtpHost) -> HostedDomain:
    return HostedDomain(name, "root", hosts, RecipientRule.ANY)


def test_hosts_are_tried_by_priority_and_in_order_within_one() -> None:
    hosts = [SmtpHost("c", 25, 2), SmtpHost("a", 25, 1), SmtpHost("::1", 26, 1)]
    route = Router().route_to(domain("x.test", *hosts))
    assert [str(host) for host in route.hosts] == ["a:25", "[::1]:26", "c:25"]


def test_domains_with_the_same_hosts_have_the_same_route() -> None:
    one = Router().route_to(domain("x.test", SmtpHost("a", 25), SmtpHost("b", 25, 2)))
    two = Router().route_to(domain("y.test", SmtpHost("b", 25, 2), SmtpHost("a", 25)))
    other = Router().route_to(domain("z.test", SmtpHost("a", 26)))
    assert one.key == two.key != other.key


def test_directory_finds_domains_by_lower_case_name() -> None:
    directory = Directory([domain("X.Test", SmtpHost("a", 25))])
    assert len(directory) == 1
    assert directory.hosted("x.test") is not None
    assert directory.hosted("y.test") is None
