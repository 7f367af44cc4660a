"""The whole loop on a made-up world: events in, weeks of decided mails, a rendered mail out.

Every part is the real one: the log, Feast, the trainings, MLflow, the service over HTTP.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from features.events.log import EventLog
from features.events.schema import DAY_US
from features.events.world_clock import WEEK_US
from features.events.world_events import write_ndjson
from features.events.world_life import Life
from features.events.world_parameters import Twists
from features.events.world_shift import Shift
from features.feast_store import FeastStore
from features.online import open_store
from models.mlflow_registry import MlflowRegistry
from models.registry import ModelFolder
from models.specs import SPECS
from models.verdict import Verdict
from pipelines.closed_loop import ClosedLoop, Worth, worth
from pipelines.demo_scenes import Scores, rendered, scored
from pipelines.demo_servers import Servers
from pipelines.demo_weeks import WEEKS, Week, drifts_at, play
from pipelines.ingest import BATCH_ROWS, IngestProgress, ingest
from pipelines.loop_care import Places
from pipelines.loop_service import PRESENT
from pipelines.materialize import materialize
from pipelines.promote import promote
from pipelines.retrain import Candidate, order_for, retrain
from pipelines.review import review
from pipelines.settings import Settings
from pipelines.summary import IngestSummary
from serving.client import Client
from training import plots

ANSWERS_S: Final = 120.0  # a thousand decisions, on a machine that does other things as well


@dataclass(slots=True)
class Demo:
    """What happened, for `demo_view` to show."""

    data_dir: Path
    n_recipients: int
    ingested: IngestSummary | None = None
    candidates: list[Candidate] = field(default_factory=list)
    verdicts: dict[str, Verdict | None] = field(default_factory=dict)
    weeks: list[Week] = field(default_factory=list)
    worth: Worth | None = None
    scores: Scores = field(default_factory=Scores)
    mail: Path = Path()
    picture: Path = Path()
    mlflow_url: str = ""
    service_url: str = ""
    took: dict[str, float] = field(default_factory=dict)


@contextmanager
def demo(
    settings: Settings,
    *,
    n_recipients: int,
    weeks: int,
    now: int,
    step: Callable[[str], None],
    twists: Twists | None = None,
) -> Iterator[Demo]:
    """Run the loop; inside the block MLflow and the service still answer.

    Args:
        settings: Its data directory is emptied first.
        weeks: Of mail before the service decides; `demo_weeks.WEEKS` follow.
        now: Microseconds; the world ends just before today.
        twists: How the world departs from what models assume.
    """
    shutil.rmtree(settings.data_dir, ignore_errors=True)
    settings.data_dir.mkdir(parents=True)
    today = now // DAY_US * DAY_US
    since = today - WEEKS * WEEK_US
    with ExitStack() as stack:
        servers, timed = Servers(stack, settings), _Timed(step)
        told = Demo(settings.data_dir, n_recipients, took=timed.seconds)
        with timed("simulate"):
            life = Life.begun(
                seed=settings.seed, n_recipients=n_recipients, weeks=weeks + WEEKS, ends_at=today,
                twists=twists, shift=Shift(drifts_at(since), tastes=True),
            )  # fmt: skip
            while life.at < since:
                life.live_a_week()
            file = settings.data_dir / "world.ndjson"
            write_ndjson(life.events(before=since), file)
        log = stack.enter_context(EventLog(settings.events_dir))
        feast = FeastStore(settings.feast_dir, online=settings.online_address)
        registry = MlflowRegistry(settings.mlflow_uri, artifacts=settings.artifacts_dir.as_uri())
        folder = ModelFolder(settings.models_dir)
        places = Places(settings, servers.serving, log, feast, registry, folder)
        with timed("ingest"):
            told.ingested = ingest(
                file, log=log, mapping=None, rejects=settings.rejects_dir / "world.ndjson",
                received_at=now, progress=_now_and_then(step),
            )  # fmt: skip
        with timed("materialize"), open_store(settings.online_address) as store:
            materialize(log=log, feast=feast, store=store, step=timed.inner("materialize"))
        servers.start_mlflow()
        _train(told, places, since, timed)
        servers.calendar.set(since)
        with timed("start the service"):
            servers.start_service()
        told.mlflow_url, told.service_url = servers.mlflow_url, servers.service_url
        with timed("play the weeks"), Client(told.service_url, timeout_s=ANSWERS_S) as client:
            loop = ClosedLoop(life, client, servers.calendar, since, told_until=since)
            life.decide_by(loop.decide)
            told.weeks = play(loop, places, servers, step=step)
            told.worth = worth(loop.sent)
            told.picture = _picture(told)
        servers.calendar.set(PRESENT)
        events = life.events(before=today)
        with timed("score over HTTP"):
            told.scores = scored(told.service_url, events, now)
        with timed("render a mail"):
            told.mail = rendered(told.scores.after, events, told.data_dir / "mail.html")
        yield told


def _train(told: Demo, places: Places, since: int, timed: "_Timed") -> None:
    """The first champions."""
    order = order_for(
        places.log, places.feast, as_of=since, seed=places.settings.seed, horizon_days=None,
        step=timed.inner("retrain"),
    )  # fmt: skip
    assert order is not None  # noqa: S101  events were just ingested
    for spec in SPECS:
        with timed(f"train {spec.name}"):
            made = retrain(spec.name, order=order, registry=places.registry)
            told.candidates.append(made)
            told.verdicts[spec.name] = review(made.version, registry=places.registry)
            # Whatever the gates say: the demo shows what they say and goes on.
            promote(spec.name, "candidate", registry=places.registry, folder=places.folder)


def _picture(told: Demo) -> Path:
    file = told.data_dir / "weeks.png"
    lifts = [100 * week.worth.lift for week in told.weeks]
    held_out = [week.held_out for week in told.weeks]
    said = [None if m is None else (100 * m.low, 100 * m.value, 100 * m.high) for m in held_out]
    file.write_bytes(plots.lifts(lifts, said, title="% more engagement than the sender's own mail"))
    return file


class _Timed:
    """Says what is being done and keeps how long it took."""

    def __init__(self, step: Callable[[str], None]) -> None:
        self._step = step
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._step(name)
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started

    def inner(self, name: str) -> Callable[[str], None]:
        return lambda text: self._step(f"{name}: {text}")


def _now_and_then(step: Callable[[str], None]) -> Callable[[IngestProgress], None]:
    """Tell of an import every 50,000 events."""

    def tell(at: IngestProgress) -> None:
        if at.stored % 50_000 < BATCH_ROWS:
            step(f"ingest: {at.stored:,} events stored")

    return tell
