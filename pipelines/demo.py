"""The whole loop on a made-up world: events in, a rendered mail out, in a few minutes.

Every part is the real one: the log, Feast, the trainings, MLflow, the service over HTTP.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.request import Request, urlopen

import orjson
import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from features.errors import StoreUnavailableError
from features.events.log import EventLog
from features.events.schema import DAY_US, SECOND_US
from features.events.simulator import simulate, write_ndjson
from features.feast_store import FeastStore
from features.online import open_store
from models.gates import Verdict
from models.mlflow_registry import MlflowRegistry
from models.registry import ModelFolder
from models.specs import SPECS
from pipelines.ingest import BATCH_ROWS, IngestProgress, ingest
from pipelines.materialize import materialize
from pipelines.processes import free_port, running, wait_until_ready
from pipelines.promote import promote
from pipelines.retrain import Candidate, order_for, retrain
from pipelines.review import review
from pipelines.run_commands import MLFLOW_ENVIRONMENT, mlflow_server
from pipelines.settings import Settings
from pipelines.summary import IngestSummary
from training.recipe import Order

N_CANDIDATES: Final = 6
READY_S: Final = 90.0
SWAP_S: Final = 60.0
TEMPLATE: Final = "demo_mail.html.j2"

Answer = dict[str, Any]


@dataclass(slots=True)
class Demo:
    """What happened, for `demo_view` to show."""

    data_dir: Path
    truth: pl.DataFrame
    ingested: IngestSummary | None = None
    candidates: list[Candidate] = field(default_factory=list)
    verdicts: dict[str, Verdict | None] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    before: Answer = field(default_factory=dict)
    after: Answer = field(default_factory=dict)
    clicked_item: str = ""
    clicked_topic: str = ""
    swapped: tuple[str, str, float] = ("", "", 0.0)
    mail: Path = Path()
    mlflow_url: str = ""
    mlflow: subprocess.Popen[bytes] | None = None
    service_url: str = ""
    took: dict[str, float] = field(default_factory=dict)


@contextmanager
def demo(
    settings: Settings, *, n_recipients: int, weeks: int, now: int, step: Callable[[str], None]
) -> Iterator[Demo]:
    """Run the loop; inside the block MLflow and the service still answer.

    Args:
        settings: Its data directory is emptied first.
        now: Microseconds; the world ends just before today.
    """
    shutil.rmtree(settings.data_dir, ignore_errors=True)
    settings.data_dir.mkdir(parents=True)
    with ExitStack() as servers:
        timed = _Timed(step)
        with timed("simulate"):
            today = now // DAY_US * DAY_US
            world = simulate(
                seed=settings.seed, n_recipients=n_recipients, weeks=weeks, ends_at=today
            )
            file = settings.data_dir / "world.ndjson"
            write_ndjson(world.events, file)
        told = Demo(settings.data_dir, world.truth, took=timed.seconds)
        registry = MlflowRegistry(settings.mlflow_uri, artifacts=settings.artifacts_dir.as_uri())
        folder = ModelFolder(settings.models_dir)
        with EventLog(settings.events_dir) as log:
            with timed("ingest"):
                told.ingested = ingest(
                    file,
                    log=log,
                    mapping=None,
                    rejects=settings.rejects_dir / "world.ndjson",
                    received_at=now,
                    progress=_now_and_then(step),
                )
            feast = FeastStore(settings.feast_dir, online=settings.online_address)
            with timed("materialize"), open_store(settings.online_address) as store:
                materialize(log=log, feast=feast, store=store, step=timed.inner("materialize"))
            _start_mlflow(servers, settings, told)
            order = order_for(
                log,
                feast,
                as_of=today,
                seed=settings.seed,
                horizon_days=None,
                step=timed.inner("retrain"),
            )
            assert order is not None  # noqa: S101  events were just ingested
            for spec in SPECS:
                with timed(f"train {spec.name}"):
                    made = retrain(spec.name, order=order, registry=registry)
                    told.candidates.append(made)
                    told.verdicts[spec.name] = review(made.version, registry=registry)
                    # Whatever the gates say: the demo shows what they say and goes on.
                    promote(spec.name, "candidate", registry=registry, folder=folder)
        with timed("start the service"):
            _start_service(servers, settings, told)
        with timed("score over HTTP"):
            _score(told, world.events, now)
        with timed("render a mail"):
            _render(told, world.events)
        with timed("swap a champion"):
            _swap(told, order, registry)
        yield told


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


def _start_mlflow(servers: ExitStack, settings: Settings, told: Demo) -> None:
    port = free_port(5000)
    told.mlflow_url = f"http://127.0.0.1:{port}"
    log = settings.data_dir / "mlflow-server.log"
    environment = _environment(settings, MLFLOW_ENVIRONMENT)
    command = mlflow_server(settings, port)
    told.mlflow = servers.enter_context(running(command, environment=environment, log=log))


def _start_service(servers: ExitStack, settings: Settings, told: Demo) -> None:
    port = free_port(8080)
    told.service_url = f"http://127.0.0.1:{port}"
    log = settings.data_dir / "service.log"
    more = {"OPPORTUNE_PORT": str(port), "OPPORTUNE_MLFLOW_URL": told.mlflow_url}
    command = [sys.executable, "-m", "serving"]
    environment = _environment(settings, more)
    child = servers.enter_context(running(command, environment=environment, log=log))
    wait_until_ready(f"{told.service_url}/readyz", child, seconds=READY_S, log=log)
    if told.mlflow is not None:  # begun long before, while the models were trained
        own = settings.data_dir / "mlflow-server.log"
        wait_until_ready(f"{told.mlflow_url}/health", told.mlflow, seconds=READY_S, log=own)


def _environment(settings: Settings, more: Mapping[str, str]) -> dict[str, str]:
    own = {"OPPORTUNE_DATA_DIR": str(settings.data_dir.absolute())}
    return dict(os.environ) | own | dict(more)  # noqa: TID251  a child inherits the environment


def _score(told: Demo, events: pl.DataFrame, now: int) -> None:
    """A few people and a stranger; then one clicks, and the next score knows."""
    items = _items(events)
    asked = [{"content_id": item, "topics": topics} for item, topics in items.items()]
    dry = {"explore": False}  # nothing is sent: the story is told of the models' own choice
    for key in [*_people(events), "somebody-new"]:
        body = {"recipient_key": key, "send_id": "demo-send", "candidates": asked, **dry}
        told.answers.append(_post(told, "/v1/score", body))
    chosen = told.answers[0]
    last = chosen["content"]["ranking"][-1]["content_id"]
    told.before, told.clicked_item, told.clicked_topic = chosen, last, ", ".join(items[last])
    clicks = [
        {
            "event_id": f"demo-click-{i}",
            "type": "clicked",
            "recipient_key": chosen["recipient_key"],
            "occurred_at": now / SECOND_US - 60 * i,
            "content_id": last,
            "topics": items[last],
        }
        for i in range(5)
    ]
    _post(told, "/v1/events", {"events": clicks})
    key = chosen["recipient_key"]
    body = {"recipient_key": key, "send_id": "demo-send", "candidates": asked, **dry}
    told.after = _post(told, "/v1/score", body)


def _render(told: Demo, events: pl.DataFrame) -> None:
    loader = FileSystemLoader(Path(__file__).parent)
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    titles = {item: " and ".join(topics).title() for item, topics in _items(events).items()}
    best = titles[told.after["content"]["variant"]]
    page = pages.get_template(TEMPLATE).render(
        score=told.after, titles=titles, headline=f"{best}, picked for you"
    )
    told.mail = told.data_dir / "mail.html"
    told.mail.write_text(page)


def _swap(told: Demo, order: Order, registry: MlflowRegistry) -> None:
    """A second churn version becomes champion in MLflow; the service follows by itself."""
    again = Order(order.data, order.as_of, order.first, seed=order.seed + 1, step=order.step)
    second = retrain("churn", order=again, registry=registry)
    registry.promote("churn", second.version.version)
    started = time.perf_counter()
    body = {"recipient_key": told.before["recipient_key"]}
    serving = old = told.before["models"]["churn"]
    while time.perf_counter() - started < SWAP_S:
        serving = _post(told, "/v1/score", body)["models"]["churn"]
        if serving == second.version.version:
            break
        time.sleep(0.1)
    took = time.perf_counter() - started
    if serving != second.version.version:
        problem = f"still answers with churn {serving} {took:.0f} s after its alias moved"
        remedy = f"see service.log and mlflow-server.log in {told.data_dir}"
        raise StoreUnavailableError(told.service_url, problem, remedy)
    told.swapped = (old, serving, took)


def _items(events: pl.DataFrame) -> dict[str, list[str]]:
    """The newest items of the world with their topics."""
    newest = (
        events.filter(pl.col("content_id") != "")
        .group_by("content_id")
        .agg(pl.col("topics").first(), pl.col("occurred_at").min().alias("since"))
        .sort("since", "content_id", descending=True)
        .head(N_CANDIDATES)
    )
    return {item: list(topics) for item, topics, _ in newest.iter_rows()}


def _people(events: pl.DataFrame) -> list[str]:
    """Four recipients: the liveliest, two in between, one long silent."""
    humans = events.filter(
        pl.col("type").is_in(["page_viewed", "purchased"])  # no scanner gets as far as the site
    )
    ranked = (
        humans.group_by("recipient_key")
        .agg(pl.len().alias("n"), pl.col("occurred_at").max().alias("last"))
        .sort("n", "recipient_key", descending=True)
    )
    keys = ranked["recipient_key"].to_list()
    silent = ranked.sort("last")["recipient_key"][0]
    chosen = [keys[0], keys[len(keys) // 4], keys[len(keys) // 2], silent]
    return list(dict.fromkeys(chosen))


def _post(told: Demo, path: str, body: Mapping[str, Any]) -> Answer:
    request = Request(  # noqa: S310  a loopback address of ours
        told.service_url + path,
        orjson.dumps(body),
        {"content-type": "application/json"},
    )
    try:
        with urlopen(request, timeout=30) as answer:  # noqa: S310
            parsed: Answer = orjson.loads(answer.read())
            return parsed
    except OSError as error:
        remedy = f"see service.log in {told.data_dir}"
        raise StoreUnavailableError(told.service_url, str(error), remedy) from error
