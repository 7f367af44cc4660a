"""Models against worlds with a known truth: what they gain, and what could be gained.

    OPPORTUNE_BENCH_WORLDS=8 OPPORTUNE_BENCH_SEED=1 python -m tests.benchmarks.bench_worlds

Every world is drawn from a seed of its own; every second one is twisted (`Twists`). Each is
ingested through the one door, the three models are trained on its log, exported and asked as the
service asks them; then the oracle says what their choices are worth. The seeds follow from the
commit where none is given, so nobody can tune to them.

* send time: of the opens within 24 h that the best hour for each person adds to the best fixed
  hour, the share that the model's hours get; over a Tuesday and a Saturday after the log;
* churn: AUC and ECE on the people at risk, the oracle's (its ECE is what chance alone makes of so
  few people), those of the best reader of the log (`observer`), who knows the world's parameters
  but not how anybody is, and those of a model for which every open and click is a person's (`raw`);
* content: the share of the clicks missed by sending everybody the most clicked candidate that the
  model's order misses as well.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from scipy.stats import t as student

from features.bulk_states import states
from features.candidates import Candidate
from features.definitions.content import VIEW as CONTENT
from features.definitions.recipient import VIEW as RECIPIENT
from features.events.log import EventLog
from features.events.schema import DAY_US, HOUR_US
from features.events.simulator import Simulated, simulate, write_ndjson
from features.events.world_catalogue import TOPICS
from features.events.world_mail import N_CANDIDATES
from features.events.world_parameters import Twists
from features.events.world_policy import DEFAULT_HOUR
from features.feast_store import FeastStore
from features.layout import layout_of
from features.stream import AFFINITIES, KEY_FIELDS
from pipelines.ingest import ingest
from serving.asks import Ask, Champions, Loaded, Prediction
from serving.fallback import FallbackReason
from serving.hours import send_time
from serving.items import items_of
from serving.known import Known
from serving.scorer import predict
from tests.benchmarks.observer import p_silent
from training import labels
from training.dataset import PointInTime
from training.export import export
from training.metrics import auc, ece
from training.recipe import Order
from training.recipes import RECIPES

N_WORLDS: Final = int(os.environ.get("OPPORTUNE_BENCH_WORLDS", "8"))
N_RECIPIENTS: Final = int(os.environ.get("OPPORTUNE_BENCH_RECIPIENTS", "4000"))
WEEKS: Final = 30
HORIZON_DAYS: Final = 28.0
AT_ONCE: Final = 500
ENDS_AT: Final = 1_780_012_800_000_000  # a Friday midnight, UTC

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Log:
    """A world in a log, as a sender would hold it."""

    world: Simulated
    events: pl.LazyFrame
    folder: Path

    def order(self, *, as_of: int, events: pl.LazyFrame | None = None) -> Order:
        known = (self.events if events is None else events).filter(pl.col("occurred_at") < as_of)
        feast = FeastStore(self.folder / f"feast-{as_of}", online=self.folder / "online.sqlite")
        feast.apply()
        first = known.select(pl.col("occurred_at").min()).collect().item()
        return Order(PointInTime(known.cache(), feast), as_of, first, horizon_days=HORIZON_DAYS)


def logged(world: Simulated, log: EventLog, folder: Path) -> Log:
    file = folder / "world.ndjson"
    write_ndjson(world.events, file)
    ingest(
        file, log=log, mapping=None, rejects=folder / "rejects", received_at=ENDS_AT + HOUR_US,
        progress=lambda _: None,
    )  # fmt: skip
    log.compact()
    return Log(world, log.scan().with_columns(received_at=pl.col("occurred_at")), folder)


def trained(name: str, order: Order, folder: Path) -> Loaded:
    made = RECIPES[name](order)
    return Loaded(export(made.exported, folder, report=made.report, about=made.about), "1")


def subscribed(world: Simulated) -> NDArray[np.int64]:
    there = world.truth.select(
        (pl.col("signed_up_at") < ENDS_AT - 7 * DAY_US) & pl.col("stopped_at").is_null()
    )
    return np.flatnonzero(there.to_series().to_numpy())


def asked(log: Log, champions: Champions, asks: list[Ask]) -> list[Prediction]:
    known = {
        view.entity: dict(states(
            log.events, key=KEY_FIELDS[view.entity], layout=layout_of(view),
            affinity=AFFINITIES[view.entity],
        )
        )
        for view in (RECIPIENT, CONTENT)
    }  # fmt: skip
    people, items = known[RECIPIENT.entity], items_of(known[CONTENT.entity])
    found: list[Prediction] = []
    for start in range(0, len(asks), AT_ONCE):
        part = asks[start : start + AT_ONCE]
        some = Known(
            [people.get(ask.recipient_key) for ask in part], items,
            [FallbackReason.NONE] * len(part),
        )  # fmt: skip
        found += predict(part, some, champions, at=ENDS_AT)
    return found


def hours_gained(log: Log, to: NDArray[np.int64], asks: list[Ask], answers: list[Prediction]):
    """Share of the attainable lift by the service's rule and by the model's best hour."""
    oracle = log.world.oracle
    clock, zone = oracle.world.clock, oracle.world.sender_zone
    mine = {"rule": 0.0, "best": 0.0, "fixed": 0.0, "oracle": 0.0}
    for day in (4, 8):  # Tuesday and Saturday
        midnight = int(clock.utc_of(zone, np.array([ENDS_AT + day * DAY_US]))[0])
        at = midnight + np.arange(24) * HOUR_US
        p = oracle.p_opened(to, np.tile(at, (len(to), 1)))
        rule, best = [], []
        for ask, answer in zip(asks, answers, strict=True):
            own = Ask(
                ask.recipient_key, window_from=midnight, window_to=midnight + 24 * HOUR_US - 1,
                default_at=midnight + DEFAULT_HOUR * HOUR_US,
            )  # fmt: skip
            chosen = send_time(own, answer, now=ENDS_AT)
            rule.append((chosen.best.at - midnight) // HOUR_US)
            best.append(max(range(24), key=lambda h, s=chosen.slots: s[h].p))
        rows = np.arange(len(to))
        mine["rule"] += p[rows, rule].mean()
        mine["best"] += p[rows, best].mean()
        mine["fixed"] += p.mean(axis=0).max()
        mine["oracle"] += p.max(axis=1).mean()
    lift = mine["oracle"] - mine["fixed"]
    return {
        "attainable": lift / mine["fixed"],
        "gained by the rule": (mine["rule"] - mine["fixed"]) / lift,
        "gained by the best hour": (mine["best"] - mine["fixed"]) / lift,
    }


def levels_held(log: Log, to, asks: list[Ask], answers: list[Prediction]) -> Mapping[str, float]:
    """Chances and intervals of the default hour beside the truth, opens seen or hidden."""
    oracle = log.world.oracle
    clock, zone = oracle.world.clock, oracle.world.sender_zone
    midnight = int(clock.utc_of(zone, np.array([ENDS_AT + 4 * DAY_US]))[0])
    at = midnight + DEFAULT_HOUR * HOUR_US
    truth = oracle.p_opened(to, np.full((len(to), 1), at))[:, 0]
    slots = []
    for ask, answer in zip(asks, answers, strict=True):
        hour = Ask(ask.recipient_key, window_from=at, window_to=at)
        slots.append(send_time(hour, answer, now=ENDS_AT).slots[0])
    p, low, high = np.array([(slot.p, slot.low, slot.high) for slot in slots]).T
    found = {}
    is_hidden = oracle.world.recipients.is_machine_open[to]
    for name, some in (("seen", ~is_hidden), ("hidden", is_hidden)):
        found[f"p / truth, opens {name}"] = p[some].mean() / truth[some].mean()
        held = (low <= truth) & (truth <= high)
        found[f"held by the interval, opens {name}"] = held[some].mean()
        found[f"rank correlation, opens {name}"] = spearmanr(p[some], truth[some]).statistic
    return found


def clicks_missed(log: Log, to, asks: list[Ask], answers: list[Prediction]) -> Mapping[str, float]:
    oracle = log.world.oracle
    numbers = np.array([int(c.content_id[-3:]) - 1 for c in asks[0].candidates])
    p = oracle.p_clicked(to, numbers, np.full(len(to), ENDS_AT))
    chosen = p[np.arange(len(to)), [int(np.argmax(a.p_items)) for a in answers]].mean()
    mails = labels.items_clicked(log.events, window_us=7 * DAY_US)
    rates = dict(
        mails.group_by("content_id").agg((pl.col("y").sum() + 1) / (pl.len() + 50)).iter_rows()
    )
    popular = p[:, int(np.argmax([rates.get(c.content_id, 0.0) for c in asks[0].candidates]))]
    best = p.max(axis=1).mean()
    return {"regret beside popularity": (best - chosen) / (best - popular.mean())}


def churn(log: Log, folder: Path) -> Mapping[str, float]:
    at = ENDS_AT - round(HORIZON_DAYS * DAY_US)
    engaged, left = labels.engagements(log.events), labels.opt_outs(log.events)
    known = log.events.filter(pl.col("occurred_at") < at)
    keys = labels.at_risk(labels.deliveries(known), engaged, left, at=at, since_days=180)
    spine = pl.DataFrame({"recipient_key": keys, "at": np.full(len(keys), at)})
    shown = log.order(as_of=at).data.recipient(spine, ["days_since_active"])[:, 0]
    spine = spine.filter(pl.Series(~np.isnan(shown)))
    keys = spine["recipient_key"].to_list()
    y = labels.churned(spine, engaged, left, horizon_us=round(HORIZON_DAYS * DAY_US))
    number = {key: place for place, key in enumerate(log.world.truth["recipient_key"])}
    to = np.array([number[key] for key in keys])
    ceiling = log.world.oracle.p_silent(to, at=at, days=HORIZON_DAYS, seed=1)
    found = {"silent": y.mean(), "at risk": len(keys)}
    found |= {"oracle AUC": auc(y, ceiling), "oracle ECE": ece(y, ceiling)}
    told = p_silent(log.world, log.events, to, at=at, days=HORIZON_DAYS, seed=1)
    found |= {"reader AUC": auc(y, told), "reader ECE": ece(y, told)}
    raw = log.events.with_columns(actor=pl.lit("human"), actor_reasons=pl.lit("[]")).filter(
        pl.col("type") != "relabelled"
    )
    for name, events in (("churn", log.events), ("raw", raw)):
        order = log.order(as_of=at, events=events)
        model = trained("churn", order, folder / name)
        rows = order.data.recipient(spine, model.bundle.spec.inputs)
        p = model.bundle.session.run(np.ascontiguousarray(rows))["p_churn"][:, 0].astype(float)
        found |= {f"{name} AUC": auc(y, p), f"{name} ECE": ece(y, p)}
    return found


def measured(seed: int, *, is_twisted: bool) -> dict[str, float]:
    twists = Twists.drawn(np.random.default_rng(seed)) if is_twisted else None
    world = simulate(
        seed=seed, n_recipients=N_RECIPIENTS, weeks=WEEKS, ends_at=ENDS_AT, twists=twists
    )
    with tempfile.TemporaryDirectory() as scratch, EventLog(Path(scratch) / "events") as events:
        folder = Path(scratch)
        log = logged(world, events, folder)
        order = log.order(as_of=ENDS_AT)
        champions = Champions(
            {
                name: trained(name, order, folder / name)
                for name in ("send_time", "content_preference")
            }
        )
        to, catalogue = subscribed(world), world.oracle.world.catalogue
        newest = range(len(catalogue.content_ids) - N_CANDIDATES, len(catalogue.content_ids))
        shown = tuple(
            Candidate(
                catalogue.content_ids[item],
                tuple(TOPICS[t] for t in np.flatnonzero(catalogue.topics[item])),
            )
            for item in newest
        )
        keys = world.truth["recipient_key"].to_list()
        asks = [Ask(keys[person], candidates=shown) for person in to]
        answers = asked(log, champions, asks)
        return {
            "twisted": float(is_twisted),
            **hours_gained(log, to, asks, answers),
            **levels_held(log, to, asks, answers),
            **clicks_missed(log, to, asks, answers),
            **churn(log, folder),
        }


def main() -> None:
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout[:8]
    seed = int(os.environ.get("OPPORTUNE_BENCH_SEED", "0")) or int(commit or "1", 16) % 2**31
    console = Console(width=200)
    worlds = []
    for number in range(N_WORLDS):
        begun = time.perf_counter()
        worlds.append(measured(seed + number, is_twisted=number % 2 == 1))
        console.print(f"world {seed + number}: {time.perf_counter() - begun:.0f} s", worlds[-1])
    table = Table("what", "mean", "90 % interval", "worst", "best", title=f"{N_WORLDS} worlds")
    for name in worlds[0]:
        values = np.array([world[name] for world in worlds])
        half = student.ppf(0.95, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
        interval = f"{values.mean() - half:.3f} .. {values.mean() + half:.3f}"
        cells = (values.mean(), interval, values.min(), values.max())
        table.add_row(name, *(c if isinstance(c, str) else f"{c:.3f}" for c in cells))
    console.print(table)


if __name__ == "__main__":
    main()
