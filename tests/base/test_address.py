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


def test_is_ascii_tells_what_needs_smtputf8() -> None:
    assert Mailbox("a@b.test", "a", "b.test").is_ascii
    assert not Mailbox("\u00fc@b.test", "\u00fc", "b.test").is_ascii
    assert NULL_SENDER.is_ascii
