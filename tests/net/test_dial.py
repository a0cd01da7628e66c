"""Names and connections."""

import socket

import pytest

from gwsmtp.base.clock import SystemClock
from gwsmtp.net.dial import Dialer, DialError
from gwsmtp.net.offload import Offload


def dialer(source: str = "") -> Dialer:
    return Dialer(Offload("names", 2, 10), SystemClock(), source)


def test_an_address_is_its_own_address() -> None:
    assert dialer().addresses("192.0.2.1") == ("192.0.2.1",)
    assert dialer().addresses("2001:DB8::1") == ("2001:db8::1",)


def test_a_name_is_looked_up_and_remembered() -> None:
    one = dialer()
    found = one.addresses("localhost")
    assert set(found) & {"127.0.0.1", "::1"}
    assert one.addresses("localhost") is found


def test_a_name_without_address_is_an_error_that_names_it() -> None:
    with pytest.raises(DialError, match=r"no-such-name\.invalid"):
        dialer().addresses("no-such-name.invalid")


def test_connects_from_the_source_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = dialer("127.0.0.2").connect("127.0.0.1", listener.getsockname()[1])
        accepted, peer = listener.accept()
        accepted.close()
        assert peer[0] == "127.0.0.2"
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        sock.close()


def test_another_family_than_the_source_address_is_refused() -> None:
    with pytest.raises(DialError, match="family"):
        dialer("127.0.0.1").connect("::1", 1)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(OSError, match="refused"):
        dialer().connect("127.0.0.1", port)
