"""The Received field we write, whatever the client said of itself."""

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime, parsedate_to_datetime
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwsmtp.base.peer import Peer, peer_of
from gwsmtp.session.trace import received_field, trace_prefix
from tests.support.receivedfield import parsed

DATE = "Tue, 24 Nov 2026 08:00:00 +0100"
HOST = "gw.example.test"


def field(helo: str = "c.test", ip: str = "192.0.2.7", to: tuple[str, ...] = ()) -> dict[str, str]:
    prefix = trace_prefix(helo, peer_of((ip, 25)), HOST, is_extended=True)
    return parsed(received_field(prefix, "bcdfghjklm-1", to, DATE))


@pytest.mark.parametrize(
    ("ip", "literal"),
    [
        ("192.0.2.7", "[192.0.2.7]"),
        ("2001:db8::1", "[IPv6:2001:db8::1]"),
        ("2001:0DB8:0:0:0:0:0:1", "[IPv6:2001:db8::1]"),
        ("::ffff:192.0.2.7", "[192.0.2.7]"),
        ("fe80::1%eth0", "[IPv6:fe80::1]"),
        ("::1", "[IPv6:::1]"),
    ],
)
def test_the_clients_address_is_a_literal(ip: str, literal: str) -> None:
    assert field(ip=ip)["ip"] == literal
    assert field("no domain", ip)["name"] == literal


@pytest.mark.parametrize(
    ("helo", "name"),
    [
        ("client.test", "client.test"),
        ("Client", "Client"),
        ("1.2.3.4", "1.2.3.4"),
        ("a-b.c-d", "a-b.c-d"),
        ("a" * 63 + "." + "b" * 191, "a" * 63 + "." + "b" * 191),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("[IPv6:::1]", "[IPv6:::1]"),
        ("[ipv6:2001:DB8:0:0::1]", "[IPv6:2001:db8::1]"),
        ("[IPv6:1:2:3:4:5:6:7::]", "[IPv6:1:2:3:4:5:6:7:0]"),
    ],
)
def test_what_the_client_calls_itself_is_repeated_where_it_is_a_name(helo: str, name: str) -> None:
    assert field(helo)["name"] == name


@pytest.mark.parametrize(
    "helo",
    [
        *("(evil)", "a_b.test", "a..b", ".a", "a.", "-a", "a-", "a;b", "x(y)", "ä.test", ""),
        *("[192.0.2.256]", "[192.0.2.1", "192.0.2.1]", "[]", "[1.2.3]", "[01.2.3.4]", "[::1]"),
        *("[IPv6:]", "[IPv6:192.0.2.1]", "[IPv6:::1%lo]", "[IPv6:1::2::3]", "[IPv6:fe80::g]"),
        *("[x400:foo]", "[192.0.2.1]x", "a\r\nX: y", "a\tb", "[IPv6:::1]\r\n", "a\n", "a\x00b"),
    ],
)
def test_garbage_never_reaches_a_header(helo: str) -> None:
    assert field(helo)["name"] == "[192.0.2.7]"


def test_the_protocol_is_named_by_how_the_client_began_and_what_the_message_is() -> None:
    peer = Peer("192.0.2.7", 25)
    plain = trace_prefix("c.test", peer, HOST, is_extended=False)
    extended = trace_prefix("c.test", peer, HOST, is_extended=True)
    assert parsed(received_field(plain, "a-1", [], DATE))["with"] == "SMTP"
    assert parsed(received_field(extended, "a-1", [], DATE))["with"] == "ESMTP"
    utf8 = received_field(extended, "a-1", ["a@b.test"], DATE, is_utf8=True)
    assert parsed(utf8)["with"] == "UTF8SMTP"


def test_tls_is_named_with_its_cipher() -> None:
    peer, tls = Peer("192.0.2.7", 25), "TLSv1.3 TLS_AES_256_GCM_SHA384"
    plain = trace_prefix("c.test", peer, HOST, is_extended=False, tls=tls)
    extended = trace_prefix("c.test", peer, HOST, is_extended=True, tls=tls)
    assert f"by {HOST} ({tls}) with SMTP id " in plain  # RFC 3848 has no word for it
    assert f"by {HOST} ({tls}) with ESMTPS id " in extended
    utf8 = received_field(extended, "a-1", ["a@b.test"], DATE, is_utf8=True)
    assert f"({tls}) with UTF8SMTPS id a-1\r\n".encode() in utf8


