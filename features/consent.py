"""Consent over a whole log: who may be learnt from, and who not."""

import polars as pl

from features.coding import corrected_log
from features.definitions.profile import CONSENTS, GRANTED, PROFILING, PURPOSE, WITHDRAWN
from features.events.schema import EventType


def said(events: pl.LazyFrame) -> pl.LazyFrame:
    """What events say about being profiled, as `definitions.profile.consent_word` does.

    Returns:
        recipient_key, told_at (microseconds) and text, of those that say something; in memory.
    """
    # Few events are about consent: the properties of the others are not looked at.
    told = (
        events.filter(pl.col("type").is_in([kind.value for kind in CONSENTS]))
        .select("recipient_key", "type", "properties", pl.col("occurred_at").alias("told_at"))
        .collect()
    )
    purpose = pl.col("properties").str.json_path_match(f"$.{PURPOSE}").fill_null("")
    is_withdrawal = pl.col("type") == EventType.CONSENT_WITHDRAWN.value
    says = pl.when(is_withdrawal).then(purpose.is_in(["", PROFILING])).otherwise(
        purpose == PROFILING
    )  # fmt: skip
    text = pl.when(is_withdrawal).then(pl.lit(WITHDRAWN)).otherwise(pl.lit(GRANTED))
    return told.filter(says).select("recipient_key", "told_at", text.alias("text")).lazy()


def consenting(events: pl.LazyFrame) -> pl.LazyFrame:
    """The events of recipients whose newest word on profiling is no withdrawal."""
    words = said(corrected_log(events).events)
    newest = words.group_by("recipient_key").agg(pl.col("text").sort_by("told_at", "text").last())
    withdrawn = newest.filter(pl.col("text") == WITHDRAWN).select("recipient_key").collect()
    if withdrawn.is_empty():
        return events
    return events.join(withdrawn.lazy(), on="recipient_key", how="anti", maintain_order="left")
