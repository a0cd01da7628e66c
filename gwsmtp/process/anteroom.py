"""Before the door: a listed proxy's connection waits here for the header that names its client.

It has a place of the listener meanwhile, and 3 s; all such connections of all workers may have a
tenth of the places, so that a proxy that connects and says nothing does not shut out the rest
(beyond it: closed without a word, a decision with the reason ``unnamed``). Only the header is taken
from the socket: what follows stays in the kernel for the session, or for its TLS handshake.

Then the client is who the header names, in everything: door, limits, log, trace field. The proxy
itself is nobody to the table: no row, no points. It speaks for itself when it looks whether we are
there (LOCAL, UNKNOWN, or its own address, as HAProxy's checks name in version 1): it is served, and
logged only with a message. One that connects and closes without an octet does the same. A header
that is malformed, late or of no use to us: closed without a word, and a WARNING for the operator,
at most every 10 s and proxy.

A header that names another listed proxy: that is the client, but as a proxy it is exempt as well,
for behind it there are more.

Called by the event loop through ``knock``; each wait is a greenlet's. Limits: on a full listener
the client is never heard of, so a session never makes room for one that comes by a proxy.
"""

import logging
from typing import Final

import gevent.pool

from gwsmtp.base.errors import PeerTimeout
from gwsmtp.base.netmatch import AddressTable
from gwsmtp.base.peer import Peer
from gwsmtp.base.quoting import quoted
from gwsmtp.base.seams import Clock
from gwsmtp.limits.admission import Admission
from gwsmtp.limits.entrance import Entrance
from gwsmtp.limits.slots import SlotWriter, Total
from gwsmtp.net.wire import Wire
from gwsmtp.process.door import SSL, Begin, Door
from gwsmtp.process.sparing import Sparing
from gwsmtp.protocol.proxyheader import LONGEST_V2, Header, Malformed, read_header

log = logging.getLogger(__name__)

HEADER_S: Final = 3.0
"""How long a proxy may take to a whole header."""
_PAUSE_S: Final = 10.0
_PHASE: Final = "PROXY header"


class Anteroom:
    """See the module; ``proxies`` are the listed ones, with at least one among them."""

    def __init__(
        self,
        door: Door,
        admission: Admission,
        proxies: AddressTable,
        slot: SlotWriter,
        clock: Clock,
    ) -> None:
        self._door = door
        self._admission = admission
        self._proxies = proxies
        self._totals = slot.totals
        self._clock = clock
        self._sparing = Sparing(_PAUSE_S)
        self._waiting = gevent.pool.Group()

    def knock(self, listener: int, wire: Wire, peer: Peer, begin: Begin) -> None:
        """A connection has come, of a proxy or of a client; as ``door.knock``."""
        if self._proxies.find(peer.ip) is None:
            self._door.knock(listener, wire, peer, begin)
        else:
            self._waiting.spawn(self._receive, listener, wire, peer, begin)

    def join(self) -> None:
        """Waits until nobody is here any more, 3 s or little longer once nobody comes."""
        self._waiting.join()

    def _receive(self, listener: int, wire: Wire, proxy: Peer, begin: Begin) -> None:
        place = self._admission.enter_unnamed(listener, self._clock.boot_ms())
        if place.refused:
            self._door.settle(place, wire, proxy, begin)
            return
        client: Peer | None = None
        try:
            client = self._name(place, wire, proxy)
        finally:
            if client is None:
                wire.close()
                self._door.leave(place)
            self._admission.end_unnamed(place)
        if client is not None:
            self._door.settle(place, wire, client, begin)

    def _name(self, place: Entrance, wire: Wire, proxy: Peer) -> Peer | None:
        """Who the client is, with the place in its name; None where the connection is to end."""
        header = self._hear(wire)
        if isinstance(header, Malformed):
            self._complain(proxy, place.listener, header.cause)
            return None
        if header is None:
            return None
        client = header.client
        if client is None or client.ip == proxy.ip:
            place.is_check = True
            return proxy
        now_ms = self._clock.boot_ms()
        identity, is_exempt = self._door.identify(client.ip, now_ms)
        is_exempt = is_exempt or self._proxies.find(client.ip) is not None
        self._admission.name(place, identity, now_ms, is_exempt=is_exempt)
        return client

    def _hear(self, wire: Wire) -> Header | Malformed | None:
        """Takes a header, and nothing else, from the socket; None where no octet has come."""
        monotonic = self._clock.monotonic
        ends, octets = monotonic() + HEADER_S, b""
        try:
            while (left := ends - monotonic()) > 0:
                wire.deadline.arm(left, _PHASE)
                more = wire.peek(LONGEST_V2)
                if not more:
                    return Malformed("closed in the header") if octets else None
                found = read_header(octets + more)
                if found is None:  # taken, as the socket would be ready for it for ever
                    octets += wire.read(len(more))
                    continue
                if isinstance(found, Header):
                    wire.read(found.octets - len(octets))
                return found
        except PeerTimeout:
            pass
        except OSError as e:
            return Malformed(f"lost in the header: {e.strerror or e}") if octets else None
        finally:
            wire.deadline.disarm()
        return Malformed(f"not within {HEADER_S:g} s")

    def _complain(self, proxy: Peer, listener: int, cause: str) -> None:
        self._totals[Total.SESSIONS_REFUSED] += 1
        suppressed = self._sparing.admit(proxy.ip, self._clock.monotonic())
        if suppressed >= 0:
            log.warning(
                "event=proxy-header peer=%s listener=%s cause=%s suppressed=%d",
                *(proxy.ip, "ssl" if listener == SSL else "plain", quoted(cause), suppressed),
            )
