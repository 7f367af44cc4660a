"""The plan for an audience as a table: one row a recipient, numbers as the API rounds them."""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from serving.asks import Ask
from serving.decider import Scored
from serving.decision import Decision
from serving.fallback import worst
from serving.holding import HoldReason
from serving.policy import band

VERSION: Final = 1  # of the columns
_MOMENT: Final = pa.timestamp("us", tz="UTC")
SCHEMA: Final = pa.schema(
    [
        ("recipient_key", pa.string()),
        ("send_id", pa.string()),
        ("slot", pa.string()),
        ("decision_id", pa.string()),
        ("best_at", _MOMENT),
        ("default_at", _MOMENT),
        ("p_engage", pa.float64()),
        ("p_low", pa.float64()),
        ("p_high", pa.float64()),
        ("p_engage_default", pa.float64()),
        ("binding_constraint", pa.string()),
        ("propensity_hour", pa.float64()),
        ("explored_hour", pa.bool_()),
        ("hold_back", pa.bool_()),
        ("hold_reason", pa.string()),
        ("hold_until", _MOMENT),  # null where that is not the question
        ("value", pa.float64()),
        ("propensity_hold", pa.float64()),
        ("explored_hold", pa.bool_()),
        ("p_churn", pa.float64()),
        ("band", pa.string()),
        ("unsubscribe", pa.float64()),
        ("complaint", pa.float64()),
        ("variant", pa.string()),  # empty without candidates
        ("ranking", pa.list_(pa.string())),
        ("p_click", pa.list_(pa.float64())),  # of each in the ranking
        ("propensity", pa.float64()),
        ("explored", pa.bool_()),
        ("arm", pa.string()),
        ("fallback", pa.string()),
        ("send_time_version", pa.string()),
        ("churn_version", pa.string()),
        ("content_preference_version", pa.string()),
        ("policy", pa.string()),
        ("as_of", _MOMENT),
    ]
)
Decided = tuple[Ask, Scored, Decision]
_MIDDLE: Final = 0.499  # of the way from one millionth to the next
_COUNTABLE: Final = 1e9  # of them a double holds thousandths as well
_Told = TypeVar("_Told")


def plan_of(decided: Sequence[Decided], *, now: int) -> pa.Table:
    """Decisions as rows of `SCHEMA`, in their order; `now` in microseconds.

    Column by column, which takes less than a row at a time.
    """
    asks = [ask for ask, _, _ in decided]
    told = [one.prediction for _, one, _ in decided]
    models = [one.champions for _, one, _ in decided]
    made = [one for _, _, one in decided]
    hours, holds = [one.hours for one in made], [one.hold for one in made]
    ranked = [one.ranked for one in made]
    best, default = [one.best for one in hours], [one.default for one in hours]
    first = [one.shown_first for one in ranked]
    columns: dict[str, Any] = {
        "recipient_key": [ask.recipient_key for ask in asks],
        "send_id": [ask.send_id for ask in asks],
        "slot": [ask.slot for ask in asks],
        "decision_id": [one.id for one in made],
        "best_at": [one.at for one in best],
        "default_at": [one.at for one in default],
        "p_engage": rounded([one.p for one in best]),
        "p_low": rounded([one.low for one in best]),
        "p_high": rounded([one.high for one in best]),
        "p_engage_default": rounded([one.p for one in default]),
        "binding_constraint": [one.binding for one in hours],
        "propensity_hour": [one.propensity for one in hours],
        "explored_hour": [one.is_explored for one in hours],
        "hold_back": [one.reason is not HoldReason.NONE for one in holds],
        "hold_reason": [one.reason for one in holds],
        "hold_until": [one.until or None for one in holds],
        "value": rounded([one.value for one in holds]),
        "propensity_hold": [one.propensity for one in holds],
        "explored_hold": [one.is_explored for one in holds],
        "p_churn": rounded([one.p_churn for one in told]),
        "band": [band(one.p_churn, ask.previous_band) for one, ask in zip(told, asks, strict=True)],
        "unsubscribe": rounded([one.risks.unsubscribe for one in told]),
        "complaint": rounded([one.risks.complaint for one in told]),
        "variant": [one.content_id for one in first],
        "ranking": [one.ids for one in ranked],
        "p_click": [one.shown for one in ranked],
        "propensity": [one.propensity for one in first],
        "explored": [one.is_explored for one in first],
        "arm": [one.arm for one in made],
        "fallback": _once([one.reasons for one in told], lambda why: worst(*why.values())),
        "send_time_version": _once(models, lambda one: one.version("send_time")),
        "churn_version": _once(models, lambda one: one.version("churn")),
        "content_preference_version": _once(models, lambda m: m.version("content_preference")),
        "policy": _once([one.policy for one in made], lambda own: own.name),
        "as_of": [now] * len(made),
    }
    arrays = [pa.array(columns[kind.name], kind.type) for kind in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def rounded(values: Sequence[float]) -> NDArray[np.float64]:
    """`round(value, 6)` of each, the same to the bit.

    A whole number over a million is the double that `round` gives; only where the millionths lie
    near the middle, or are too many to count, `round` itself is asked.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # too large is not countable
        millionths = np.array(values, np.float64) * 1e6
        near = np.rint(millionths)
        found = near / 1e6
        unsure = (np.abs(millionths - near) > _MIDDLE) | ~(np.abs(millionths) < _COUNTABLE)
    for row in np.flatnonzero(unsure).tolist():
        found[row] = round(values[row], 6)
    return found


def _once(values: Sequence[_Told], ask: Callable[[_Told], str]) -> list[str]:
    """What is said of each, asked once of those that are the same object: nearly all are."""
    said = {at: ask(one) for at, one in {id(one): one for one in values}.items()}
    return [said[id(one)] for one in values]
