"""TLS within one session: what counts, what is dropped, what ends it (SETTINGS rows 26, 41, 42)."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from gevent import socket

from gwsmtp.base import replies
from gwsmtp.config.tls import ServerSslGroup, SslGroup, tls_plan
from gwsmtp.master.tlscontexts import TlsContexts
from gwsmtp.net.tlsmaterial import TlsMaterial
from gwsmtp.protocol.extensions import Offer, StartTls
from gwsmtp.session.tls import TlsService
from tests.delivery.hops import Hop
from tests.session.rig import Rig, rig
from tests.support.pki import Files


def material_of(files: Files, **more: object) -> TlsMaterial:
    group = SslGroup.model_validate({"enable_tls": True, **files.settings, **more})
    material = TlsContexts().build(tls_plan(group, ServerSslGroup()))
    assert material is not None
    return material


def service(material: TlsMaterial | None, handshake_s: float, recovery_s: float) -> TlsService:
    offer = Offer(1_000_000, starttls=StartTls.ACTIVE)
    ehlo = replies.ehlo("gw.example.test", offer.keywords())
    return TlsService(material, offer, ehlo, handshake_s, recovery_s)


def material_in(house: Rig) -> TlsMaterial:
    assert house.tls is not None
    assert house.tls.material is not None
    return house.tls.material


@pytest.fixture
def house(tmp_path: Path, next_hop: Hop, files: Files) -> Iterator[Rig]:
    with rig(tmp_path, next_hop.host) as one:
        one.starttls = StartTls.OFFERED
        one.tls = service(material_of(files), 5.0, 5.0)
        yield one


class Secured:
    """The client's side over buffers, so that a test chooses every octet on the wire."""

    def __init__(self, sock: socket.socket, ca: Path) -> None:
        context = ssl.create_default_context(cafile=str(ca))
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="gw.example.test")
        self._input = b""

    def flight(self) -> bytes:
        """What the handshake wants to send now; b"" when it is done."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    def shake_hands(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outgoing.read())
                self.incoming.write(self.sock.recv(65536))
            else:
                self.sock.sendall(self.outgoing.read())
                return

    def send(self, data: bytes) -> None:
        self.tls.write(data)
        self.sock.sendall(self.outgoing.read())

    def line(self) -> str:
        """The next line, "" at close_notify, "cut" at an end without it."""
        while b"\r\n" not in self._input:
            try:
                data = self.tls.read(65536)
            except ssl.SSLWantReadError:
                data = self.sock.recv(65536)
                if not data:
                    return "cut"
                self.incoming.write(data)
                continue
            except ssl.SSLZeroReturnError:  # the same, once we have said it ourselves
                return ""
            if not data:
                return ""
            self._input += data
        line, _, self._input = self._input.partition(b"\r\n")
        return line.decode()

    def reply(self) -> str:
        line = self.line()
        while line[3:4] == "-":
            line = self.line()
        return line

    def ask(self, data: bytes) -> str:
        self.send(data)
        return self.reply()


def secured(house: Rig, files: Files) -> Secured:
    client = house.greeted()
    assert client.ask(b"STARTTLS\r\n") == "220 2.0.0 Ready to start TLS"
    inside = Secured(client.sock, files.ca)
    inside.shake_hands()
    return inside


def test_starttls_forgets_and_goes_on(house: Rig, next_hop: Hop, files: Files) -> None:
    client = house.greeted()
    client.ask(b"MAIL FROM:<before@client.test>\r\n")
    assert client.ask(b"STARTTLS\r\n").startswith("220 ")
    inside = Secured(client.sock, files.ca)
    inside.shake_hands()
    assert inside.ask(b"MAIL FROM:<s@client.test>\r\n").startswith("503 5.5.1 Send HELO")
    assert inside.ask(b"EHLO inside.test\r\n").startswith("250 ")
    assert inside.ask(b"RCPT TO:<a@example.test>\r\n").startswith("503 5.5.1 MAIL")
    assert inside.ask(b"MAIL FROM:<s@client.test>\r\n").startswith("250 ")
    assert inside.ask(b"RCPT TO:<a@example.test>\r\n").startswith("250 ")
    assert inside.ask(b"DATA\r\n").startswith("354 ")
    assert inside.ask(b"Subject: x\r\n\r\nhi\r\n.\r\n").startswith("250 ")
    assert inside.ask(b"QUIT\r\n").startswith("221 ")
    assert inside.line() == ""  # close_notify, not a mere end
    (filed,) = next_hop.filed()
    assert b"from inside.test ([127.0.0.1])" in filed
    assert b"by gw.example.test (TLSv1.3 TLS_AES_256_GCM_SHA384) with ESMTPS id " in filed
    ended = house.wait_ended()
    assert (ended.tls, ended.sni) == ("TLSv1.3 TLS_AES_256_GCM_SHA384", "gw.example.test")
    assert (ended.reason, ended.helo, ended.messages) == ("quit", "inside.test", 1)


def test_a_client_behind_starttls_hears_of_its_handshake_before_it_speaks(
    house: Rig, files: Files
) -> None:
    """Else its EHLO waits for our delayed acknowledgement, where Nagle's algorithm is on."""
    inside = secured(house, files)
    with gevent.Timeout(5, AssertionError("no ticket came of itself")):
        ticket = inside.sock.recv(65536)
    inside.incoming.write(ticket)
    assert inside.ask(b"EHLO inside.test\r\n").startswith("250 ")
    assert inside.tls.session is not None and inside.tls.session.has_ticket


