"""Findings of rules."""

from gwsmtp.config.finding import error, fault, warning


def test_keys_as_text_or_steps() -> None:
    assert error("a.b", "x").path == ("a", "b")
    assert error(("a", 0), "x").path == ("a", 0)
    assert error("a", "x").is_error
    assert not warning("a", "x").is_error
    assert fault("a", "x").is_fault
    assert not fault("a", "x").is_error
