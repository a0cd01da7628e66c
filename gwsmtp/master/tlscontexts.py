"""TLS contexts of each generation, built in the master before the fork.

Limits: nothing is built yet; ``build`` gives None and ``watch`` sees no change.
"""

from gwsmtp.process.context import Settings


class TlsMaterial:
    """What a worker needs to speak TLS."""

    __slots__ = ()


def build(config: Settings) -> TlsMaterial | None:
    """The material for one generation, None where there is no usable certificate or TLS is off."""
    del config
    return None


def watch(now_ms: int) -> bool:
    """True when certificate files have changed and are good: a new generation is to begin."""
    del now_ms
    return False