def test_a_large_message_passes_in_both_directions(house: Rig, next_hop: Hop, files: Files) -> None:
    inside = secured(house, files)
    content = b"".join(b"line %06d of some length to fill records\r\n" % n for n in range(20_000))
    for command in (b"EHLO c.test", b"MAIL FROM:<s@c.test>", b"RCPT TO:<a@example.test>", b"DATA"):
        inside.ask(command + b"\r\n")
    greenlet = gevent.spawn(inside.send, content + b".\r\n")
    assert inside.reply().startswith("250 ")
    greenlet.get(timeout=10)
    (filed,) = next_hop.filed()
    assert filed.endswith(content)
    inside.send(b"NOOP\r\n" * 90)
    assert [inside.reply()[:3] for _ in range(90)] == ["250"] * 90


def test_starttls_is_offered_once(house: Rig, files: Files) -> None:
    client = house.connect()
    client.reply()
    assert client.ask(b"STARTTLS\r\n").startswith("503 5.5.1 Send HELO")
    client.send(b"EHLO client.test\r\n")
    lines = [client.line()]
    while lines[-1][3:4] == "-":
        lines.append(client.line())
    assert "250-STARTTLS" in lines
    assert client.ask(b"STARTTLS now\r\n").startswith("501 5.5.4")
    assert client.ask(b"starttls\r\n").startswith("220 ")
    inside = Secured(client.sock, files.ca)
    inside.shake_hands()
    inside.send(b"EHLO client.test\r\n")
    lines = [inside.line()]
    while lines[-1][3:4] == "-":
        lines.append(inside.line())
    assert not any("STARTTLS" in line for line in lines)
    assert inside.ask(b"STARTTLS\r\n").startswith("503 5.5.1 TLS is active")


def test_without_a_certificate_it_is_not_offered_and_mail_goes_on(house: Rig) -> None:
    house.starttls, house.tls = StartTls.UNAVAILABLE, service(None, 5, 5)
    client = house.greeted()
    for _ in range(10):  # a refusal of ours is no error of the client's
        assert client.ask(b"STARTTLS\r\n").startswith("454 4.7.0 TLS not available")
    assert client.message().startswith("250 ")


