"""Seams have no behaviour; what can be wrong with one is that the real thing does not fit it."""

import inspect

from gwsmtp.base import seams
from gwsmtp.base.clock import SystemClock


def _methods(thing: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(value)
        for name, value in vars(thing).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }


def test_the_system_clock_offers_what_the_seam_asks_for_and_nothing_else() -> None:
    assert _methods(SystemClock) == _methods(seams.Clock)
