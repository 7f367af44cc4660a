"""Label health: what machines do to the opens and clicks that labels are made of.

A provider that begins to fetch images, or a scanner that is new at a big customer, changes these
shares from one week to the next. Labels of such a window mean something else than those before:
nothing should be learnt from it until actors are labelled right.
"""

from typing import Final

import polars as pl

from features.coding import as_labelled
from features.events.schema import SECOND_US, EventType
from training.evidence import IS_HUMAN
from training.monitoring.findings import ALPHA, Signal, judged, unjudged
from training.monitoring.steps import FEWEST, share_error, step_of
from training.monitoring.windows import Windows

NAME: Final = "label health"
FAST_OPEN_S, FAST_CLICK_S = 5, 10
LEAST: Final = 0.03  # a smaller step of a share does not matter
MIN_ROWS: Final = 50
_OPENED = pl.col("type") == EventType.OPENED.value
_CLICKED = pl.col("type") == EventType.CLICKED.value
SHARES: Final = {
    "opens by machines": (_OPENED, ~IS_HUMAN),
    "opens within 5 s": (_OPENED, pl.col("wait") < FAST_OPEN_S * SECOND_US),
    "clicks by machines": (_CLICKED, ~IS_HUMAN),
    "clicks within 10 s": (_CLICKED, pl.col("wait") < FAST_CLICK_S * SECOND_US),
}
QUARANTINED: Final = "recipients quarantined"


def shares(events: pl.LazyFrame, windows: Windows) -> pl.DataFrame:
    """Every share by window: window, and for each share itself and the rows behind it (`n `)."""
    kinds = [kind.value for kind in (EventType.DELIVERED, EventType.OPENED, EventType.CLICKED)]
    told = as_labelled(events).filter(pl.col("type").is_in(kinds))
    columns = ("type", "actor", "recipient_key", "message_key", "occurred_at")
    rows = told.with_columns(windows.number_of()).select(*columns, "window").collect()
    delivered = rows.filter(pl.col("type") == kinds[0], pl.col("message_key") != "")
    first = delivered.group_by("message_key").agg(pl.col("occurred_at").min().alias("sent_at"))
    timed = (
        rows.filter(pl.col("window").is_not_null())
        .join(first, on="message_key", how="left")
        .with_columns(wait=pl.col("occurred_at") - pl.col("sent_at"))
    )
    counted = []
    for name, (of, which) in SHARES.items():
        n = of.fill_null(value=False).sum().alias(f"n {name}")
        hit = (of & which).fill_null(value=False).sum()
        counted += [n, (hit / of.sum()).alias(name)]
    by_person = timed.group_by("window", "recipient_key").agg(
        (pl.col("type") == kinds[0]).any().alias("is_mailed"),
        (_OPENED & ~IS_HUMAN).any().alias("is"),
    )
    people = by_person.group_by("window").agg(
        pl.col("is").filter("is_mailed").mean().alias(QUARANTINED),
        pl.col("is_mailed").sum().alias(f"n {QUARANTINED}"),
    )
    return (
        timed.group_by("window").agg(counted).join(people, on="window", how="left").sort("window")
    )


def label_signals(found: pl.DataFrame, windows: Windows) -> list[Signal]:
    """The newest window of every share beside those before."""
    names = [*SHARES, QUARANTINED]
    signals = []
    for name in names:
        values = windows.series(found.filter(pl.col(f"n {name}") >= MIN_ROWS), name)
        rows = windows.series(found, f"n {name}")[-1]
        signals.append(_signal(name, values, rows, alpha=ALPHA / len(names)))
    return signals


def _signal(name: str, values: list[float], n: float, *, alpha: float) -> Signal:
    error = share_error(values, n, least_variance=1e-4)
    step = step_of(values, error=error, least=LEAST, alpha=alpha)
    if step is None:
        why = f"it needs {MIN_ROWS} rows in the newest window and in {FEWEST} before"
        return unjudged(NAME, name, why)
    is_step = step.is_up or step.is_down
    return Signal(
        NAME, name, step.value, f"outside {max(step.low, 0):.1%} to {min(step.high, 1):.1%}",
        judged(is_step), f"{step.value:.1%}, usually {step.usual:.1%}",
        "do not train on this window; check the provider's flags, then `opportune relabel`"
        if is_step else "",
    )  # fmt: skip
