"""Targets: ports by security, and the two line limits."""

import pytest

from gwsmtp.base.endpoint import Endpoint
from gwsmtp.config.smtptarget import RelayTarget, SmtpHost


@pytest.mark.parametrize(
    ("host", "security", "endpoint"),
    [
        ("r.example", "none", Endpoint("r.example", 25)),
        ("r.example", "tls", Endpoint("r.example", 25)),
        ("r.example", "ssl", Endpoint("r.example", 465)),
        ("r.example:587", "ssl", Endpoint("r.example", 587)),
        ("2001:db8::1", "ssl", Endpoint("2001:db8::1", 465)),
        ("[2001:db8::1]:26", "none", Endpoint("2001:db8::1", 26)),
        ("[2001:db8::1]", "none", Endpoint("2001:db8::1", 25)),
    ],
)
def test_the_port_follows_security(host: str, security: str, endpoint: Endpoint) -> None:
    target = RelayTarget.model_validate({"host": host, "security": security})
    assert target.endpoint == endpoint


def test_lines_to_our_own_hosts_are_not_limited() -> None:
    assert SmtpHost(host="a.example").line_limit == 0
    assert RelayTarget(host="a.example").line_limit == 1000
