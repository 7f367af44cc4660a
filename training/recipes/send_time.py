"""Send time: the shrunk rhythm of each person, and a link to the chance of engagement.

The rhythm is fitted on past weeks and chosen by the likelihood of later ones; nobody's send
log decides the hour, because people open when they are mailed. Where the log holds mails, they
tell how a mail ages, the link turns attention into P(engage within 24 h), and how people differ
gives it an interval; elsewhere all three are what is usual.
"""

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.events.schema import DAY_US
from features.layout import HOURS_PER_WEEK
from models.report import Report
from models.runtime import Session
from models.specs.send_time import LEVEL, SPEC
from training import clocks, labels, learning_curve, plots, spread, tested
from training import rhythm as weeks
from training.aging import seen_after
from training.dataset import fingerprint
from training.decided import of_hours
from training.errors import TooFewRowsError
from training.export import prove
from training.recipe import Order, Trained, shown_day
from training.rhythm import Past, fit_rhythm, global_week
from training.send_chain import FLAGS, LEVEL_ENDS, SendChain
from training.send_fit import fit_chain, past_of
from training.send_graph import send_time_graph
from training.splits import held_out, snapshots

HISTORY_DAYS: Final = 365.0
WARM_DAYS: Final = 28.0
MAX_SNAPSHOTS: Final = 36
MAX_ROWS: Final = 9_000
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
    past = past_of(order, spine)
    kept = (past.counts.sum(axis=1) > 0) & (later.sum(axis=1) > 0)
    spine, past, later = spine.filter(pl.Series(kept)), past.part(kept), later[kept]
    train, validation, test = _split(spine)
    fewest = int(min(train.sum(), validation.sum(), test.sum()))
    if fewest < MIN_ROWS:
        what = "person-weeks in the smallest of the three splits"
        raise TooFewRowsError(SPEC.name, rows=fewest, need=MIN_ROWS, what=what)

    order.step("fitting cohorts and strengths")
    held = (past.part(validation), later[validation])
    rhythm = fit_rhythm(
        past.part(train),
        held,
        seed=order.seed,
        cohorts=COHORTS,
        offsets=clocks.offsets_of(order.data.events),
    )
    order.step("fitting how mails age and the link to engagement")
    chain, sends = fit_chain(order, rhythm)

    order.step("export: proving the graph")
    rows = np.zeros((len(spine), len(SPEC.inputs)), np.float32)
    rows[:, :HOURS_PER_WEEK] = past.counts
    drawn = np.random.default_rng(order.seed).random((len(spine), len(LEVEL) + 1))
    rows[:, HOURS_PER_WEEK:LEVEL_ENDS] = drawn[:, :-1]
    rows[:, FLAGS] = np.stack([past.is_local, drawn[:, -1] < 0.5], axis=1)
    exported = prove(SPEC, send_time_graph(chain), chain.answers, rows)
    order.step("measuring the exported graph")
    session = Session(exported.graph, SPEC)
    people = np.array(spine["recipient_key"].to_list())
    answers = session.run(rows[test])
    activity = answers["activity"].astype(np.float64)
    methods = _methods(past, later, (train, validation, test), activity)
    label = f"active hours of the next {window:g} days; engagement within 24 h of delivery"
    methods |= order.champion_answers(label, "activity", rows[test])
    old = order.champion_answers(label, "p_engage", rows[test]).values()
    own, asked = answers["p_engage"].astype(np.float64), people[test].tolist()
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
    curve = learning_curve.of_rhythm(
        rhythm,
        (people[train], past.part(train)),
        held,
        (people[test], past.part(test), later[test]),
        seed=order.seed,
    )
    report = Report(
        model=SPEC.name,
        as_of=shown_day(order.as_of),
        test=f"{test.sum()} person-weeks of {len(set(people[test]))} recipients, later than "
        "training; "
        f"median {np.median(past.counts[test].sum(axis=1)):.0f} active hours behind each",
        gain_of="nats per event",
        row=found.row,
        baselines=found.baselines,
        parity=exported.parity,
        facts=_facts(chain, sends, window) | {"learning curve": curve.meaning},
        notes=_notes(chain.seen.link.basis),
        decisions=next((of_hours(own, p, asked) for p in old), None),
    )
    report = found.complete(report, order.data)
    pictures = {
        "baselines.png": plots.baselines(report, "nats over global"),
        "learning_curve.png": plots.learning_curve(curve),
        "global_week.png": plots.week(
            global_week(past.counts[train]), title="when people are active"
        ),
    }
    about = {
        "as_of": shown_day(order.as_of),
        "trained_rows": int(train.sum()),
        "fingerprint": fingerprint(spine, rows[:, :HOURS_PER_WEEK], later.sum(axis=1)),
        "label": label,
        "default_hour": _best_hour(chain, is_local=True),
        "default_hour_utc": _best_hour(chain, is_local=False),
        "basis": chain.seen.link.basis,
    }
    parameters = {
        "cohorts": len(rhythm.shares),
        "by_hour": rhythm.by_hour,
        "by_day": rhythm.by_day,
        "by_slot": rhythm.by_slot,
        "offsets": len(rhythm.offsets),
        "link_slope": round(chain.seen.link.slope, 4),
        "link_basis": chain.seen.link.basis,
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


def _best_hour(chain: SendChain, *, is_local: bool) -> int:
    """The hour of the week that suits most people, on their own clock or on that of UTC."""
    nobody = Past(np.zeros((1, HOURS_PER_WEEK)), np.array([is_local]))
    return int(np.argmax(seen_after(chain.rhythm.prior(nobody), chain.aging)[0]))


def _methods(
    past: Past, later: Floats, split: tuple[NDArray[np.bool_], ...], activity: Floats
) -> dict[str, Floats]:
    """Activity of the test rows by each method; strengths are picked on validation people."""
    train, validation, test = split
    flat = np.full(HOURS_PER_WEEK, 1.0 / HOURS_PER_WEEK)
    week = _weeks_by_clock(past, train)
    counts = past.counts

    def shrunk(counts: Floats, prior: Floats, strength: float) -> Floats:
        return np.asarray(
            (counts + strength * prior) / (counts.sum(axis=1, keepdims=True) + strength)
        )

    strength = weeks.picked(
        lambda s: shrunk(counts[validation], week[validation], s), later[validation], STRENGTHS
    )
    return {
        "shrunk rhythm": activity,
        "global hour-of-week": week[test],
        "uniform": np.tile(flat, (int(test.sum()), 1)),
        "raw histogram": shrunk(counts[test], flat, 1.0),
        f"histogram shrunk to global (k={strength:g})": shrunk(counts[test], week[test], strength),
    }


def _weeks_by_clock(past: Past, train: NDArray[np.bool_]) -> Floats:
    """The global week of everybody's own sort of clock, known or UTC, shape (n, 168)."""
    every = global_week(past.counts[train])
    by_clock = [
        global_week(past.counts[some]) if some.any() else every
        for some in (train & ~past.is_local, train & past.is_local)
    ]
    return np.stack(by_clock)[past.is_local.astype(np.int64)]


def _facts(chain: SendChain, sends: int, window: float) -> dict[str, str]:
    rhythm, link, differ = chain.rhythm, chain.seen.link, chain.seen.spread
    half = np.searchsorted(np.cumsum(chain.aging), 0.5) + 1
    return {
        "cohorts": str(len(rhythm.shares)),
        "offsets of unknown clocks": ", ".join(
            f"{ahead:+d} h {share:.0%}"
            for ahead, share in zip(rhythm.offsets, rhythm.offset_shares, strict=True)
        ),
        "strengths": f"hour {rhythm.by_hour:g}, day {rhythm.by_day:g}, slot {rhythm.by_slot:g}",
        "label window": f"{window:g} days",
        "sends behind the link": str(sends),
        "link": f"{link.basis}, slope {link.slope:.2f}; "
        f"{chain.hidden.link.slope:.2f} where opens are hidden",
        "half of a day's visibility": f"in the first {half} hours",
        "between people": f"{differ.level:.2f} in log odds, half of the variance at "
        f"{differ.halved_at:.0f} active hours",
        "gone of those expected to answer one mail in twenty": f"{differ.p_gone(spread.REST):.0%}",
    }


def _notes(basis: str) -> list[str]:
    notes = [
        "With fewer than three active hours the answer is the cohort's, not the person's.",
        "A perfect oracle of the hour gains about 8-10 % engagement over the best fixed hour.",
    ]
    if basis == "activity":
        notes.append(
            "The log has too few mails with answers: p_engage is the prior spread by activity, "
            "good for choosing an hour and not for counting engagements."
        )
    return notes
