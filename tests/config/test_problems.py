"""Problems as lines of text."""

from gwsmtp.config.problems import Problem, key_text, nearest


def test_keys_as_text() -> None:
    assert key_text(()) == ""
    assert key_text(("a", "b", 0, "c")) == "a.b[0].c"
    assert key_text(("a\nb", "c d")) == "'a\\nb'.'c d'"
    assert len(key_text(("x" * 500,))) < 70


def test_rendering() -> None:
    assert Problem(("a", 1), "is bad", 7).render("f") == "f:7 a[1]: is bad"
    assert Problem((), "is bad").render("f") == "f: is bad"
    assert Problem(("a",), "is bad").render("f") == "f a: is bad"
    assert repr(Problem((), "is bad", 2)) == "Problem(':2: is bad')"


def test_the_nearest_word() -> None:
    assert nearest("enabeld", ["enabled", "listen"]) == '; did you mean "enabled"?'
    assert nearest("zzz", ["enabled", "listen"]) == ""
    assert nearest("x" * 100000, ["enabled"]) == ""
