"""A message that has passed too many hosts already."""

import pytest

from tests.delivery.hops import Hop
from tests.session.rig import Rig


@pytest.mark.parametrize("is_large", [False, True])
def test_a_message_that_goes_in_circles_is_refused_unscanned(
    house: Rig, next_hop: Hop, is_large: bool
) -> None:
    hop = b"Received: from a by b; today\r\n"
    body = b"\r\nbody\r\n" + (b"y" * 998 + b"\r\n") * 300 * is_large
    client = house.greeted()
    assert client.message(hop * 101 + body) == "554 5.4.6 Too many hops, mail loop suspected"
    refused = house.messages[0]
    assert (refused.outcome, refused.cause, refused.verdict) == ("rejected", "loop", "")
    assert house.scanner.requests == []
    assert next_hop.journal("message") == []
    assert client.message(hop * 100 + body + hop).startswith("250")
    assert len(next_hop.filed()) == 1
    client.close()
