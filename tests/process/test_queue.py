"""The queue process: what is spooled arrives, whatever happens to it on the way."""

import time

from tests.process.conftest import StartGateway, StartNextHop
from tests.support.spooled import CONTENT, TRACE, envelope, put, spool_of
from tests.support.wait import wait_for

QUICK = {"delivery": {"schedule": [1]}, "workers": {"count": 1}}


def test_a_spooled_message_arrives_and_is_forgotten(
    start_gateway: StartGateway, start_next_hop: StartNextHop
) -> None:
    hop = start_next_hop()
    gateway = start_gateway(hop.address, QUICK)
    put(gateway, envelope(1, "user@example.test", "other@example.test", received_at=time.time()))
    (entry,) = hop.wait_for_entries("message")
    assert entry["sender"] == "s1@client.example"
    assert entry["recipients"] == ["user@example.test", "other@example.test"]
    hop.wait_for_entries("filed")
    assert hop.filed() == [TRACE + CONTENT]
    wait_for(lambda: not spool_of(gateway).list(), "the end of the item")
    gateway.wait_for_log("event=queue_delivered")
