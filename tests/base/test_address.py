import pytest

from gwsmtp.base.address import NULL_SENDER, Mailbox


def test_key_ignores_the_case_of_the_local_part() -> None:
    assert Mailbox("Ann@a.test", "Ann", "a.test").key == "ann@a.test"
    assert NULL_SENDER.key == "@"


def test_equality_is_by_the_text_as_written() -> None:
    one = Mailbox("Ann@a.test", "Ann", "a.test")
    assert one == Mailbox("Ann@a.test", "Ann", "a.test")
    assert hash(one) == hash(Mailbox("Ann@a.test", "Ann", "a.test"))
    assert one != Mailbox("ann@a.test", "ann", "a.test")
    assert one != "Ann@a.test"


def test_repr_shows_the_text() -> None:
    assert repr(Mailbox("a@b.test", "a", "b.test")) == "Mailbox('a@b.test')"


@pytest.mark.parametrize(
    ("local", "key"),
    [
        ('"ann"', "ann"),
        ('"A\\nn"', "ann"),
        ('"a b"', "a b"),
        ("J\u00fcRGEN", "j\u00fcrgen"),
        ("ju\u0308rgen", "j\u00fcrgen"),
    ],
)
def test_key_ignores_how_a_local_part_is_written(local: str, key: str) -> None:
    assert Mailbox(f"{local}@a.test", local, "a.test").key == f"{key}@a.test"


def test_is_ascii_is_about_the_text() -> None:
    assert Mailbox("a@b.test", "a", "b.test").is_ascii
    assert not Mailbox("a@b\u00fc.test", "a", "xn--b-hga.test").is_ascii


@pytest.mark.parametrize(("one", "other"), [("stra\u00dfe", "strasse"), ("\ufb01n", "fin")])
def test_different_letters_are_different_mailboxes(one: str, other: str) -> None:
    assert Mailbox(f"{one}@a.test", one, "a.test").key != f"{other}@a.test"


@pytest.mark.parametrize(
    ("local", "hosts"),
    [
        ("ann", []),
        ("ann+tag=x", []),
        ("ann%b.test", ["b.test"]),
        ("ann%c%B.test", ["c", "b.test"]),
        ("ann%c%", ["c"]),
        ("b.test!c!ann", ["b.test", "c"]),
        ("!c!ann", ["c"]),
        ("c!ann%b.test", ["b.test", "c"]),
        ('"ann@b.test"', ["b.test"]),
        ('"ann@c@b.test"', ["c", "b.test"]),
        ('"ann@b.test%c"', ["b.test", "c"]),
        ('"@c:ann@b.test"', ["c:ann", "b.test"]),
        ('"ann%"', []),
        ('"ann\\%b.test"', ["b.test"]),
    ],
)
def test_a_local_part_can_ask_for_other_hosts(local: str, hosts: list[str]) -> None:
    assert Mailbox(f"{local}@a.test", local, "a.test").routed_to() == hosts
