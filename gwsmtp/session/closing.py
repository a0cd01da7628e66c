"""How a connection is closed so that nothing said last is lost.

Our side is shut down, and what still comes is read and dropped for at most two seconds or 64 KiB:
a close with unread input resets the connection and loses the reply (seen 50 of 50). After QUIT
nothing is to come and waiting would be for nothing, unless it has come already.
"""

from typing import Final

from gwsmtp.base.errors import PeerTimeout
from gwsmtp.net.wire import Wire
from gwsmtp.session.tls import TlsWire

LINGER_S: Final = 2.0
LINGER_OCTETS: Final = 65536


def close_gently(wire: Wire | TlsWire, give_up: type[Exception], *, lingers: bool) -> None:
    """Closes ``wire``; waits where it ``lingers`` or has input. Raises nothing: ``give_up`` is what
    the wire's deadline may be made to raise by others.
    """
    try:
        if lingers or wire.has_input():
            wire.end_writing()
            wire.deadline.arm(LINGER_S, "close")
            left = LINGER_OCTETS
            while left > 0 and (data := wire.read(left)):
                left -= len(data)
    except (OSError, PeerTimeout, give_up):
        pass
    finally:
        wire.close()
