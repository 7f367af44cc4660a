"""Is what was explored what was logged? Off-policy evaluation stands and falls with it.

* The floor: an action taken with no chance, or with less than exploration gives everything that
  is possible, can be judged by nobody. One such row is an incident.
* The draw: an unlikely action has to be taken as often as the likely ones left it. From rows that
  took an action of chance p >= 1/2 comes the number of others expected, the sum of (1 - p) / p.
* How many hours there are: the entropy of the chosen ones. A model that sends everybody at one
  hour is none.
* How many items there are: the share of those asked about that stood in a first place.

Failure mode: only decisions under the policy of the settings are asked, dry runs are not. A
service that runs with other settings than the monitor has nothing that can be judged.
"""

from typing import Final

import numpy as np
import polars as pl

from features.events.schema import HOUR_US, SECOND_US
from training.monitoring.findings import ALPHA, NO_DECISION, Judgement, Signal, judged, unjudged
from training.monitoring.ratio import ALPHA_EVER, is_refuted
from training.monitoring.steps import step_of
from training.monitoring.windows import Windows

FLOOR, DRAW, ENTROPY = "propensity floor", "exploration drawn", "entropy of hours"
COVERAGE: Final = "items in the first place"
LEAST_FALL: Final = 0.3  # of the usual coverage
MOST_HOURS: Final = 168
LEAST_BITS: Final = 0.5
MIN_ROWS: Final = 200
_SLACK: Final = 1 - 1e-6


def floor_signals(decided: pl.DataFrame, *, epsilon: float, epsilon_hour: float) -> list[Signal]:
    """Rows whose chance is none, or below what exploration leaves to every possible action.

    Args:
        decided: Decisions of the newest window, of both arms.
    """
    if decided.is_empty():
        return [unjudged(FLOOR, "hour and item", NO_DECISION)]
    personal = decided.filter(pl.col("arm") == "personal")
    shown = personal.filter(pl.col("candidates").list.len() > 1)
    by_item = epsilon * 0.5 / pl.col("candidates").list.len()
    return [
        _floor("hour", personal, "propensity_hour", pl.lit(epsilon_hour / MOST_HOURS)),
        _floor("item", shown, "propensity", by_item),
    ]


def draw_signals(decided: pl.DataFrame) -> list[Signal]:
    """Unlikely actions beside how many the logged chances lead to expect."""
    shown = decided.filter(pl.col("candidates").list.len() > 1) if len(decided) else decided
    return [_draw("hour", decided, "propensity_hour"), _draw("item", shown, "propensity")]


def entropy_signal(decided: pl.DataFrame, windows: Windows) -> Signal:
    """Bits of the distribution over hours of the day (UTC), beside the windows before."""
    if decided.is_empty():
        return unjudged(ENTROPY, "chosen hours", NO_DECISION)
    hour = ((pl.col("best_at") * SECOND_US // HOUR_US) % 24).alias("hour")
    rows = decided.filter(pl.col("arm") == "personal").with_columns(windows.number_of("at"), hour)
    counts = rows.filter(pl.col("window").is_not_null()).group_by("window", "hour").len()
    share = pl.col("len") / pl.col("len").sum()
    found = counts.group_by("window").agg(
        (-(share * share.log(2)).sum()).alias("bits"), pl.col("len").sum().alias("n")
    )
    values = windows.series(found.filter(pl.col("n") >= MIN_ROWS), "bits")
    step = step_of(values, least=LEAST_BITS, alpha=2 * ALPHA)
    if step is None:
        return unjudged(ENTROPY, "chosen hours", f"it needs {MIN_ROWS} decisions in five windows")
    return Signal(
        ENTROPY, "chosen hours", step.value, f"< {step.low:.2f} bits", judged(step.is_down),
        f"{step.value:.2f} bits, usually {step.usual:.2f}",
        "many get the same hour: look at the rules, the fallbacks and the rhythm"
        if step.is_down else "",
    )  # fmt: skip


def coverage_signal(decided: pl.DataFrame, windows: Windows) -> Signal:
    """Of the items that were candidates the share that was shown first to somebody."""
    shown = decided.filter(pl.col("candidates").list.len() > 1) if len(decided) else decided
    if shown.is_empty():
        return unjudged(COVERAGE, "share of candidates", NO_DECISION)
    found = (
        shown.filter(pl.col("arm") == "personal")
        .with_columns(windows.number_of("at"))
        .filter(pl.col("window").is_not_null())
        .group_by("window")
        .agg(
            pl.col("variant").n_unique().alias("first"),
            pl.col("candidates").explode().n_unique().alias("asked"),
            pl.len().alias("n"),
        )
        .with_columns((pl.col("first") / pl.col("asked")).alias("share"))
    )
    values = windows.series(found.filter(pl.col("n") >= MIN_ROWS), "share")
    step = step_of(values, least_part=LEAST_FALL, alpha=2 * ALPHA)
    if step is None:
        why = f"it needs {MIN_ROWS} decisions with candidates in five windows"
        return unjudged(COVERAGE, "share of candidates", why)
    return Signal(
        COVERAGE, "share of candidates", step.value, f"< {step.low:.0%}", judged(step.is_down),
        f"{step.value:.0%} of the items asked about, usually {step.usual:.0%}",
        "many get the same item: look at the candidates' topics, the fallbacks and the model"
        if step.is_down else "",
    )  # fmt: skip


def _floor(what: str, rows: pl.DataFrame, column: str, floor: pl.Expr) -> Signal:
    p = pl.col(column)
    is_below = p.is_null() | ~p.is_finite() | (p <= 0) | (p > 1) | (p < floor * _SLACK)
    below = rows.filter(is_below)
    n = len(below)
    said = f"{n:,} of {len(rows):,} decisions have less than the chance every action has"
    return Signal(
        FLOOR, what, float(n), "none", judged(n > 0), said if n else "every chance is above it",
        "an incident: nothing can be learnt from these rows; which version wrote them?"
        if n else "",
    )  # fmt: skip


def _draw(what: str, rows: pl.DataFrame, column: str) -> Signal:
    if rows.is_empty():
        return unjudged(DRAW, what, NO_DECISION)
    p = rows[column].to_numpy().astype(np.float64)
    p = p[(p > 0) & (p < 1)]  # a chance of one: nothing could be drawn
    if len(p) < MIN_ROWS:
        return unjudged(DRAW, what, f"{len(p)} decisions could explore, {MIN_ROWS} are needed")
    likely = p[p >= 0.5]
    expected = float(((1 - likely) / likely).sum())
    taken = len(p) - len(likely)
    share = min(expected / len(p), 1.0)
    is_wrong = is_refuted(taken, len(p), share=share)
    return Signal(
        DRAW, what, taken / len(p), f"{share:.2%}, refuted at {ALPHA_EVER:g}",
        Judgement.ALARM if is_wrong else Judgement.FINE,
        f"{taken:,} of {len(p):,} decisions took an unlikely one, {expected:,.0f} by the chances "
        "logged",
        "chances logged are not those drawn by: no off-policy estimate holds" if is_wrong else "",
    )  # fmt: skip
