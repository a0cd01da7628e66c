import pytest

from gwsmtp.base.peer import Peer, peer_of


@pytest.mark.parametrize(
    ("address", "ip"),
    [
        (("192.0.2.7", 25), "192.0.2.7"),
        (("2001:DB8:0:0:0:0:0:1", 25, 0, 0), "2001:db8::1"),
        (("::ffff:192.0.2.7", 25, 0, 0), "192.0.2.7"),
        (("::ffff:c000:207", 25, 0, 0), "192.0.2.7"),
        (("fe80::1%eth0", 25, 0, 2), "fe80::1"),
        (("::", 25, 0, 0), "::"),
    ],
)
def test_address_is_normalised(
    address: tuple[str, int] | tuple[str, int, int, int], ip: str
) -> None:
    peer = peer_of(address)
    assert (peer.ip, peer.port) == (ip, 25)


def test_both_families_are_spelled_unmistakably() -> None:
    four, six = Peer("192.0.2.7", 25), Peer("2001:db8::1", 25)
    assert (four.literal, str(four)) == ("[192.0.2.7]", "192.0.2.7:25")
    assert (six.literal, str(six)) == ("[IPv6:2001:db8::1]", "[2001:db8::1]:25")
