"""Decisions joined with what became of them, at label maturity.

A call is not an exposure. A decision is joined by `recipient_key` and `send_id` to the mail that
was delivered under them; of several slots of one mail each has its own item, and a click counts
for the slot whose item was clicked. What is counted:

* `delivered`, `bounced`: the mail arrived, or did not.
* `engaged`: a person opened or clicked it within 24 h of its delivery. As in every label, opens
  say nothing of recipients whose machines open for them.
* `clicked`: a person clicked the item shown (the mail, where the click names no item) within
  7 days of its delivery.
* `unsubscribed`, `complained`: within 7 days of its delivery, by this mail or by one that has no
  name.

`is_mature` are decisions whose 24 hours are over by 6 hours, `is_settled` those whose 7 days are
over by one. What is not delivered matures three days after the hour that was chosen. A decision
that is not mature is left out of every statistic, and counted.

Failure mode: a sender who does not pass `send_id` on to the provider has decisions that cannot be
joined; `unnamed` counts the ones without any.
"""

from dataclasses import dataclass
from typing import Final

import polars as pl

from features.coding import as_labelled
from features.events.schema import DAY_US, HOUR_US, MAX_SKEW_US, SECOND_US, EventType
from training.evidence import sure

ENGAGED_US: Final = DAY_US
CLICKED_US: Final = 7 * DAY_US
MATURE_US: Final = 30 * HOUR_US
SETTLED_US: Final = 8 * DAY_US
WAIT_US: Final = 3 * DAY_US  # for a mail that may still go out
KEYS: Final = ["recipient_key", "send_id"]
TOLD: Final = ["decision_id", "variant", "best_at"]  # what of a decision may be renewed
_ENGAGED: Final = [EventType.OPENED.value, EventType.CLICKED.value]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Decisions with what became of them.

    Args:
        rows: The columns of the log of decisions, and those above; one row a decision.
        decided: How many decisions there are, tests and repeats left out.
        unnamed: Of them those without a `send_id`.
        immature: Of the others those whose label is still open.
    """

    rows: pl.DataFrame
    decided: int
    unnamed: int
    immature: int


def decisions_once(decisions: pl.LazyFrame, events: pl.LazyFrame, *, as_of: int) -> pl.DataFrame:
    """Each decision once, as its mail had it, of what was told before a moment; tests left out.

    A mail may be asked for without candidates, when it is planned, and with them, when it is
    rendered; and what became impossible is decided anew under the same id. The line that counts is
    the first to tell the last item and hour before the mail's delivery.
    """
    told = decisions.filter(pl.col("at") < as_of, ~pl.col("is_test").fill_null(value=False))
    each = told.sort("at").unique(TOLD, keep="first", maintain_order=True)
    arrived = _mails(events).lazy().select(*KEYS, "delivered_at")
    late = (pl.col("at") > pl.col("delivered_at") + MAX_SKEW_US).fill_null(value=False)
    known = each.join(arrived, on=KEYS, how="left").with_columns(
        _order=pl.when(late).then(-pl.col("at")).otherwise(pl.col("at"))
    )
    ordered = known.sort(pl.col("variant") != "", ~late, "_order", maintain_order=True)
    once = ordered.unique("decision_id", keep="last", maintain_order=True)
    return once.drop("delivered_at", "_order").sort("at").collect()


def outcomes(decided: pl.DataFrame, events: pl.LazyFrame, *, as_of: int) -> Outcomes:
    """Join decisions with the events known at `as_of` (microseconds).

    Args:
        decided: Of `decisions_once`.
    """
    named = decided.filter(pl.col("send_id") != "")
    told = as_labelled(events).join(
        named.lazy().select("recipient_key").unique(), on="recipient_key", how="semi"
    )
    mails = _mails(told)
    joined = named.join(mails, on=KEYS, how="left").with_columns(
        bounced=pl.col("bounced").fill_null(value=False),
        delivered=pl.col("delivered_at").is_not_null(),
    )
    joined = _clicked(_engaged(_left(joined, told), told), told)
    meant = pl.max_horizontal("at", pl.col("best_at") * SECOND_US)
    closed = (
        pl.when("delivered").then(pl.col("delivered_at") + MATURE_US).otherwise(meant + WAIT_US)
    )
    settled = (
        pl.when("delivered").then(pl.col("delivered_at") + SETTLED_US).otherwise(meant + WAIT_US)
    )
    marked = joined.with_columns(is_mature=closed <= as_of, is_settled=settled <= as_of)
    mature = marked.filter("is_mature")
    return Outcomes(mature, len(decided), len(decided) - len(named), len(marked) - len(mature))


def _mails(told: pl.LazyFrame) -> pl.DataFrame:
    """When each mail arrived, and whether it bounced."""
    kind = pl.col("type")
    arrived = kind == EventType.DELIVERED.value
    return (
        told.filter(arrived | (kind == EventType.BOUNCED.value), pl.col("send_id") != "")
        .group_by(KEYS)
        .agg(
            pl.col("occurred_at").filter(arrived).min().alias("delivered_at"),
            (kind == EventType.BOUNCED.value).any().alias("bounced"),
        )
        .collect()
    )


def _engaged(rows: pl.DataFrame, told: pl.LazyFrame) -> pl.DataFrame:
    acted = (
        sure(told)
        .filter(pl.col("type").is_in(_ENGAGED), pl.col("send_id") != "")
        .group_by(KEYS)
        .agg(pl.col("occurred_at").min().alias("answered_at"))
        .collect()
    )
    soon = (pl.col("answered_at") - pl.col("delivered_at")) < ENGAGED_US
    joined = rows.join(acted, on=KEYS, how="left")
    return joined.with_columns(engaged=soon.fill_null(value=False)).drop("answered_at")


def _clicked(rows: pl.DataFrame, told: pl.LazyFrame) -> pl.DataFrame:
    clicks = (
        sure(told)
        .filter(pl.col("type") == EventType.CLICKED.value, pl.col("send_id") != "")
        .select(*KEYS, pl.col("content_id").alias("variant"), "occurred_at")
        .collect()
    )
    named = _first(clicks.filter(pl.col("variant") != ""), [*KEYS, "variant"], "clicked_at")
    bare = _first(clicks.filter(pl.col("variant") == ""), KEYS, "mail_clicked_at")
    joined = rows.join(named, on=[*KEYS, "variant"], how="left").join(bare, on=KEYS, how="left")
    first = pl.min_horizontal("clicked_at", "mail_clicked_at")
    soon = (first - pl.col("delivered_at")) < CLICKED_US
    return joined.with_columns(clicked=soon.fill_null(value=False)).drop(
        "clicked_at", "mail_clicked_at"
    )


def _left(rows: pl.DataFrame, told: pl.LazyFrame) -> pl.DataFrame:
    """Opt-outs: by the mail they name, or the first after it that names none."""
    left = told.filter(
        pl.col("type").is_in([EventType.UNSUBSCRIBED.value, EventType.COMPLAINED.value])
    )
    told_of = left.select(*KEYS, "type", "occurred_at").collect()
    for kind, name in (
        (EventType.UNSUBSCRIBED, "unsubscribed"),
        (EventType.COMPLAINED, "complained"),
    ):
        some = told_of.filter(pl.col("type") == kind.value)
        named = _first(some.filter(pl.col("send_id") != ""), KEYS, "by_name")
        bare = some.filter(pl.col("send_id") == "").select("recipient_key", by_nobody="occurred_at")
        after = (
            rows.filter("delivered")
            .select(*KEYS, "delivered_at")
            .unique()
            .join(bare, on="recipient_key", how="inner")
            .filter(pl.col("by_nobody") >= pl.col("delivered_at"))
            .group_by(KEYS)
            .agg(pl.col("by_nobody").min())
        )
        rows = rows.join(named, on=KEYS, how="left").join(after, on=KEYS, how="left")
        wait = pl.min_horizontal("by_name", "by_nobody") - pl.col("delivered_at")
        rows = rows.with_columns((wait < CLICKED_US).fill_null(value=False).alias(name))
        rows = rows.drop("by_name", "by_nobody")
    return rows


def _first(rows: pl.DataFrame, by: list[str], name: str) -> pl.DataFrame:
    return rows.group_by(by).agg(pl.col("occurred_at").min().alias(name))
