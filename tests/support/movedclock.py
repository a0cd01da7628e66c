"""A clock that a test moves by hand."""

from tests.support.realclock import RealClock


class MovedClock(RealClock):
    """``ms`` is CLOCK_BOOTTIME, ``wall_s`` the wall clock."""

    def __init__(self, ms: int = 1_000_000, wall_s: float = 1_700_000_000.0) -> None:
        super().__init__()
        self.ms = ms
        self.wall_s = wall_s

    def boot_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    def now(self) -> float:
        return self.wall_s

    def pass_ms(self, ms: int) -> None:
        """Both clocks go on."""
        self.ms += ms
        self.wall_s += ms / 1000
