"""What the next hop saw, one JSON object a line, so that a test can ask for it afterwards.

Every line has ``session`` (counted from 1), ``at`` (seconds of the monotonic clock) and ``event``:

| event     | further keys                                                                        |
|-----------|-------------------------------------------------------------------------------------|
| connected | ``peer`` as host:port                                                               |
| command   | ``line``                                                                            |
| reply     | ``line``: what was sent, lines joined by ``\\n``; of a flood only the first          |
| action    | ``stage``, ``does``: a rule of the script acted                                     |
| message   | the final dot has come: ``sha256``, ``size``, ``sender``, ``recipients``,           |
|           | ``parameters``: those of MAIL, then of each RCPT, as they came                      |
| filed     | ``file``: the message's name in the Maildir's ``new``                               |
| closed    | ``reason``; ``phase``: greeting, commands or body; ``octets``: payload without dot   |
| script    | ``problem``: the script file cannot be used                                         |

No line "message" means that no dot was seen.

Contract: one write a line to a local file, as logs do; a full disk loses lines, never mail.
"""

import json
import os
from pathlib import Path

from gwsmtp.base.seams import Clock

JournalValue = str | int | list[str]


class Journal:
    """Appends to ``path``; with None nothing is kept."""

    def __init__(self, path: Path | None, clock: Clock) -> None:
        self._clock = clock
        self._fd = -1
        if path is not None:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def add(self, session: int, event: str, **values: JournalValue) -> None:
        """Writes one line; never raises for want of space."""
        if self._fd < 0:
            return
        entry = {"session": session, "at": round(self._clock.monotonic(), 4), "event": event}
        line = json.dumps({**entry, **values}) + "\n"
        try:
            os.write(self._fd, line.encode())
        except OSError:
            pass

    def close(self) -> None:
        """Closes the file; later lines are dropped."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
