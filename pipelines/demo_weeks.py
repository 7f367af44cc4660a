"""The demo's closed weeks: decisions, mails, events, feedback, drift, retrain, gates; a power cut.

In the third week everybody's taste becomes somebody else's. In the middle the service is killed
and begun again, and asked about the newest mails once more.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from features import decisions
from features.errors import StoreUnavailableError
from features.events.log import EventLog
from features.events.world_clock import WEEK_US
from models.report import Measured
from pipelines.closed_loop import ClosedLoop, Worth, sent_since, worth
from pipelines.demo_servers import Servers
from pipelines.loop_care import Care, Places, look_after
from serving.client import Answer
from training.monitoring.arms import lift_of
from training.monitoring.outcomes import decisions_once, outcomes

WEEKS: Final = 6
DRIFTS_AFTER: Final = 2  # weeks
KILLED_AFTER: Final = 3
CARED_AFTER: Final = 4  # the second window since the drift, and then champions are old enough
SWAP_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class PowerCut:
    """A service that was killed and begun again.

    Args:
        n_asked: Newest mails that were asked about again; `n_same` got the same answer.
        n_lost: Events of the log that were not there afterwards.
    """

    n_asked: int
    n_same: int
    n_lost: int


@dataclass(frozen=True, slots=True)
class Week:
    """One week of the loop.

    Args:
        begin: Microseconds.
        held_out: What the holdout says of the lift of all weeks so far; None where too little.
        swap_s: By model that was promoted, seconds until the service answered with it.
    """

    begin: int
    worth: Worth
    held_out: Measured | None
    care: Care | None
    swap_s: dict[str, float]
    power_cut: PowerCut | None


def play(
    loop: ClosedLoop, places: Places, servers: Servers, *, step: Callable[[str], None]
) -> list[Week]:
    """Live the closed weeks."""
    weeks: list[Week] = []
    for number in range(1, WEEKS + 1):
        begin = loop.life.at
        step(f"week {number} of {WEEKS}: mails, answers, events")
        loop.life.live_a_week()
        power_cut = None
        if number == KILLED_AFTER:
            step("the service is killed and begun again")
            power_cut = _cut_power(loop, places.log, servers)
        loop.tell()
        care, swap_s = None, {}
        if number == CARED_AFTER:
            care = look_after(places, at=loop.life.at, step=lambda text: step(f"care: {text}"))
            swap_s = {name: _until_it_serves(loop, name, v) for name, v in care.promoted.items()}
        held_out = holdout_lift(places, at=loop.life.at)
        weeks.append(
            Week(begin, worth(sent_since(loop.sent, begin)), held_out, care, swap_s, power_cut)
        )
    return weeks


def holdout_lift(places: Places, *, at: int) -> Measured | None:
    """What somebody who knows no truth says: the others beside those held out, mature mails."""
    return lift_of(answered(places.settings.decisions_dir, places.log, at=at))


def answered(decisions_dir: Path, log: EventLog, *, at: int) -> pl.DataFrame:
    """Mature decisions with what became of their mails by a moment (microseconds)."""
    events = log.scan(as_of=at)
    once = decisions_once(decisions.read(decisions_dir), events, as_of=at)
    return outcomes(once, events, as_of=at).rows


def drifts_at(since: int) -> int:
    """When the tastes change, of weeks that are closed from a moment on."""
    return since + DRIFTS_AFTER * WEEK_US


def _cut_power(loop: ClosedLoop, log: EventLog, servers: Servers) -> PowerCut:
    n_before = _n_events(log)
    servers.kill_service()
    servers.start_service()
    loop.calendar.set(loop.sent[-1].at)  # later, some hours could not be had any more
    again = loop.client.score_batch(loop.last_asks)
    same = sum(_told(a) == _told(b) for a, b in zip(again, loop.last_answers, strict=True))
    return PowerCut(len(again), same, n_before - _n_events(log))


def _told(answer: Answer) -> tuple[str, int, str, bool]:
    hour, content = answer.send_time, answer.content
    return answer.decision_id, hour.best_at_epoch, content.variant, answer.hold.hold_back


def _n_events(log: EventLog) -> int:
    return int(log.scan().select("event_id").collect().height)


def _until_it_serves(loop: ClosedLoop, model: str, version: str) -> float:
    """Seconds until answers come from a version.

    Raises:
        StoreUnavailableError: It does not come to serve.
    """
    began = time.perf_counter()
    key = str(loop.last_asks[0]["recipient_key"])
    while (took := time.perf_counter() - began) < SWAP_S:
        if getattr(loop.client.score(key, explore=False).models, model) == version:
            return took
        time.sleep(0.1)  # the service takes a version over when it has loaded it, and tells nobody
    problem = f"does not answer with {model} {version} {took:.0f} s after its alias moved"
    raise StoreUnavailableError("the service", problem, "see service.log and mlflow-server.log")