def test_what_comes_in_clear_behind_starttls_is_never_executed(
    house: Rig, next_hop: Hop, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    client = house.greeted()
    injected = b"EHLO evil.test\r\nMAIL FROM:<evil@client.test>\r\n"
    client.send(b"STARTTLS\r\n" + injected)
    assert client.reply().startswith("220 ")
    inside = Secured(client.sock, files.ca)
    inside.shake_hands()
    assert inside.ask(b"RCPT TO:<a@example.test>\r\n").startswith("503 5.5.1 Send HELO")
    assert inside.ask(b"QUIT\r\n").startswith("221 ")
    assert inside.line() == ""
    ended = house.wait_ended()
    assert ended.helo == ""
    assert f"octets={len(injected)}" in caplog.text
    assert next_hop.filed() == []


def test_a_hello_pipelined_behind_starttls_is_dropped_too(house: Rig, files: Files) -> None:
    house.tls = service(material_in(house), 0.3, 0.1)
    client = house.greeted()
    inside = Secured(client.sock, files.ca)
    client.send(b"STARTTLS\r\n" + inside.flight())
    assert client.reply().startswith("220 ")
    assert client.reply() == ""
    client.close()
    assert house.wait_ended().reason == "timeout: TLS handshake"


def test_after_a_failed_handshake_quit_is_answered_and_nothing_else_done(house: Rig) -> None:
    client = house.greeted()
    assert client.ask(b"STARTTLS\r\n").startswith("220 ")
    # In the place of a handshake; then again, now that the handshake has failed.
    client.send(b"MAIL FROM:<s@client.test>\r\n")
    assert "454 4.7.0 TLS handshake failed" in client.reply()
    assert client.ask(b"RCPT TO:<a@example.test>\r\n").startswith("454 4.7.0 TLS handshake")
    assert client.ask(b"quit\r\n") == "221 2.0.0 Bye"
    assert client.reply() == ""
    client.close()
    ended = house.wait_ended()
    assert ended.reason.startswith("TLS: ")
    assert (ended.tls, ended.after, ended.messages) == ("", "STARTTLS", 0)


def test_after_a_failed_handshake_the_connection_ends_in_row_42s_time(house: Rig) -> None:
    house.tls = service(material_in(house), 5, 0.2)
    client = house.greeted()
    client.ask(b"STARTTLS\r\n")
    client.send(b"\x16\x03\x01\x00\x05junk!\n")
    rest = client.sock.recv(65536)
    assert rest[:2] == b"\x15\x03"  # OpenSSL's alert
    assert client.reply() == ""


def test_an_alert_is_no_command(house: Rig, files: Files) -> None:
    client = house.greeted()
    client.ask(b"STARTTLS\r\n")
    client.send(b"\x15\x03\x01\x00\x02\x02\x0a")
    client.sock.shutdown(socket.SHUT_WR)
    assert b"454" not in client.sock.recv(65536)
    ended = house.wait_ended()
    assert ended.reason.startswith("TLS: ")


@pytest.mark.parametrize("drip", [False, True])
@pytest.mark.parametrize("flight", [0, 1])
@pytest.mark.parametrize("implicit", [False, True])
def test_a_handshake_that_stalls_or_drips_is_bounded(
    house: Rig, files: Files, flight: int, drip: bool, implicit: bool
) -> None:
    house.tls = service(material_in(house), 0.4, 0.1)
    house.implicit_tls = implicit
    client = house.connect()
    if not implicit:
        client.reply()
        client.ask(b"EHLO client.test\r\n")
        client.ask(b"STARTTLS\r\n")
    inside = Secured(client.sock, files.ca)
    octets = inside.flight()
    if flight == 1:
        client.send(octets)
        inside.incoming.write(client.sock.recv(65536))
        octets = inside.flight()

    def trickle() -> None:
        for octet in octets[:-1]:
            client.send(bytes([octet]))
            gevent.sleep(0.02)

    dripping = gevent.spawn(trickle) if drip else None
    with gevent.Timeout(3.0):
        while client.sock.recv(65536):
            pass  # an alert of ours is no end yet
    if dripping is not None:
        dripping.kill()
    client.close()
    ended = house.wait_ended()
    assert ended.reason == "timeout: TLS handshake"
    assert 0.4 <= ended.duration_s < 2.0
    assert ended.tls == ""


def test_over_ssl_nothing_is_said_before_or_beside_tls(house: Rig) -> None:
    house.implicit_tls = True
    client = house.connect()
    client.send(b"EHLO client.test\r\n")
    said = client.sock.recv(65536)
    assert said[:2] in (b"\x15\x03", b"")
    assert b"220" not in said
    client.close()
    assert house.wait_ended().reason.startswith("TLS: ")


def test_an_end_without_close_notify_is_an_ordinary_end(house: Rig, files: Files) -> None:
    inside = secured(house, files)
    inside.ask(b"EHLO client.test\r\n")
    inside.sock.shutdown(socket.SHUT_WR)
    assert house.wait_ended().reason == "closed by client"


def test_close_notify_alone_ends_the_session(house: Rig, files: Files) -> None:
    inside = secured(house, files)
    inside.tls.write(b"NOOP\r\n")
    try:
        inside.tls.unwrap()
    except ssl.SSLWantReadError:
        pass
    inside.sock.sendall(inside.outgoing.read())  # both in one piece, and no end of the stream
    assert inside.line().startswith("250 ")
    assert inside.line() == ""
    inside.sock.close()
    assert house.wait_ended().reason == "closed by client"
    assert house.ended[-1].commands == 3


def test_a_broken_record_ends_the_session_and_is_never_read_as_text(
    house: Rig, files: Files, next_hop: Hop
) -> None:
    inside = secured(house, files)
    inside.ask(b"EHLO client.test\r\n")
    inside.tls.write(b"NOOP\r\n")
    inside.sock.sendall(inside.outgoing.read() + b"RSET\r\nRSET\r\nQUIT\r\n")
    inside.sock.close()
    ended = house.wait_ended()
    assert ended.reason.startswith("lost: TLS: ")
    assert ended.commands == 4


def test_draining_says_421_inside_tls(house: Rig, files: Files) -> None:
    inside = secured(house, files)
    inside.ask(b"EHLO client.test\r\n")
    house.sessions[-1].drain()
    assert inside.line().startswith("421 4.3.2")
    assert inside.line() == ""


def test_a_timeout_says_421_inside_tls(house: Rig, files: Files) -> None:
    inside = secured(house, files)
    house.timeouts.command_s = 0.2
    inside.ask(b"EHLO client.test\r\n")
    assert inside.line().startswith("421 4.4.2")
