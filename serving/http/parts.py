"""What the routes work with; joined in `app`."""

from collections.abc import Callable
from dataclasses import dataclass, field

from features.events.log import EventLog
from features.witness import Witness
from serving.chooser import Chooser
from serving.clock import Clock
from serving.decider import Decider
from serving.decision_log import DecisionLog
from serving.folding import Folding
from serving.guard import GuardedStore
from serving.http.drain import Drain
from serving.http.metrics import Metrics
from serving.http.patience import Patience
from serving.http.rooms import BATCHES, INTAKES, LOOKS, STREAMS, Room
from serving.loader import Loader
from serving.shadow import Shadow
from serving.stages import Laps


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one service."""

    decider: Decider
    loader: Loader
    log: EventLog
    folding: Folding
    metrics: Metrics
    clock: Clock
    timed: Callable[[Laps], None]
    chooser: Chooser
    patience: Patience
    store: GuardedStore
    decisions: DecisionLog | None
    drain: Drain
    shadow: Shadow
    witness: Witness
    batches: Room = field(default_factory=lambda: Room(BATCHES))
    intakes: Room = field(default_factory=lambda: Room(INTAKES))
    looks: Room = field(default_factory=lambda: Room(LOOKS))
    streams: Room = field(default_factory=lambda: Room(STREAMS))
