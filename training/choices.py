"""Labelled candidates for content preference: what was shown and clicked, or what was chosen.

A mail log says what each recipient was shown and whether it was clicked. A purchase or browse
log only says what was chosen: there the candidates are the popular items of that week and the
person's own earlier ones, named without looking at the choice.

The chosen are few and say the most: training keeps all of them and some of the unchosen, and the
odds are put right for that afterwards (a constant in the log odds: King and Zeng 2001). A test of
what was shown is drawn without looking at the outcome.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from features.definitions.content import VIEW as CONTENT
from features.definitions.content import chosen
from features.events.schema import DAY_US
from features.kinds import DAY, Decayed
from training import labels
from training.dataset import PointInTime
from training.evidence import human

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLICK_DAYS: Final = 7
MIN_SHOWN, MIN_CLICKS = 2_000, 100
MAX_TRAIN: Final = 48_000  # rows of a log that says what was shown, at most half of them clicked
MAX_TEST: Final = 16_000
POPULAR: Final = 100  # of the week, candidates for everybody
OWN: Final = 30  # newest items of the person's own, candidates for a repeat
DRAWN: Final = 20  # unchosen candidates that stand beside the chosen ones in training
MAX_DECISIONS: Final = {"train": 2_400, "test": 600}
CHOSEN_TYPES: Final = sorted(kind.value for kind in chosen.types)
_POPULARITY: Final = CONTENT.names.index(Decayed(chosen, 30 * DAY).name)


@dataclass(frozen=True, slots=True)
class Choices:
    """Rows to learn from.

    Args:
        spine: recipient_key, content_id, at, decision (a number), y, is_test.
        kept: Share of the unchosen candidates that training rows hold, over that of the chosen
            (1 when all).
        label: What y means, in words.
        baskets: Of the test decisions all that was chosen, candidate or not: decision,
            recipient_key, at, content_id (a list). None where the log says what was shown.
    """

    spine: pl.DataFrame
    kept: float
    label: str
    baskets: pl.DataFrame | None = None

    @property
    def is_shown(self) -> bool:
        """Whether the log says what was shown, not only what was chosen."""
        return self.baskets is None


def choices(data: PointInTime, *, as_of: int, seed: int) -> Choices:
    """What was shown where the log says so, else what was chosen; the newest fifth is the test."""
    mature = as_of - CLICK_DAYS * DAY_US
    shown = labels.items_clicked(data.events, window_us=CLICK_DAYS * DAY_US)
    shown = shown.filter(pl.col("at") < mature)
    if len(shown) >= MIN_SHOWN and shown["y"].sum() >= MIN_CLICKS:
        spine, kept = _drawn(shown.with_columns(_newest_fifth(shown)), seed=seed)
        spine = spine.sort("at", "recipient_key").with_row_index("decision")
        return Choices(spine, kept, f"clicked within {CLICK_DAYS} days of delivery")
    return _chosen(data, seed=seed)


def _drawn(shown: pl.DataFrame, *, seed: int) -> tuple[pl.DataFrame, float]:
    """A test as it came, and for training the clicks before the rest; the odds to put right."""
    test, train = shown.filter("is_test"), shown.filter(~pl.col("is_test"))
    clicked, other = train.filter(pl.col("y") == 1.0), train.filter(pl.col("y") == 0.0)
    n_clicked = min(len(clicked), MAX_TRAIN // 2)
    n_other = min(len(other), MAX_TRAIN - n_clicked)
    drawn = [
        part.sample(n, seed=seed)
        for part, n in ((test, min(MAX_TEST, len(test))), (clicked, n_clicked), (other, n_other))
    ]
    shares = n_other / max(len(other), 1), n_clicked / max(len(clicked), 1)
    return pl.concat(drawn), shares[0] / (shares[1] or 1.0)


def _chosen(data: PointInTime, *, seed: int) -> Choices:
    picked = (
        human(data.events)
        .filter(pl.col("type").is_in(CHOSEN_TYPES), pl.col("content_id") != "")
        .select("recipient_key", "content_id", (pl.col("occurred_at") // DAY_US).alias("day"),
                "occurred_at")
        .group_by("recipient_key", "day")
        .agg(pl.col("occurred_at").min().alias("at"), pl.col("content_id").unique().sort())
        .sort("at", "recipient_key")
        .collect()
    )  # fmt: skip
    if picked.is_empty():
        empty = {"recipient_key": pl.String, "content_id": pl.String, "at": pl.Int64}
        more = {"decision": pl.Int64, "y": pl.Float64, "is_test": pl.Boolean}
        nothing = pl.DataFrame(schema=empty | more)
        return Choices(nothing, 1.0, "chosen", nothing)
    picked = picked.with_columns(_newest_fifth(picked))
    rng = np.random.default_rng(seed)
    parts = []
    for part, is_test in (("train", False), ("test", True)):
        some = picked.filter(pl.col("is_test") == is_test)
        take = min(MAX_DECISIONS[part], len(some))
        parts.append(some[np.sort(rng.permutation(len(some))[:take])])
    decisions = pl.concat(parts).with_row_index("decision")
    rows: list[tuple[int, str, float]] = []
    seen = kept = 0
    for number, is_test, mine, candidates in _candidates(data, picked, decisions):
        others = [item for item in candidates if item not in mine]
        if not is_test:
            seen += len(others)
            others = [others[i] for i in rng.permutation(len(others))[:DRAWN]]
            kept += len(others)
        rows += [(number, item, 1.0) for item in candidates if item in mine]
        rows += [(number, item, 0.0) for item in others]
    long = pl.DataFrame(rows, schema=["decision", "content_id", "y"], orient="row")
    about = decisions.select(pl.col("decision").cast(pl.Int64), "recipient_key", "at", "is_test")
    spine = long.join(about, on="decision", how="left", maintain_order="left")
    label = f"chosen, among the week's {POPULAR} most popular items and up to {OWN} of their own"
    baskets = decisions.filter("is_test").drop("day", "is_test")
    return Choices(spine, kept / max(seen, 1), label, baskets)


def _candidates(
    data: PointInTime, picked: pl.DataFrame, decisions: pl.DataFrame
) -> Iterator[tuple[int, bool, set[str], list[str]]]:
    """Per decision what could have been chosen, found without looking at what was."""
    popular = _popular(data, decisions)
    own = (
        decisions.select("decision", "recipient_key", "at")
        .join(picked.select("recipient_key", "content_id", pl.col("at").alias("before")),
              on="recipient_key", how="inner")
        .filter(pl.col("before") < pl.col("at"))
        .explode("content_id", empty_as_null=True, keep_nulls=True)
        .group_by("decision", "content_id")
        .agg(pl.col("before").max())
        .sort("decision", "before", "content_id", descending=[False, True, False])
        .group_by("decision")
        .agg(pl.col("content_id").head(OWN))
    )  # fmt: skip
    known: dict[int, list[str]] = dict(own.iter_rows())
    for number, _, day, _, mine, is_test in decisions.iter_rows():
        candidates = list(dict.fromkeys([*popular[day // 7], *known.get(number, [])]))
        yield number, is_test, set(mine), candidates


def _popular(data: PointInTime, decisions: pl.DataFrame) -> dict[int, list[str]]:
    """The items with the highest decayed count of choices at the start of each week."""
    weeks = (decisions["day"] // 7).unique().sort()
    items = pl.DataFrame({"content_id": sorted(data.catalogue_items)})
    grid = items.join(pl.DataFrame({"at": weeks * 7 * DAY_US}), how="cross")
    count: NDArray[np.float32] = data.contents_at(grid)[:, _POPULARITY]
    ranked = (
        grid.with_columns(pl.Series("count", count))
        .filter(pl.col("count") > 0)
        .sort("at", "count", "content_id", descending=[False, True, False])
        .group_by("at", maintain_order=True)
        .agg(pl.col("content_id").head(POPULAR))
    )
    found = {at // (7 * DAY_US): items for at, items in ranked.iter_rows()}
    return {week: found.get(week, []) for week in weeks}


def _newest_fifth(rows: pl.DataFrame) -> pl.Expr:
    edge = rows["at"].quantile(0.8, "nearest")
    return (pl.col("at") > edge).alias("is_test")
