"""The real clock, open to be changed: what is compiled takes no heirs that are not."""

from gwsmtp.base.clock import SystemClock


class RealClock:
    """A ``base.seams.Clock``; tests inherit from it and replace what they move by hand."""

    def __init__(self) -> None:
        self._real = SystemClock()

    def monotonic(self) -> float:
        return self._real.monotonic()

    def boot_ms(self) -> int:
        return self._real.boot_ms()

    def now(self) -> float:
        return self._real.now()

    def rfc5322(self) -> str:
        return self._real.rfc5322()

    def iso(self) -> str:
        return self._real.iso()
