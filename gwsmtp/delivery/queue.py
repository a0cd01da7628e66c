"""The queue: spooled items go to their domains' own hosts, again and again until it is decided.

An item is in one place at a time: *timed* until it is due, *runnable* until there is a greenlet for
it, *running*, or *parked* while its host has no room. Only ids are kept in memory: whoever runs an
item reads it anew, and what has happened stands in its file before anything else does. So a kill at
any moment loses nothing, and repeats only a delivery whose final reply had not been written down.

    item -> due recipients, by route -> one attempt -> a line for each outcome, fsynced
         -> all delivered: removed; some refused or expired, none pending: to the hold

* A host that cannot be talked to is left alone for a while (``_PAUSE_S``), whatever is queued for
  it: one item's failure costs the others no attempt, and a dead host holds no place.
* What a host refuses for good is held (no DSN exists yet, and to refuse is not to lose); so is what
  is older than ``give_up_after`` and was tried.
* A result that the disk does not take is kept in memory, and the item rests, until it does.

Blocks its own greenlets only; the disk is asked through ``disk``. One per queue process, which
holds the spool's lock.
"""

import heapq
import logging
import math
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

import gevent
import gevent.event

from gwsmtp.base.errors import SpoolError
from gwsmtp.base.quoting import quoted
from gwsmtp.base.seams import Clock
from gwsmtp.delivery.route import Route
from gwsmtp.delivery.schedule import JITTER, wait_for
from gwsmtp.delivery.spooled import SpooledDelivery
from gwsmtp.net.offload import Offload, OffloadBusy
from gwsmtp.spool.files import ItemGone, Spool
from gwsmtp.spool.hold import Hold, HoldReason
from gwsmtp.spool.item import Envelope, ItemDamaged, Mark, RecipientState, StateLine
from gwsmtp.spool.stored import Item

log = logging.getLogger(__name__)

AT_ONCE: Final = 20
_PAUSE_S: Final = 60.0
_TROUBLE_S: Final = 30.0

Again = tuple[float, float]
"""(seconds until an item is to run again, the planned time of what is due then)."""


class _Hop:
    """What the queue knows of one route."""

    __slots__ = ("parked", "paused_until", "running")

    def __init__(self) -> None:
        self.running = 0
        self.paused_until = -math.inf
        self.parked: deque[tuple[str, float]] = deque()


