"""Addresses and parameters: what the grammar takes, what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwsmtp.protocol import abnf


@pytest.mark.parametrize(
    ("argument", "text", "domain", "parameters"),
    [
        ("FROM:<a@b.test>", "a@b.test", "b.test", ""),
        ("from: <a@B.Test> SIZE=1", "a@B.Test", "b.test", "SIZE=1"),
        ("FROM:<>", "", "", ""),
        ("FROM:<> BODY=7BIT", "", "", "BODY=7BIT"),
        ('FROM:<"a b"@c.test>', '"a b"@c.test', "c.test", ""),
        ('FROM:<"a\\"b"@c.test>', '"a\\"b"@c.test', "c.test", ""),
        ("FROM:<a@[192.0.2.1]>", "a@[192.0.2.1]", "[192.0.2.1]", ""),
        ("FROM:<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]", "[ipv6:2001:db8::1]", ""),
        ("FROM:<@relay.test,@b.test:a@c.test>", "a@c.test", "c.test", ""),
        ("FROM:<a..b.@c_d.test>", "a..b.@c_d.test", "c_d.test", ""),
        ("FROM:<user+tag=x@b.test>", "user+tag=x@b.test", "b.test", ""),
        ("FROM:<\xe4@b.test>", "\xe4@b.test", "b.test", ""),
        ("FROM:<a@B\xfccher.test>", "a@B\xfccher.test", "xn--bcher-kva.test", ""),
        ('FROM:<"\u4f8b \xe4"@b.test>', '"\u4f8b \xe4"@b.test', "b.test", ""),
    ],
)
def test_reverse_path(argument: str, text: str, domain: str, parameters: str) -> None:
    parsed = abnf.parse_reverse_path(argument)
    assert parsed is not None
    assert (parsed[0].text, parsed[0].domain, parsed[1]) == (text, domain, parameters)


@pytest.mark.parametrize(
    "argument",
    [
        "FROM:a@b.test",
        "FROM:<a@b.test",
        "FROM:<a>",
        "FROM:<a@>",
        "FROM:<@b.test>",
        "FROM:<a@b..test>",
        "FROM:<a@-b.test>",
        "FROM:<a@b.test>SIZE=1",
        "FROM:<a b@c.test>",
        "FROM:<a@b.test\n>",
        "FROM:<a@b.test>\r",
        "FROM:<\x80@b.test>",
        "FROM:<\u2028@b.test>",
        "FROM:<a@b.\xad>",
        "FROM:<" + "\xe4" * 130 + "@b.test>",
        "FROM:<a@[b]>",
        "FROM:<\xe4@[b]>",
        "FROM:<\xe4@[b><c]>",
        "FROM:<a@[300.0.2.1]>",
        "FROM:<a@[IPv6:fe80::1%eth0]>",
        "FROM:<a@[IPv6:192.0.2.1]>",
        "FROM:<" + "a" * 250 + "@b.test>",
        "TO:<a@b.test>",
        "",
    ],
)
def test_bad_reverse_path(argument: str) -> None:
    assert abnf.parse_reverse_path(argument) is None


def test_bare_postmaster_is_a_recipient_without_domain() -> None:
    parsed = abnf.parse_forward_path("TO:<PostMaster>")
    assert parsed is not None
    assert (parsed[0].local, parsed[0].domain) == ("PostMaster", "")


@pytest.mark.parametrize(
    "argument", ["TO:<>", "TO:<a>", "FROM:<a@b.test>", "TO:<a@b.test", "TO:<po\u017ftmaster>"]
)
def test_bad_forward_path(argument: str) -> None:
    assert abnf.parse_forward_path(argument) is None


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("[IPv6:2001:DB8:0::1]", "[IPv6:2001:db8::1]"),
        ("[ipv6:::FFFF:1]", "[IPv6:::ffff:1]"),
        ("[192.0.2]", ""),
        ("[2001:db8::1]", ""),
        ("[IPv6:fe80::1%eth0]", ""),
        ("192.0.2.1", ""),
        ("[x:y]", ""),
        ("[]", ""),
        ("", ""),
    ],
)
def test_address_literals(text: str, literal: str) -> None:
    assert abnf.address_literal(text) == literal


@given(st.text(max_size=80))
def test_no_line_end_survives_the_grammar(text: str) -> None:
    for parsed in (
        abnf.parse_reverse_path(f"FROM:<{text}@b.test>"),
        abnf.parse_forward_path(f"TO:<a@{text}>"),
    ):
        if parsed is not None:
            assert not set("\r\n\0\x85\u2028\u2029") & set(parsed[0].text)
            assert len(parsed[0].text.splitlines()) == 1
            assert parsed[0].domain.isascii()


def test_parameters() -> None:
    assert abnf.parse_parameters("SIZE=1 body=8BITMIME SMTPUTF8") == {
        "SIZE": "1",
        "BODY": "8BITMIME",
        "SMTPUTF8": None,
    }
    assert abnf.parse_parameters("") == {}


@pytest.mark.parametrize(
    "text",
    [
        "SIZE=1 size=2",
        "=1",
        "SIZE=",
        "SI_ZE=1",
        "A=b=c",
        "A=\x80",
        "A\tB",
        "A=1\x1cB",
        "A=1\xa0B",
        "A\x0bB",
        "A\u2028B",
    ],
)
def test_bad_parameters(text: str) -> None:
    assert abnf.parse_parameters(text) is None


@pytest.mark.parametrize("name", ["client.example", "[192.0.2.1]", "a_b", " x "])
def test_helo_names(name: str) -> None:
    assert abnf.parse_helo_name(name) == name.strip()


@pytest.mark.parametrize("name", ["", "two words", "ctrl\x01", "x" * 256])
def test_bad_helo_names(name: str) -> None:
    assert abnf.parse_helo_name(name) is None
