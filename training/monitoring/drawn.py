"""What choosing is worth beside drawing: mails that explored, and all the others.

Which mails explore is drawn by nothing but their decision, so the two differ in the choice alone:
of the hours, and of the first item. Where choosing is surely worse than drawing a model stands on
its head, and no offline measure of it is needed to say so.

Failure mode: one mail in twenty explores, so only large effects show soon; items are drawn for
half from those hardly shown yet, so the worth of an item's choice is beside that draw and not
beside an even one. People who are in both groups make the interval a little too wide.
"""

from typing import Final

import numpy as np
import polars as pl
from scipy.stats import norm

from training.monitoring.arms import FEWEST, resampled
from training.monitoring.findings import ALPHA, Signal, judged, unjudged

WORTH: Final = "chosen over drawn"
HOUR, ITEM = "hour, engaged within 24 h", "first item, clicked within 7 days"
_SURE: Final = float(norm.ppf(1 - ALPHA / 2))  # each of the two has half of the family's error


def drawn_signals(joined: pl.DataFrame) -> list[Signal]:
    """The lift of chosen hours and items over drawn ones; alarms where it is surely a loss.

    Args:
        joined: Of `outcomes.outcomes`, for as long as is to be judged.
    """
    if joined.is_empty():
        return [_unknown(HOUR), _unknown(ITEM)]
    personal = joined.filter(pl.col("arm") == "personal")
    could_draw = personal.filter(pl.col("propensity_hour") < 1)
    shown = personal.filter(pl.col("candidates").list.len() > 1, pl.col("is_settled"))
    return [
        _worth(HOUR, could_draw, "explored_hour", "engaged"),
        _worth(ITEM, shown, "explored", "clicked"),
    ]


def _worth(what: str, rows: pl.DataFrame, is_drawn: str, column: str) -> Signal:
    lifts = resampled(rows, pl.col(is_drawn), column)
    if lifts is None or lifts.min() <= -1:
        return _unknown(what)
    low, high = np.percentile(lifts[1:], [2.5, 97.5])
    logs = np.log1p(lifts)
    is_loss = bool(logs[0] + _SURE * logs[1:].std(ddof=1) < 0)
    return Signal(
        WORTH, what, float(lifts[0]), "surely below zero: alarm", judged(is_loss),
        f"{lifts[0]:+.1%} [{low:+.1%}, {high:+.1%}] over those that were drawn",
        "a model chooses worse than chance: switch it off, then look at its inputs"
        if is_loss else "",
    )  # fmt: skip


def _unknown(what: str) -> Signal:
    need = f"{FEWEST} recipients reached by drawn ones and by chosen ones, and answers of both"
    return unjudged(WORTH, what, f"it needs {need}")
