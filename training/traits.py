"""Who the test is about: what was known of each recipient at the row's own moment.

Counted things come from the point-in-time features, words and zones from the events known
before the moment; nothing later is read, so a slice never knows how its label ends.
"""

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.definitions import recipient
from features.definitions.profile import MAILBOX
from features.events.schema import COUNTRY
from features.kinds import Recency, Tenure
from training.clocks import is_local
from training.dataset import PointInTime
from training.words import words_at

Floats = NDArray[np.float64]
Names = NDArray[np.object_]

NEW_DAYS: Final = 30.0
EVIDENCE: Final = ("0-2", "3-10", "11-30", "over 30")
EVIDENCE_FROM: Final = (2.5, 10.5, 30.5)
LARGEST: Final = 8  # countries and classes of mailbox named; the others are one slice
NOT_TOLD, OTHER = "not told", "other"
COUNTED: Final = (
    Recency(recipient.prefetched).name,
    Tenure(recipient.active).name,
    Tenure(recipient.delivered).name,
    recipient.active_total.name,
)


def traits_of(
    data: PointInTime, spine: pl.DataFrame, score: Floats | None = None
) -> dict[str, Names]:
    """Per family of slices the name of each row's slice, without families that divide nothing.

    Args:
        spine: Columns recipient_key and at (microseconds).
        score: What the model said, for its top decile; shape (n,).
    """
    prefetched, active_days, mailed_days, hours = (
        column.astype(np.float64) for column in data.recipients_at(spine, COUNTED).T
    )
    tenure = np.fmax(active_days, mailed_days)
    families = {
        "machine open": _named(~np.isnan(prefetched), "seen", "none seen"),
        "time zone": _named(is_local(data.events, spine), "known", "unknown"),
        "tenure": np.where(
            np.isnan(tenure), NOT_TOLD, _named(tenure < NEW_DAYS, "under 30 days", "older")
        ).astype(object),
        "active hours": np.array(EVIDENCE, object)[np.digitize(hours, EVIDENCE_FROM)],
        "mailbox": _word(data, spine, MAILBOX),
        "country": _word(data, spine, COUNTRY),
    }
    if score is not None:
        top = score >= np.quantile(score, 0.9)
        families["score"] = _named(top, "top decile", "below it")
    return {family: names for family, names in families.items() if len(set(names)) > 1}


def _named(is_so: NDArray[np.bool_], yes: str, no: str) -> Names:
    return np.where(is_so, yes, no).astype(object)


def _word(data: PointInTime, spine: pl.DataFrame, attribute: str) -> Names:
    told = words_at(data.events, spine, attribute)
    return _largest(np.where(told != "", told, NOT_TOLD))


def _largest(names: Names) -> Names:
    known, counts = np.unique(names.astype(str), return_counts=True)
    kept = set(known[np.argsort(-counts, kind="stable")][:LARGEST].tolist()) | {NOT_TOLD}
    return np.array([name if name in kept else OTHER for name in names], dtype=object)
