"""What the service answered with, and how fresh what it knows is."""

from typing import Final

import numpy as np
import polars as pl

from features.events.schema import DAY_US, HOUR_US
from training.monitoring.findings import ALPHA, Signal, judged, unjudged
from training.monitoring.steps import step_of
from training.monitoring.windows import Windows

FALLBACK, FRESHNESS = "fallbacks", "freshness"
NONE: Final = "none"
MIN_ROWS: Final = 100
LEAST: Final = 0.02
SILENT_US: Final = 2 * DAY_US
BEHIND_US: Final = HOUR_US


def fallback_shares(decided: pl.DataFrame, windows: Windows) -> pl.DataFrame:
    """Share of the decisions by window and reason: window, fallback, share, n."""
    rows = decided.with_columns(windows.number_of("at")).filter(pl.col("window").is_not_null())
    totals = rows.group_by("window").agg(pl.len().alias("n"))
    counts = rows.group_by("window", "fallback").len()
    return (
        counts.join(totals, on="window")
        .with_columns((pl.col("len") / pl.col("n")).alias("share"))
        .sort("window", "fallback")
    )


def fallback_signals(shares: pl.DataFrame, windows: Windows) -> list[Signal]:
    """The newest window of each reason beside those before; only more of one is a fault."""
    sizes = shares.select("window", "n").unique()
    totals = windows.series(sizes, "n") if len(shares) else [0.0]
    if not totals[-1] >= MIN_ROWS:
        return [unjudged(FALLBACK, "all", f"fewer than {MIN_ROWS} decisions in the newest window")]
    reasons = [reason for reason in shares["fallback"].unique().sort() if reason != NONE]
    signals = [
        _fallback(
            reason, shares.filter(pl.col("fallback") == reason), totals, windows, len(reasons)
        )
        for reason in reasons
    ]
    plain = f"none of {totals[-1]:,.0f} decisions"
    return signals or [
        Signal(FALLBACK, "all", 0.0, "", judged(False), plain)  # noqa: FBT003  fine
    ]


def freshness_signals(
    newest_at: int | None, *, as_of: int, longest_silence_us: int, unfolded_at: int | None
) -> list[Signal]:
    """Age of the newest event, and how long the oldest one that is not online has waited.

    Args:
        newest_at: When the newest event became known, microseconds; None for an empty log.
        longest_silence_us: Between two events of the windows before.
        unfolded_at: When the oldest event became known that the online store has not seen; None
            where it has seen all.
    """
    if newest_at is None:
        return [unjudged(FRESHNESS, "newest event", "the log is empty; run `opportune ingest`")]
    silent = as_of - newest_at
    bound = max(SILENT_US, 2 * longest_silence_us)
    behind = 0 if unfolded_at is None else max(as_of - unfolded_at, 0)
    is_silent, is_behind = silent > bound, behind > BEHIND_US
    return [
        Signal(
            FRESHNESS, "newest event", silent / HOUR_US, f"> {bound / HOUR_US:.0f} h",
            judged(is_silent), f"{silent / HOUR_US:.1f} h old",
            "`opportune check` tells which source fell silent" if is_silent else "",
        ),
        Signal(
            FRESHNESS, "online store", behind / HOUR_US, f"> {BEHIND_US / HOUR_US:.0f} h",
            judged(is_behind),
            f"the oldest event that is not online has waited {behind / HOUR_US:.1f} h",
            "is a service running? `opportune materialize` catches up" if is_behind else "",
        ),
    ]  # fmt: skip


def _fallback(
    reason: str, rows: pl.DataFrame, totals: list[float], windows: Windows, n_reasons: int
) -> Signal:
    found = np.array(windows.series(rows, "share"))
    is_told = np.array(totals) >= MIN_ROWS
    values = np.where(is_told, np.nan_to_num(found), np.nan)
    usual = float(np.nanmean(values[:-1])) if np.isfinite(values[:-1]).any() else 0.0
    error = float(np.sqrt(max(usual * (1 - usual), 1e-4) / totals[-1]))
    step = step_of(values.tolist(), error=error, least=LEAST, alpha=2 * ALPHA / n_reasons)
    if step is None:
        return unjudged(
            FALLBACK, reason, f"{values[-1]:.1%} now; too few windows before to compare"
        )
    return Signal(
        FALLBACK, reason, step.value, f"> {step.high:.1%}", judged(step.is_up),
        f"{step.value:.1%} of decisions, usually {step.usual:.1%}",
        "docs/api.md says what each reason means" if step.is_up else "",
    )  # fmt: skip
