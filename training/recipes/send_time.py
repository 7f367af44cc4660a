"""Send time: the shrunk rhythm of each person, and a link to the chance of engagement.

The rhythm is fitted on past weeks and chosen by the likelihood of later ones; nobody's send
log decides the hour, because people open when they are mailed. Where the log holds mails, the
link turns attention into P(engage within 24 h); elsewhere it is the prior's.
"""

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.events.schema import DAY_US
from features.layout import HOURS_PER_WEEK, MONDAY_SHIFT
from models.report import Report
from models.runtime import Session
from models.specs.send_time import LEVEL, SPEC
from training import labels, learning_curve, plots, tested
from training import rhythm as weeks
from training.dataset import fingerprint
from training.errors import TooFewRowsError
from training.export import prove
from training.graphs import send_time_graph
from training.recipe import Order, Trained, shown_day
from training.rhythm import Rhythm, fit_rhythm, global_week, seen_after
from training.send_link import SendLink, fit_link, prior_link
from training.splits import held_out, snapshots

HISTORY_DAYS: Final = 365.0
WARM_DAYS: Final = 28.0
MAX_SNAPSHOTS: Final = 36
MAX_ROWS: Final = 9_000
MAX_SENDS: Final = 20_000
MATURE_US: Final = 30 * 3_600_000_000  # a 24 h label is complete after 30 h
MIN_ROWS: Final = 200
STRENGTHS: Final = (2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
COHORTS: Final = (1, 6, 12, 24)

Floats = NDArray[np.float64]


def train(order: Order) -> Trained:
    """Train one send-time candidate; see `recipe.Recipe`."""
    order.need_days(SPEC.name, WARM_DAYS + 3 * 14)
    window = 56.0 if order.span_days > 2 * 365 else 14.0
    order.step("labels: later weeks of every person")
    spine, later = _labelled(order, window)
    order.step("features: joining past weeks in Feast")
    past = order.data.rhythm(spine).astype(np.float64)
    kept = (past.sum(axis=1) > 0) & (later.sum(axis=1) > 0)
    spine, past, later = spine.filter(pl.Series(kept)), past[kept], later[kept]
    train, validation, test = _split(spine)
    fewest = int(min(train.sum(), validation.sum(), test.sum()))
    if fewest < MIN_ROWS:
        what = "person-weeks in the smallest of the three splits"
        raise TooFewRowsError(SPEC.name, rows=fewest, need=MIN_ROWS, what=what)

    order.step("fitting cohorts and strengths")
    held = (past[validation], later[validation])
    rhythm = fit_rhythm(past[train], held, seed=order.seed, cohorts=COHORTS)
    order.step("fitting the link to engagement")
    link, sends = _link(order, rhythm)

    order.step("export: proving the graph")
    rows = np.zeros((len(past), len(SPEC.inputs)), np.float32)
    rows[:, :HOURS_PER_WEEK] = past
    rows[:, HOURS_PER_WEEK:] = np.random.default_rng(order.seed).random((len(past), len(LEVEL)))

    def native(part: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        wide = part.astype(np.float64)
        activity = rhythm.activity(wide[:, :HOURS_PER_WEEK])
        chances = link.predict(seen_after(activity), wide[:, HOURS_PER_WEEK:])
        answers = (chances, activity)
        return {
            output.name: answer.astype(np.float32)
            for output, answer in zip(SPEC.outputs, answers, strict=True)
        }

    exported = prove(SPEC, send_time_graph(rhythm, link, SPEC), native, rows)
    order.step("measuring the exported graph")
    session = Session(exported.graph, SPEC)
    activity = session.run(rows[test])["activity"].astype(np.float64)
    methods = _methods(past, later, train, validation, test, activity)
    label = f"active hours of the next {window:g} days; engagement within 24 h of delivery"
    methods |= order.champion_answers(label, "activity", rows[test])
    logs = {name: weeks.log_likelihood(week, later[test]) for name, week in methods.items()}
    week_logs = logs["global hour-of-week"]
    found = tested.of_values(
        {
            "nats over global": {name: value - week_logs for name, value in logs.items()},
            "hit@3 of 24": {name: weeks.hits(week, later[test]) for name, week in methods.items()},
        },
        spine.filter(pl.Series(test)),
        score=activity.max(axis=1),
    )
    people = np.array(spine["recipient_key"].to_list())
    curve = learning_curve.of_rhythm(
        rhythm,
        (people[train], past[train]),
        held,
        (people[test], past[test], later[test]),
        seed=order.seed,
    )
    report = Report(
        model=SPEC.name,
        as_of=shown_day(order.as_of),
        test=f"{test.sum()} person-weeks of {len(set(people[test]))} recipients, later than "
        "training; "
        f"median {np.median(past[test].sum(axis=1)):.0f} active hours behind each",
        gain_of="nats per event",
        row=found.row,
        baselines=found.baselines,
        parity=exported.parity,
        facts=_facts(rhythm, link, sends, window) | {"learning curve": curve.meaning},
        notes=_notes(link),
    )
    report = found.complete(report, order.data)
    pictures = {
        "baselines.png": plots.baselines(report, "nats over global"),
        "learning_curve.png": plots.learning_curve(curve),
        "global_week.png": plots.week(global_week(past[train]), title="when people are active"),
    }
    about = {
        "as_of": shown_day(order.as_of),
        "trained_rows": int(train.sum()),
        "fingerprint": fingerprint(spine, rows[:, :HOURS_PER_WEEK], later.sum(axis=1)),
        "label": label,
        "default_hour": int(np.argmax(seen_after(global_week(past)[None, :])[0])),
        "basis": link.basis,
    }
    parameters = {
        "cohorts": len(rhythm.shares),
        "by_hour": rhythm.by_hour,
        "by_day": rhythm.by_day,
        "by_slot": rhythm.by_slot,
        "link_slope": round(link.slope, 4),
        "link_basis": link.basis,
        "window_days": window,
        "seed": order.seed,
    }
    return Trained(exported, report, about, parameters, pictures)


def _labelled(order: Order, window: float) -> tuple[pl.DataFrame, Floats]:
    """People with an active hour in the last year, at spaced moments, newest first."""
    engaged = labels.engagements(order.data.events)
    step = max(window, order.span_days / MAX_SNAPSHOTS)
    moments = snapshots(
        first=order.first + round(WARM_DAYS * DAY_US),
        last=order.as_of - round(window * DAY_US),
        step_days=step,
        at_most=MAX_SNAPSHOTS,
    )
    parts = []
    for at in moments:
        lately = (at - round(HISTORY_DAYS * DAY_US), at)
        window_us = round(window * DAY_US)
        seen = engaged.filter(pl.col("occurred_at").is_between(*lately, closed="left"))
        soon = engaged.filter(pl.col("occurred_at").is_between(at, at + window_us, closed="left"))
        keys = (
            seen.select("recipient_key")
            .unique()
            .join(soon.select("recipient_key").unique(), on="recipient_key", how="semi")
        )
        ordered = keys.sort("recipient_key")
        share = MAX_ROWS / len(moments)
        chosen = held_out(
            ordered["recipient_key"].to_list(), share=share / max(len(ordered), 1), salt=str(at)
        )
        parts.append(
            ordered.filter(pl.Series(chosen)).with_columns(pl.lit(at, pl.Int64).alias("at"))
        )
    spine = pl.concat(parts)
    return spine, labels.later_weeks(spine, engaged, window_us=round(window * DAY_US))


def _split(spine: pl.DataFrame) -> tuple[NDArray[np.bool_], ...]:
    """Oldest moments train, the next choose strengths, the newest measure; windows never meet."""
    moments = np.sort(spine["at"].unique().to_numpy())
    n = len(moments)
    first = moments[max(1, min(round(0.55 * n), n - 2)) if n > 2 else 0]
    second = moments[max(2, min(round(0.70 * n), n - 1)) if n > 2 else 0]
    at = spine["at"].to_numpy()
    return at < first, (at >= first) & (at < second), at >= second


def _link(order: Order, rhythm: Rhythm) -> tuple[SendLink, int]:
    mails = labels.mails_engaged(order.data.events, window_us=DAY_US)
    mature = mails.filter(pl.col("at") < order.as_of - MATURE_US)
    if mature.is_empty():
        return prior_link(SPEC.prior, len(LEVEL)), 0
    sends = mature.sort("at", "recipient_key").tail(MAX_SENDS * 4)
    sends = sends.sample(min(MAX_SENDS, len(sends)), seed=order.seed)
    spine = sends.select("recipient_key", "at")
    attention = seen_after(rhythm.activity(order.data.rhythm(spine).astype(np.float64)))
    slot = ((sends["hour"] + MONDAY_SHIFT) % HOURS_PER_WEEK).to_numpy()
    level = order.data.recipient(spine, LEVEL).astype(np.float64)
    chosen = attention[np.arange(len(sends)), slot]
    return fit_link(chosen, level, sends["y"].to_numpy(), prior=SPEC.prior), len(sends)


def _methods(
    past: Floats,
    later: Floats,
    train: NDArray[np.bool_],
    validation: NDArray[np.bool_],
    test: NDArray[np.bool_],
    activity: Floats,
) -> dict[str, Floats]:
    """Activity of the test rows by each method; strengths are picked on validation people."""
    week = global_week(past[train])
    flat = np.full(HOURS_PER_WEEK, 1.0 / HOURS_PER_WEEK)

    def shrunk(counts: Floats, prior: Floats, strength: float) -> Floats:
        return np.asarray(
            (counts + strength * prior) / (counts.sum(axis=1, keepdims=True) + strength)
        )

    strength = weeks.picked(
        lambda s: shrunk(past[validation], week, s), later[validation], STRENGTHS
    )
    n = int(test.sum())
    return {
        "shrunk rhythm": activity,
        "global hour-of-week": np.tile(week, (n, 1)),
        "uniform": np.tile(flat, (n, 1)),
        "raw histogram": shrunk(past[test], flat, 1.0),
        f"histogram shrunk to global (k={strength:g})": shrunk(past[test], week, strength),
    }


def _facts(rhythm: Rhythm, link: SendLink, sends: int, window: float) -> dict[str, str]:
    return {
        "cohorts": str(len(rhythm.shares)),
        "strengths": f"hour {rhythm.by_hour:g}, day {rhythm.by_day:g}, slot {rhythm.by_slot:g}",
        "label window": f"{window:g} days",
        "sends behind the link": str(sends),
        "link": f"{link.basis}, slope {link.slope:.2f}",
    }


def _notes(link: SendLink) -> list[str]:
    notes = [
        "With fewer than three active hours the answer is the cohort's, not the person's.",
        "A perfect oracle of the hour gains about 8-10 % engagement over the best fixed hour.",
    ]
    if link.basis == "activity":
        notes.append(
            "The log has too few mails with answers: p_engage is the prior spread by activity, "
            "good for choosing an hour and not for counting engagements."
        )
    return notes
