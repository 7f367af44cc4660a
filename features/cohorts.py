"""The cohorts of a log's events as a column, as `Event.cohort` tells it of one."""

from typing import Final

import polars as pl

from features.events.schema import COHORT, COUNTRY, MAX_WORD_CHARS, EventType

_CORRECTING: Final = (EventType.RELABELLED.value, EventType.ERASED.value)


def cohort_events(events: pl.LazyFrame) -> pl.LazyFrame:
    """The events that tell a cohort and those that change the past, with a column `cohort`."""
    is_label = pl.col("type") == EventType.RELABELLED.value
    told = pl.when(is_label).then(word(COHORT)).otherwise(word(COUNTRY)).fill_null("")
    kept = events.filter(tells(COUNTRY) | pl.col("type").is_in(_CORRECTING))
    return kept.with_columns(cohort=told)


def tells(name: str) -> pl.Expr:
    """Whether an event has a property in words, told by its bytes; most have none."""
    return pl.col("properties").str.contains(f'"{name}":"', literal=True)


def word(name: str) -> pl.Expr:
    """A property's text as a profile keeps it; null where there is none."""
    text = pl.col("properties").str.json_path_match(f"$.{name}")
    return text.str.replace_all("\x1f", " ", literal=True).str.slice(0, MAX_WORD_CHARS)
