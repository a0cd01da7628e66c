"""The trace field as it arrives at the next hop, over both families of addresses."""

import email.utils
import time

import pytest

from tests.process.conftest import StartGateway
from tests.support.corpus import without_trace
from tests.support.eventlog import wait_for_events
from tests.support.rawclient import RawClient
from tests.support.rawsink import RawSink
from tests.support.receivedfield import parsed

pytestmark = pytest.mark.full


@pytest.mark.parametrize(
    ("listen", "literal"), [("127.0.0.1:0", "[127.0.0.1]"), ("[::1]:0", "[IPv6:::1]")]
)
def test_the_field_names_who_whom_when_and_how(
    start_gateway: StartGateway, sink: RawSink, listen: str, literal: str
) -> None:
    gateway = start_gateway(sink.address, {"server": {"listen": [listen]}})
    greetings = {
        "EHLO client.example": ("client.example", "ESMTP"),
        "HELO client.example": ("client.example", "SMTP"),
        f"EHLO {literal}": (literal, "ESMTP"),
        "EHLO [IPv6:2001:DB8::1]": ("[IPv6:2001:db8::1]", "ESMTP"),
        "EHLO [256.1.1.1]": (literal, "ESMTP"),
        "EHLO (x)\x0b;by": (literal, "ESMTP"),
    }
    before, ids = int(time.time()), []
    with RawClient(gateway.address) as client:
        client.read_reply()
        for greeting, (name, protocol) in greetings.items():
            if client.command(greeting).code == 501:
                continue
            to = ['"a\\" b"@example.test']
            assert client.send_message("a@client.example", to, b"x\r\n").code == 250
            trace, content = without_trace(sink.messages[-1].payload)
            assert content == b"x\r\n"
            found = parsed(trace)
            assert (found["name"], found["ip"], found["with"]) == (name, literal, protocol)
            assert (found["by"], found["for"]) == ("gw.example.test", to[0])
            at = email.utils.parsedate_to_datetime(found["date"]).timestamp()
            assert before <= at <= time.time()
            ids.append(found["id"])
        client.quit()
    # The last greeting is no word of ASCII and refused.
    lines = wait_for_events(gateway, "message", len(greetings) - 1)
    assert ids == [f"{line['sid']}-{line['n']}" for line in lines]


def test_without_a_host_domain_the_machines_name_stands_in_it(
    start_gateway: StartGateway, sink: RawSink
) -> None:
    gateway = start_gateway(sink.address, {"protocol": {"host_domain": None}})
    with RawClient(gateway.address) as client:
        greeted = client.greet()
        client.send_message("a@client.example", ["user@example.test"], b"x\r\n")
    by = parsed(without_trace(sink.messages[0].payload)[0])["by"]
    assert by == greeted.lines[0]
