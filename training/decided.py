"""What would be decided otherwise if a candidate took the champion's place.

Among near equals the first one changes with every seed: of 3,000 people 37 to 48 % had another
best hour of the week after one or two weeks more of data. So an hour or an item counts as changed
where the champion itself gives the new one surely less than its own: 4 to 8 % of the same people.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.report import Decisions
from models.specs.churn import EDGES
from models.specs.content_preference import RECIPIENT_INPUTS
from training import metrics
from training.dataset import PointInTime, Rows

MATTERS: Final = 0.05  # of the champion's best chance
HOURS: Final = 24
ITEMS: Final = 10  # of which one is shown
MAX_MOMENTS: Final = 1_000

Floats = NDArray[np.float64]


def of_choices(what: str, own: Floats, old: Floats, people: Sequence[str]) -> Decisions:
    """The best of several, by the candidate and by the champion.

    Args:
        own, old: Chances of shape (n, k), of the same choices in the same order.
        people: Recipient of each row; intervals are over them.
    """
    mine = old[np.arange(len(old)), own.argmax(axis=1)]
    return _told(what, mine < (1 - MATTERS) * old.max(axis=1), people)


def of_hours(own: Floats, old: Floats, people: Sequence[str]) -> Decisions:
    """The best hour of the week, shapes (n, 168), and how chosen hours spread over a day."""
    told = of_choices("best hour of the week", own, old, people)
    spreads = [_entropy(week.argmax(axis=1) % HOURS) for week in (own, old)]
    return replace(told, entropy=spreads[0], champion_entropy=spreads[1])


def of_bands(own: Floats, old: Floats, people: Sequence[str]) -> Decisions:
    """The band of risk, of shapes (n,)."""
    return _told("band of risk", np.digitize(own, EDGES) != np.digitize(old, EDGES), people)


def item_rows(data: PointInTime, test: pl.DataFrame, *, seed: int) -> tuple[Rows, list[str]]:
    """Inputs of the ten items that a test saw most, for each of up to 1,000 of its moments.

    Args:
        test: Columns recipient_key, content_id and at.

    Returns:
        Rows of shape (n * k, n_inputs), one moment after another, and the n recipients.
    """
    counted = test.group_by("content_id").len()
    items = counted.sort("len", "content_id", descending=[True, False]).head(ITEMS)
    moments = test.select("recipient_key", "at").unique(maintain_order=True)
    some = moments.sample(min(MAX_MOMENTS, len(moments)), seed=seed)
    spine = some.join(items.select("content_id"), how="cross")
    people = data.recipients_at(spine, RECIPIENT_INPUTS)
    rows = np.concatenate([people, data.candidates_at(spine)], axis=1)
    return np.ascontiguousarray(rows), some["recipient_key"].to_list()


def _told(what: str, changed: NDArray[np.bool_], people: Sequence[str]) -> Decisions:
    (share,) = metrics.mean_by_group(changed[:, None].astype(np.float64), people)
    return Decisions(what, len(changed), share)


def _entropy(hours: NDArray[np.int64]) -> float:
    shares = np.bincount(hours, minlength=HOURS) / len(hours)
    used = shares[shares > 0]
    return float(-(used * np.log(used)).sum())
