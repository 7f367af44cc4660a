"""What happened after a moment. Serving never sees this module.

A label at `t` looks at `[t, t + window)` and is mature when the window has closed before
`as_of`. Engagement is human: machine opens and clicks never make a label, opt-outs always do.
"""

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.coding import as_labelled
from features.definitions.recipient import ENGAGED
from features.events.schema import DAY_US, EventType
from features.layout import HOURS_PER_WEEK, MONDAY_SHIFT
from training.evidence import human, prefetched, sure

HOUR_US: Final = DAY_US // 24
OPTED_OUT: Final = (EventType.UNSUBSCRIBED.value, EventType.COMPLAINED.value)
Floats = NDArray[np.float64]


def engagements(events: pl.LazyFrame) -> pl.DataFrame:
    """Every human engagement: recipient_key, occurred_at and the local hour since 1970."""
    offset_us = pl.col("utc_offset_min").fill_null(0).cast(pl.Int64) * 60_000_000
    return (
        human(events)
        .filter(pl.col("type").is_in([kind.value for kind in ENGAGED]))
        .select(
            "recipient_key",
            "occurred_at",
            ((pl.col("occurred_at") + offset_us) // HOUR_US).alias("hour"),
        )
        .sort("recipient_key", "occurred_at")
        .collect()
    )


def opt_outs(events: pl.LazyFrame) -> pl.DataFrame:
    """Unsubscribes and complaints, whoever clicked: recipient_key, occurred_at."""
    picked = events.filter(pl.col("type").is_in(list(OPTED_OUT)))
    return (
        picked.select("recipient_key", "occurred_at").sort("recipient_key", "occurred_at").collect()
    )


def deliveries(events: pl.LazyFrame) -> pl.DataFrame:
    """Every mail that arrived: recipient_key, occurred_at."""
    mails = events.filter(pl.col("type") == EventType.DELIVERED.value)
    return mails.select("recipient_key", "occurred_at").collect()


def next_after(spine: pl.DataFrame, happened: pl.DataFrame) -> NDArray[np.float64]:
    """Microseconds from each row's moment to the recipient's next event, infinite for none.

    Args:
        spine: Columns recipient_key and at.
        happened: Columns recipient_key and occurred_at, sorted.
    """
    rows = spine.select("recipient_key", "at").with_row_index("row").sort("at")
    later = happened.select("recipient_key", "occurred_at").sort("occurred_at")
    joined = rows.join_asof(
        later,
        left_on="at",
        right_on="occurred_at",
        by="recipient_key",
        strategy="forward",
        check_sortedness=False,
    ).sort("row")
    wait = (joined["occurred_at"] - joined["at"]).cast(pl.Float64)
    return np.asarray(wait.fill_null(float("inf")).to_numpy(), dtype=np.float64)


def churned(
    spine: pl.DataFrame, engaged: pl.DataFrame, left: pl.DataFrame, *, horizon_us: int
) -> Floats:
    """1 where the recipient stays silent for the horizon, or opts out in it; shape (n,)."""
    silent = next_after(spine, engaged) >= horizon_us
    opted_out = next_after(spine, left) < horizon_us
    return np.asarray(silent | opted_out, dtype=np.float64)


def at_risk(
    mails: pl.DataFrame, engaged: pl.DataFrame, left: pl.DataFrame, *, at: int, since_days: int
) -> list[str]:
    """Recipients whose silence would say something: active lately, not opted out, still mailed.

    Where the log holds deliveries at all, at least three in the last 28 days are asked for:
    nobody answers mail they do not get. Judged before `at`, never inside the label window.

    Args:
        mails, engaged, left: Of `deliveries`, `engagements` and `opt_outs`.
    """
    lately = pl.col("occurred_at").is_between(at - since_days * DAY_US, at, closed="left")
    keys = engaged.filter(lately).select("recipient_key").unique()
    gone = left.filter(pl.col("occurred_at") < at).select("recipient_key").unique()
    keys = keys.join(gone, on="recipient_key", how="anti")
    if mails.height:
        month = pl.col("occurred_at").is_between(at - 28 * DAY_US, at, closed="left")
        counted = mails.filter(month).group_by("recipient_key").len().filter(pl.col("len") >= 3)
        keys = keys.join(counted, on="recipient_key", how="semi")
    return sorted(keys["recipient_key"].to_list())


def later_weeks(spine: pl.DataFrame, engaged: pl.DataFrame, *, window_us: int) -> Floats:
    """Distinct active hours in the window after each row, by hour of the week; shape (n, 168)."""
    rows = spine.select("recipient_key", "at").with_row_index("row")
    counts = np.zeros((len(rows), HOURS_PER_WEEK))
    for at in rows["at"].unique():
        inside = pl.col("occurred_at").is_between(at, at + window_us, closed="left")
        hours = engaged.filter(inside).select("recipient_key", "hour").unique()
        hit = rows.filter(pl.col("at") == at).join(hours, on="recipient_key", how="inner")
        slots = ((hit["hour"] + MONDAY_SHIFT) % HOURS_PER_WEEK).to_numpy()
        np.add.at(counts, (hit["row"].to_numpy(), slots), 1.0)
    return counts


def mails_engaged(events: pl.LazyFrame, *, window_us: int) -> pl.DataFrame:
    """Every delivery and whether its recipient opened or clicked that mail as a human in time.

    Columns: recipient_key, at, hour (local, since 1970), content_id, y, and age_h, the mail's age
    in hours at the first such answer, infinite without. Recipients with a machine open, or one of
    nobody knows whom, are left out: whether they read is not to be seen.
    """
    offset_us = pl.col("utc_offset_min").fill_null(0).cast(pl.Int64) * 60_000_000
    events = as_labelled(events)
    hidden = prefetched(events)
    mails = (
        events.filter(pl.col("type") == EventType.DELIVERED.value)
        .select(
            "recipient_key",
            pl.col("occurred_at").alias("at"),
            ((pl.col("occurred_at") + offset_us) // HOUR_US).alias("hour"),
            "message_key",
            "content_id",
        )
        .join(hidden.select("recipient_key").unique(), on="recipient_key", how="anti")
    )
    answers = (
        sure(events)
        .filter(pl.col("type").is_in(["opened", "clicked"]), pl.col("message_key") != "")
        .group_by("message_key")
        .agg(pl.col("occurred_at").min().alias("answered_at"))
    )
    waited = pl.col("answered_at") - pl.col("at")
    return (
        mails.join(answers, on="message_key", how="left")
        .with_columns(
            (waited < window_us).fill_null(value=False).cast(pl.Float64).alias("y"),
            (waited / HOUR_US).fill_null(float("inf")).alias("age_h"),
        )
        .drop("message_key", "answered_at")
        .collect()
    )


def mails_opted_out(events: pl.LazyFrame, *, window_us: int) -> pl.DataFrame:
    """Every delivery and what its recipient left by: recipient_key, at, cause.

    `cause` is the type of the opt-out, or "" for none: of the mail it names, else of the newest
    mail before it within the window. The first one counts: who has unsubscribed complains no more.
    """
    mails = (
        events.filter(pl.col("type") == EventType.DELIVERED.value)
        .select("recipient_key", pl.col("occurred_at").alias("at"), "message_key")
        .sort("recipient_key", "at")
        .with_row_index("mail")
        .collect()
    )
    left = (
        events.filter(pl.col("type").is_in(list(OPTED_OUT)))
        .select("recipient_key", "occurred_at", pl.col("type").alias("cause"), "message_key")
        .sort("occurred_at")
        .collect()
    )
    named = mails.filter(pl.col("message_key") != "").unique("message_key", keep="first")
    newest = left.join_asof(
        mails.select("recipient_key", "at", "mail").sort("at"),
        left_on="occurred_at",
        right_on="at",
        by="recipient_key",
        tolerance=window_us,
        check_sortedness=False,
    )
    told = newest.join(
        named.select("message_key", pl.col("mail").alias("named")), on="message_key", how="left"
    )
    causes = (
        told.with_columns(pl.coalesce("named", "mail").alias("mail"))
        .filter(pl.col("mail").is_not_null())
        .sort("occurred_at")
        .unique("mail", keep="first")
        .select("mail", "cause")
    )
    joined = mails.join(causes, on="mail", how="left", maintain_order="left")
    return joined.select("recipient_key", "at", pl.col("cause").fill_null(""))


def items_clicked(events: pl.LazyFrame, *, window_us: int) -> pl.DataFrame:
    """Every delivered item and whether its recipient clicked that mail; like `mails_engaged`."""
    mails = events.filter(pl.col("type") == EventType.DELIVERED.value, pl.col("content_id") != "")
    clicks = (
        human(events)
        .filter(pl.col("type") == EventType.CLICKED.value, pl.col("message_key") != "")
        .group_by("message_key")
        .agg(pl.col("occurred_at").min().alias("clicked_at"))
    )
    waited = pl.col("clicked_at") - pl.col("occurred_at")
    return (
        mails.select("recipient_key", "occurred_at", "message_key", "content_id")
        .join(clicks, on="message_key", how="left")
        .select(
            "recipient_key",
            pl.col("occurred_at").alias("at"),
            "content_id",
            (waited < window_us).fill_null(value=False).cast(pl.Float64).alias("y"),
        )
        .sort("at", "recipient_key", "content_id")
        .collect()
    )
