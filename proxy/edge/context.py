"""What all connections of one worker share. One object, owned by the worker's main function."""

import asyncio
import random
import resource
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from proxy.core.allowance import Allowance
from proxy.core.descriptors import room, share
from proxy.core.messages import Observation, Suspect
from proxy.core.model import Limits, Side, Snapshot
from proxy.edge.answers import HttpDate
from proxy.edge.outbox import Outbox
from proxy.edge.repeating import Tickets
from proxy.edge.shipping import Shipper
from proxy.edge.starting import Starts
from proxy.edge.table import Service, Table
from proxy.edge.tally import LEGACY, NEW, Tallies
from proxy.edge.trials import Trials
from proxy.edge.wheel import Wheel

if TYPE_CHECKING:
    from proxy.edge.client import ClientConnection
    from proxy.edge.pair import Pair
    from proxy.edge.pool import Pool

# So many requests a second that strangers ask to have traced are, in this worker, beside the share
# that is traced anyway.
TRACES_ASKED_A_SECOND: Final = 20.0
# Errors of new alone whose answers go to a comparer, to be kept; the others are told without.
ERRORS_KEPT_A_SECOND: Final = 5.0
# Bodies held in memory for shadows, comparisons and second writes, over the whole worker.
MAX_HELD_BYTES: Final = 256 << 20
PIECE_BYTES: Final = 64  # what a piece of a body takes beside its bytes


class Edge:
    """The worker's own state."""

    def __init__(self, loop: asyncio.AbstractEventLoop, workers: int, is_tls: bool) -> None:
        self.loop = loop
        self.workers = workers
        self.is_tls = is_tls
        self.wheel = Wheel(loop)
        self.outbox = Outbox(loop)
        self.tallies = Tallies()
        self.date = HttpDate()
        self.table: Table | None = None
        self.limits = Limits()
        self.trace_sample = 0.01
        self.traces_asked = Allowance(TRACES_ASKED_A_SECOND, TRACES_ASKED_A_SECOND)
        self.errors_kept = Allowance(ERRORS_KEPT_A_SECOND, ERRORS_KEPT_A_SECOND)
        self.switch_timeout_s = 5.0
        self.clients: set[ClientConnection] = set()
        self.handshakes = 0  # connections on their way to being clients
        self.max_clients = 10_000  # those beyond are told so
        self.max_sockets = 10_000  # those beyond are cut: what is left is for backends
        self.draining = False
        self.on_drained: Callable[[], None] | None = None
        self.detached = 0  # relays that go on without their client
        self.held_bytes = 0
        self.random_bits = random.SystemRandom().getrandbits(64)
        self.bits = random.Random(self.random_bits).getrandbits
        self.chance = random.Random(self.random_bits ^ 1).random
        self.shipper: Shipper | None = None  # the way to the comparers, where there are any
        self.starts = Starts(loop)
        self.tickets = Tickets(self)
        self.trials = Trials()
        # Set by the worker: how the controller is told.
        self.tell_missing: Callable[[str, Side, str], None] = _nobody_missing
        self.tell_quiet: Callable[[str], None] = _nobody_quiet
        self.tell_not_asked: Callable[[int, str], None] = _nobody_waits
        self.tell_same_again: Callable[[int, bool], None] = _nobody_waits

    def apply_limits(self, snapshot: Snapshot, pools: "Mapping[str, Pool]") -> None:
        """Take over what a new table says about clients, and how many connections there may be."""
        self.limits = snapshot.limits
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        fits = room(descriptors, snapshot.backends, self.workers)
        self.max_sockets = fits.clients
        most = self.max_sockets - self.max_sockets // 8
        self.max_clients = min(share(snapshot.limits.connections, self.workers), most)
        self.trace_sample = snapshot.trace_sample
        self.switch_timeout_s = snapshot.switch_timeout_s
        for name, pool in pools.items():
            pool.most = fits.backends[name]
        for client in self.clients:
            client.peer = None  # it may be trusted now, or no longer

    def hold(self, size: int) -> int:
        """Account for a piece of body that is kept: what it takes, 0 where there is no room.

        Whoever keeps it takes that off `held_bytes` again.
        """
        size += PIECE_BYTES
        if self.held_bytes + size > MAX_HELD_BYTES:
            return 0
        self.held_bytes += size
        return size

    def compare_apart(self, pair: "Pair", observation: Observation) -> bool:
        """Send a pair that is not alike to a comparer; False where there is none."""
        shipper = self.shipper
        if shipper is None:
            return False
        shipper.put(pair.service.live.tally, self.tickets.suspect(pair, observation))
        return True

    def keep_error(self, pair: "Pair", observation: Observation) -> bool:
        """Send an error of new, with legacy's answer, to be kept; False where it is only told."""
        shipper = self.shipper
        if shipper is None or not self.errors_kept.take(self.wheel.now):
            return False
        legacy, new = pair.answer(LEGACY), pair.answer(NEW)
        suspect = Suspect(self.tickets.next_id(), "error", False, observation, legacy, new)
        shipper.put(pair.service.live.tally, suspect)
        return True

    def ask_control(self, pair: "Pair") -> None:
        """Ask legacy the request of this pair once more, to learn what differs by itself."""
        if self.shipper is not None:
            self.tickets.control(pair)

    def may_be_traced(self) -> bool:
        """Whether a stranger's wish to have its request traced is granted."""
        return self.traces_asked.take(self.wheel.now)

    def ask_missing(self, service: Service, side: Side, reason: str) -> None:
        """Have the flag missed(route, side) made durable; asked once until it is there."""
        if side not in service.live.asked:
            service.live.asked.add(side)
            self.tell_missing(service.route.name, side, reason)

    def write_ended(self, service: Service) -> None:
        """A write is settled. The last one of a paused route lets authority move."""
        live = service.live
        live.writes -= 1
        table = self.table
        if live.writes == 0 and table is not None:
            current = table.services.get(service.route.name)
            if current is not None and current.state.writes_paused:
                self.tell_quiet(service.route.name)

    def relay_detached(self) -> None:
        self.detached += 1

    def relay_over(self) -> None:
        """A relay that had outlived its client's interest is over."""
        self.detached -= 1
        self.check_drained()

    def check_drained(self) -> None:
        is_busy = self.clients or self.handshakes or self.detached
        if self.draining and not is_busy and self.on_drained:
            self.on_drained()


def _nobody_missing(route: str, side: Side, reason: str) -> None:
    """Before the link is there."""


def _nobody_quiet(route: str) -> None:
    """Before the link is there."""


def _nobody_waits(suspect: int, said: str | bool) -> None:
    """Before the link is there."""
