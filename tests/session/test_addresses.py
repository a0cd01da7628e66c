"""Whom RCPT means: Postmaster, equal mailboxes, addresses beyond ASCII, DSN parameters."""

from gwsmtp.base import replies
from gwsmtp.base.address import Mailbox
from tests.delivery.hops import Hop
from tests.session.rig import Client, Rig

DESK = Mailbox("desk@example.test", "desk", "example.test")


def sent_to(client: Client, *recipients: str) -> list[str]:
    """The replies to RCPT; then the message is sent."""
    client.ask(b"MAIL FROM:<>\r\n")
    said = [client.ask(f"RCPT TO:<{recipient}>\r\n".encode()) for recipient in recipients]
    assert client.ask(b"DATA\r\n").startswith("354")
    assert client.ask(b"x\r\n.\r\n").startswith("250")
    return said


def test_every_postmaster_is_the_one_that_is_set_unasked(house: Rig) -> None:
    house.postmaster = DESK
    said = sent_to(house.greeted(), "Postmaster", "postMASTER@example.test", "DESK@example.test")
    assert said == [str(replies.RECIPIENT_OK)] * 3
    assert house.messages[0].recipients == ("desk@example.test",)  # one delivery


def test_a_quoted_postmaster_is_the_postmaster(house: Rig) -> None:
    house.postmaster = DESK
    sent_to(house.greeted(), '"postmaster"@example.test', '"Post\\master"@example.test')
    assert house.messages[0].recipients == ("desk@example.test",)


def test_a_route_over_our_own_domain_leads_nowhere_else(house: Rig) -> None:
    client = house.greeted()
    client.ask(b"MAIL FROM:<>\r\n")
    for local in (b"a%b.test%example.test", b"example.test!b.test!a", b'"a@b.test@"', b"a%b.test%"):
        said = client.ask(b"RCPT TO:<" + local + b"@example.test>\r\n")
        assert said.startswith("550 5.7.1 "), local


def test_the_postmaster_of_a_foreign_domain_is_foreign(house: Rig) -> None:
    house.postmaster = DESK
    client = house.greeted()
    client.ask(b"MAIL FROM:<>\r\n")
    assert client.ask(b"RCPT TO:<postmaster@foreign.test>\r\n").startswith("550 5.7.1 ")


def test_a_postmaster_elsewhere_waits_for_the_queue(house: Rig) -> None:
    house.postmaster = Mailbox("desk@foreign.test", "desk", "foreign.test")
    client = house.greeted()
    client.ask(b"MAIL FROM:<>\r\n")
    for name in (b"Postmaster", b"postmaster@example.test"):
        said = client.ask(b"RCPT TO:<" + name + b">\r\n")
        assert said == str(replies.DELIVERY_UNAVAILABLE)


def test_without_one_set_it_is_the_mailbox_of_our_own_domain(house: Rig) -> None:
    client = house.greeted()
    client.ask(b"MAIL FROM:<>\r\n")
    assert client.ask(b"RCPT TO:<Postmaster>\r\n") == str(replies.UNKNOWN_MAILBOX)
    house.host_domain = "example.test"
    sent_to(house.greeted(), "Postmaster", "postmaster@example.test")
    assert house.messages[0].recipients == ("Postmaster@example.test",)


def test_a_quoted_local_part_is_the_same_mailbox_as_the_plain_one(house: Rig) -> None:
    sent_to(house.greeted(), '"a"@example.test', "a@example.test", '"a b"@example.test')
    assert house.messages[0].recipients == ('"a"@example.test', '"a b"@example.test')


def test_next_hops_are_greeted_by_our_own_name_or_the_clients(house: Rig, next_hop: Hop) -> None:
    sent_to(house.greeted(), "a@example.test")
    house.forwards_helo = True
    for name in ("one.test", "[192.0.2.1]", "one.test", "no_name"):
        client = house.connect()
        client.reply()
        client.ask(f"EHLO {name}\r\n".encode())
        sent_to(client, "a@example.test")
    greetings = [line for line in next_hop.said() if line.startswith("EHLO")]
    own = greetings[0]
    assert greetings == [own, "EHLO one.test", "EHLO [192.0.2.1]", "EHLO one.test", own]


def test_smtputf8_and_dsn_parameters_reach_the_next_hop(house: Rig, next_hop: Hop) -> None:
    house.dsn = True
    client = house.greeted()
    client.ask("MAIL FROM:<ä@client.test> SMTPUTF8 RET=HDRS ENVID=x+2By\r\n".encode())
    client.ask("RCPT TO:<ö@example.test> NOTIFY=NEVER ORCPT=rfc822;o@example.test\r\n".encode())
    client.ask(b"DATA\r\n")
    assert client.ask(b"x\r\n.\r\n").startswith("250")
    mail, rcpt = [line for line in next_hop.said() if line[:4] in ("MAIL", "RCPT")]
    assert mail.startswith("MAIL FROM:<ä@client.test> ")
    assert {"SMTPUTF8", "RET=HDRS", "ENVID=x+2By"} <= set(mail.split())
    assert rcpt == "RCPT TO:<ö@example.test> NOTIFY=NEVER ORCPT=rfc822;o@example.test"
    assert b"with UTF8SMTP id" in next_hop.filed()[0]
    assert "\tfor <ö@example.test>;".encode() in next_hop.filed()[0]
