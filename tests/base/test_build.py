"""What is said of the form that runs is what really runs."""

from gwsmtp.base import build
from gwsmtp.protocol import server


def test_the_form_is_the_one_that_was_imported() -> None:
    is_source = (server.__file__ or "").endswith(".py")
    assert build.form() == ("pure" if is_source else "compiled")