class DeliveryQueue:
    """See the module. ``per_host`` is how many deliveries to one host run at a time;
    ``give_up_after`` is in seconds; ``route_to`` knows the route of an address, None where there is
    none.
    """

    def __init__(
        self,
        spool: Spool,
        hold: Hold,
        delivery: SpooledDelivery,
        disk: Offload,
        clock: Clock,
        rng: random.Random,
        route_to: Callable[[str], Route | None],
        *,
        per_host: int,
        give_up_after: float,
    ) -> None:
        self._spool = spool
        self._hold = hold
        self._delivery = delivery
        self._disk = disk
        self._clock = clock
        self._rng = rng
        self._route_to = route_to
        self._per_host = per_host
        self._give_up_after = give_up_after
        self._known: set[str] = set()
        self._timed: list[tuple[float, str, float]] = []  # (monotonic, id, planned wall-clock time)
        self._runnable: deque[tuple[str, float]] = deque()
        self._hops: dict[str, _Hop] = {}
        self._unwritten: dict[str, list[StateLine]] = {}
        self._running: set[gevent.Greenlet[..., None]] = set()
        self._wake = gevent.event.Event()
        self._dispatcher: gevent.Greenlet[[], None] | None = None
        self._is_draining = False

    # Life ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to deliver."""
        self._dispatcher = gevent.spawn(self._dispatch)

    def add(self, item_id: str) -> None:
        """There is an item of that id; one that is known already changes nothing."""
        if item_id not in self._known and not self._is_draining:
            self._known.add(item_id)
            self._runnable.append((item_id, 0.0))
            self._wake.set()

    def __len__(self) -> int:
        return len(self._known)

    def drain(self) -> None:
        """Begins nothing more; waits until what has begun is over."""
        self._is_draining = True
        self._wake.set()
        gevent.joinall(list(self._running))

    def _dispatch(self) -> None:
        while not self._is_draining:
            now = self._clock.monotonic()
            while self._timed and self._timed[0][0] <= now:
                _, item_id, planned = heapq.heappop(self._timed)
                self._runnable.append((item_id, planned))
            for hop in self._hops.values():
                self._unpark(hop, now)
            while self._runnable and len(self._running) < AT_ONCE:
                greenlet = gevent.Greenlet(self._run, *self._runnable.popleft())
                self._running.add(greenlet)
                greenlet.start()
            self._wake.wait(self._timed[0][0] - now if self._timed else None)
            self._wake.clear()

    def _unpark(self, hop: _Hop, now: float) -> None:
        """Lets as many go on as have room now; all of them where the host is left alone."""
        if hop.paused_until > now:
            while hop.parked:
                item_id, planned = hop.parked.popleft()
                self._later(item_id, self._after_pause(hop, now), planned)
        for _ in range(self._per_host - hop.running):
            if hop.parked:
                self._runnable.append(hop.parked.popleft())

    def _after_pause(self, hop: _Hop, now: float) -> float:
        pause_s = hop.paused_until - now
        return pause_s + self._rng.uniform(0, JITTER * pause_s)

    def _later(self, item_id: str, seconds: float, planned: float) -> None:
        heapq.heappush(self._timed, (self._clock.monotonic() + seconds, item_id, planned))

    def _forget(self, item_id: str) -> None:
        self._known.discard(item_id)
        self._unwritten.pop(item_id, None)

    # One item ------------------------------------------------------------------------------------

    def _run(self, item_id: str, planned: float) -> None:
        again: Again | None = (_TROUBLE_S, planned)
        try:
            again = self._work(item_id, planned)
        except ItemGone:
            self._forget(item_id)
            again = None
        except (SpoolError, OffloadBusy) as e:
            log.error("event=queue_trouble id=%s cause=%s", item_id, quoted(str(e)))
        except Exception:
            log.exception("event=queue_failed id=%s", item_id)
        finally:
            self._running.discard(gevent.getcurrent())
            if again is not None:
                self._later(item_id, *again)
            self._wake.set()

    def _work(self, item_id: str, planned: float) -> Again | None:
        """All that can be done with an item now; None when it is parked or over."""
        unwritten = self._unwritten.get(item_id)
        if unwritten:
            self._disk.run(partial(self._spool.append_state, item_id, unwritten))
            del self._unwritten[item_id]
        try:
            item = self._disk.run(partial(self._spool.open, item_id))
        except ItemDamaged as e:
            aside = self._disk.run(partial(self._spool.set_aside, item_id))
            log.error("event=queue_damaged file=%s cause=%s", quoted(str(aside)), quoted(str(e)))
            self._forget(item_id)
            return None
        with item:
            while not self._is_draining:
                self._give_up(item)
                pending = item.envelope.pending()
                if not pending:
                    self._end(item)
                    return None
                due = [n for n in pending if self._left(item.envelope, n, planned) <= 0]
                if not due:
                    break
                found = self._choose(item, due, planned)
                if isinstance(found, _Choice):
                    self._deliver(item, found)
                else:
                    return found
            return self._until_next(item.envelope)

    def _left(self, envelope: Envelope, place: int, planned: float) -> float:
        """Seconds until a recipient is due. ``planned``: whatever was to be done up to that time
        of the wall clock is due, since the time until then has been waited for.
        """
        one = envelope.recipients[place]
        if one.next_at <= planned:
            return 0.0
        return wait_for(one.tried_at, one.next_at, self._clock.now())

    def _until_next(self, envelope: Envelope) -> Again:
        pending = envelope.pending()
        if not pending:  # the drain came between
            return 0.0, 0.0
        nearest = min(pending, key=lambda n: self._left(envelope, n, 0.0))
        return self._left(envelope, nearest, 0.0), envelope.recipients[nearest].next_at

    def _give_up(self, item: Item) -> None:
        """What is too old is so for good, if it was ever tried."""
        envelope, now = item.envelope, self._clock.now()
        if now - (envelope.queued_at or envelope.received_at) < self._give_up_after:
            return
        late = [n for n in envelope.pending() if envelope.recipients[n].attempts]
        if late:
            last = envelope.recipients[late[0]]
            self._record(item, [StateLine(now, Mark.EXPIRED, late, hop=last.hop, text=last.reply)])

    def _end(self, item: Item) -> None:
        """Nobody is pending: it goes, or is held for those who did not get it."""
        reason, hold, now = _why_held(item.envelope), self._hold, self._clock.now()
        if reason is None:
            self._disk.run(partial(self._spool.remove, item.id))
        else:
            # Headers may be enough only where nobody was waiting for the message.
            if reason is HoldReason.DICTIONARY_ATTACK:
                held = self._disk.run(partial(hold.take_in_share, item, reason, now))
            else:
                held = self._disk.run(partial(hold.take_in, item.id, reason, now))
            log.warning("event=queue_held id=%s hold=%s reason=%s", item.id, held, reason)
        self._forget(item.id)

    # One attempt ---------------------------------------------------------------------------------

    def _choose(self, item: Item, due: list[int], planned: float) -> "_Choice | Again | None":
        """A route to try now for some of ``due``; else when to come back, None for parked."""
        routes: dict[str, _Choice] = {}
        homeless = []
        for n in due:
            route = self._route_to(item.envelope.recipients[n].address)
            if route is None:
                homeless.append(n)
            else:
                routes.setdefault(route.key, _Choice(route, [])).places.append(n)
        if homeless:
            return _Choice(None, homeless)
        now = self._clock.monotonic()
        full: _Hop | None = None
        pauses = []
        for choice in routes.values():
            hop = self._hops.setdefault(choice.key, _Hop())
            if hop.paused_until > now:
                pauses.append(self._after_pause(hop, now))
            elif hop.running < self._per_host:
                return choice
            else:
                full = hop
        planned = max(planned, *(item.envelope.recipients[n].next_at for n in due))
        if full is None:
            return min(pauses), planned
        full.parked.append((item.id, planned))
        return None

    def _deliver(self, item: Item, choice: "_Choice") -> None:
        if choice.route is None:
            text = "the domain is not hosted here"
            self._record(item, self._delivery.deferred(item.envelope, choice.places, "", text))
            return
        hop = self._hops[choice.key]
        hop.running += 1
        try:
            tried = self._delivery.attempt(item, choice.route, choice.places)
        finally:
            hop.running -= 1
            self._wake.set()  # the next one goes while this one is written down
        if tried.is_host_down:
            pause_s = min(_PAUSE_S, *self._delivery.schedule)
            hop.paused_until = self._clock.monotonic() + pause_s
        self._record(item, tried.lines)

    def _record(self, item: Item, lines: list[StateLine]) -> None:
        """Writes down what has happened, first of all on disk; tells the log."""
        envelope = item.envelope
        for line in lines:
            envelope.apply(line)
        is_over = len(envelope.in_state(RecipientState.DELIVERED)) == len(envelope.recipients)
        try:
            if is_over:  # to be gone says the same as a line, and saves one fsync
                self._disk.run(partial(self._spool.remove, item.id))
            else:
                self._disk.run(partial(self._spool.append_state, item.id, lines))
        except ItemGone:
            raise
        except (SpoolError, OffloadBusy):
            self._unwritten[item.id] = lines
            raise
        finally:
            for line in lines:
                self._tell(item, line)

    def _tell(self, item: Item, line: StateLine) -> None:
        addresses = ",".join(item.envelope.recipients[n].address for n in line.recipients)
        log.info(
            "event=queue_%s id=%s sid=%s from=%s to=%s hop=%s reply=%s",
            line.mark,
            item.id,
            item.envelope.session_id,
            quoted(f"<{item.envelope.sender}>"),
            quoted(addresses),
            line.hop or "-",
            quoted(line.text),
        )


def _why_held(envelope: Envelope) -> HoldReason | None:
    """Why a message nobody is pending for is to be held; None where all have got it.

    Of a hidden client's message the unknown recipients are marked as refused from the start, and
    no host was asked. What a host has said of others, or of them after a release, counts for more.
    """
    refused = envelope.in_state(RecipientState.REFUSED)
    if any(envelope.recipients[n].tried_at for n in refused):
        return HoldReason.REFUSED_BY_HOST
    if envelope.in_state(RecipientState.EXPIRED):
        return HoldReason.EXPIRED
    if not refused:
        return None
    is_known = envelope.reason in set(HoldReason)
    return HoldReason(envelope.reason) if is_known else HoldReason.REFUSED_BY_HOST


class _Choice:
    """Recipients that go by one route; ``route`` is None for those that have none."""

    __slots__ = ("places", "route")

    def __init__(self, route: Route | None, places: list[int]) -> None:
        self.route = route
        self.places = places

    @property
    def key(self) -> str:
        """The route's key."""
        return self.route.key if self.route is not None else ""
