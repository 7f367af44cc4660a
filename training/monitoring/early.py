"""Early answers: what is known of the newest mails long before their labels are mature.

Churn is known after months, a click after a week. How many mails are opened or clicked within the
hour and within the day is known at once, and moves first. It is a notice and never a measure of a
model: what comes early depends on the hours of sending and on the mails as much as on anybody's
choice.
"""

from typing import Final

import polars as pl

from features.coding import as_labelled
from features.events.schema import DAY_US, HOUR_US, EventType
from training.evidence import sure
from training.monitoring.findings import ALPHA, Judgement, Signal, unjudged
from training.monitoring.steps import FEWEST, share_error, step_of
from training.monitoring.windows import Windows

NAME: Final = "early answers"
SPANS: Final = {"within the hour": HOUR_US, "within the day": DAY_US}
LEAST: Final = 0.15  # of the usual share; a smaller step does not matter
MIN_MAILS: Final = 200
_ANSWERS: Final = [EventType.OPENED.value, EventType.CLICKED.value]


def early_shares(events: pl.LazyFrame, windows: Windows) -> pl.DataFrame:
    """By window and span the mails delivered so long ago (`n `), and the share answered by then."""
    told = as_labelled(events).filter(pl.col("message_key") != "")
    kind = pl.col("type")
    mails = (
        told.filter(kind == EventType.DELIVERED.value, windows.number_of().is_not_null())
        .group_by("message_key")
        .agg(pl.col("occurred_at").min())
        .with_columns(windows.number_of())
    )
    answered = (
        sure(told)
        .filter(kind.is_in(_ANSWERS))
        .group_by("message_key")
        .agg(pl.col("occurred_at").min().alias("answered_at"))
    )
    joined = mails.join(answered, on="message_key", how="left")
    wait = pl.col("answered_at") - pl.col("occurred_at")
    counted = []
    for name, span in SPANS.items():
        is_over = pl.col("occurred_at") + span <= windows.as_of
        is_soon = (wait < span).fill_null(value=False)
        counted += [is_over.sum().alias(f"n {name}"), is_soon.filter(is_over).mean().alias(name)]
    return joined.group_by("window").agg(counted).sort("window").collect()


def early_signals(found: pl.DataFrame, windows: Windows) -> list[Signal]:
    """The newest window beside those before; a step is a notice."""
    return [_signal(name, found, windows) for name in SPANS]


def _signal(name: str, found: pl.DataFrame, windows: Windows) -> Signal:
    mails = windows.series(found, f"n {name}")[-1]
    values = windows.series(found.filter(pl.col(f"n {name}") >= MIN_MAILS), name)
    error = share_error(values, mails)
    step = step_of(values, error=error, least_part=LEAST, alpha=ALPHA / len(SPANS))
    if step is None:
        why = f"it needs {MIN_MAILS} mails in the newest window and in {FEWEST} before"
        return unjudged(NAME, name, why)
    is_step = step.is_up or step.is_down
    return Signal(
        NAME, name, step.value, f"outside {max(step.low, 0):.1%} to {step.high:.1%}: notice",
        Judgement.NOTICE if is_step else Judgement.FINE,
        f"{step.value:.1%} of {mails:,.0f} mails, usually {step.usual:.1%}",
        "no measure of a model: look at what was sent, when, and at the label health"
        if is_step else "",
    )  # fmt: skip
