"""What the embedded engine looks for: fixed strings, each with what to do and what to say.

Limits: the rules are built in; a file of them comes with the adapters to other scanners.
"""

from typing import Final, NamedTuple

from gwsmtp.scan.outcome import Action


class Rule(NamedTuple):
    """``needle`` anywhere in a message, as it is or encoded in a MIME part, means ``action``."""

    name: str
    needle: bytes
    action: Action
    text: str
    category: str


# Both strings are put together here so that no virus scanner or spam filter takes this file, or
# the package it comes in, for what it describes.
EICAR: Final = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR" + b"-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
GTUBE: Final = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE" + b"-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

BUILT_IN: Final = (
    Rule("EICAR", EICAR, Action.REJECT, "Message contains malware (EICAR test file)", "malware"),
    Rule("GTUBE", GTUBE, Action.REJECT, "Message is spam (GTUBE test)", "spam"),
)