@pytest.mark.parametrize(
    "recipient",
    [
        *("a@b.test", "a.b+c@b.test", '"a b"@b.test', '"a\\"@\\\\"@b.test', '""@b.test'),
        *("a@[192.0.2.1]", "a@[IPv6:2001:db8::1]", "x" * 240 + "@b.test", "'*+-/=?^_`{|}~@b"),
    ],
)
def test_the_one_recipient_is_named(recipient: str) -> None:
    assert field(to=(recipient,))["for"] == recipient


@pytest.mark.parametrize(
    "recipient",
    ["a..b@c.test", ".a@c.test", "a.@c.test", "a@b_c.test", "a@[x]", "a@[192.0.2.256]", "ä@c.test"],
)
def test_a_recipient_beyond_the_grammar_is_not_named(recipient: str) -> None:
    assert field(to=(recipient,))["for"] is None


def test_several_recipients_are_not_named() -> None:
    assert field(to=("a@b.test", "c@b.test"))["for"] is None


@pytest.mark.parametrize(
    "recipient", ["jörg@b.test", "用户@例子.test", '"jö rg"@b.test', "ö@bü.de"]
)
def test_an_international_recipient_is_named_in_an_international_message(recipient: str) -> None:
    prefix = trace_prefix("c.test", Peer("192.0.2.7", 25), HOST, is_extended=True)
    utf8 = received_field(prefix, "a-1", [recipient], DATE, is_utf8=True)
    found = parsed(utf8, is_utf8=True)
    assert (found["with"], found["for"]) == ("UTF8SMTP", recipient)


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x9f", "\ufeff" * 400])
def test_line_ends_of_unicode_and_endless_addresses_are_not_named(mark: str) -> None:
    prefix = trace_prefix("c.test", Peer("192.0.2.7", 25), HOST, is_extended=True)
    field = received_field(prefix, "a-1", [f"a{mark}b@c.test"], DATE, is_utf8=True)
    assert parsed(field)["for"] is None


def test_the_longest_of_everything_stays_below_the_limit_of_a_line() -> None:
    host = ".".join(["h" * 63] * 4)[:253]
    peer = peer_of(("2001:db8:1111:2222:3333:4444:5555:6666", 25))
    prefix = trace_prefix("n" * 255, peer, host, is_extended=True)
    field = received_field(prefix, "b" * 10 + "-" + "9" * 10, ["x" * 247 + "@b.test"], DATE)
    assert len(parsed(field)["name"]) == 255


ADDRESSES = st.one_of(
    st.integers(0, 2**32 - 1).map(lambda n: str(IPv4Address(n))),
    st.integers(0, 2**128 - 1).map(lambda n: str(IPv6Address(n))),
    st.integers(0, 2**32 - 1).map(lambda n: f"::ffff:{IPv4Address(n)}"),
    st.tuples(*[st.sampled_from(["0", "1", "ffff"])] * 8).map(":".join),
)
NAMES = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=255),
    st.text("aB1-_.[]:()", max_size=60),
    ADDRESSES.map(lambda ip: f"[IPv6:{ip}]"),
    ADDRESSES.map(lambda ip: f"[{ip}]"),
)
RECIPIENTS = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=254),
    st.tuples(st.text('a."\\ö\u2028 @', max_size=20), NAMES).map("@".join),
    st.tuples(st.text('a\\" ö', max_size=9), NAMES).map(lambda two: f'"{two[0]}"@{two[1]}'),
)
DATES = st.builds(
    lambda seconds, minutes: format_datetime(
        datetime.fromtimestamp(seconds, timezone(timedelta(minutes=minutes)))
    ),
    st.integers(10**5, 4 * 10**9),
    st.integers(-14 * 60, 14 * 60),
)


@given(NAMES, ADDRESSES, st.lists(RECIPIENTS, max_size=2), DATES, st.booleans(), st.booleans())
def test_whatever_comes_the_field_fits_the_grammar(
    helo: str, ip: str, recipients: list[str], date: str, is_extended: bool, is_utf8: bool
) -> None:
    is_utf8 = is_utf8 and is_extended
    prefix = trace_prefix(helo, peer_of((ip, 25)), HOST, is_extended=is_extended)
    field = received_field(prefix, "bcdfghjklm-12", recipients, date, is_utf8=is_utf8)
    found = parsed(field, is_utf8=is_utf8)
    assert found["by"] == HOST
    assert found["for"] is None or [found["for"]] == recipients
    assert parsedate_to_datetime(found["date"]) == parsedate_to_datetime(date)
