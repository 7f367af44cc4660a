"""The plan for an audience as a table: one row a recipient, numbers as the API rounds them."""

from collections.abc import Iterable
from typing import Any, Final

import pyarrow as pa

from models.specs.churn import COMPLAINT, UNSUBSCRIBE
from serving import policy
from serving.asks import Ask
from serving.decider import Scored
from serving.decision import Decision
from serving.fallback import worst
from serving.holding import HoldReason

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
Row = tuple[Any, ...]


def row_of(ask: Ask, scored: Scored, made: Decision, *, now: int) -> Row:
    """One row of the plan, in the order of `SCHEMA`; `now` in microseconds."""
    prediction, champions = scored.prediction, scored.champions
    hours, hold, ranked, risks = made.hours, made.hold, made.ranked, prediction.risks
    best, first = hours.best, ranked.first
    return (
        ask.recipient_key,
        ask.send_id,
        ask.slot,
        made.id,
        best.at,
        hours.default.at,
        round(best.p, 6),
        round(best.low, 6),
        round(best.high, 6),
        round(hours.default.p, 6),
        hours.binding.value,
        hours.propensity,
        hours.is_explored,
        hold.reason is not HoldReason.NONE,
        hold.reason.value,
        hold.until or None,
        round(hold.value, 6),
        hold.propensity,
        hold.is_explored,
        round(prediction.p_churn, 6),
        policy.band(prediction.p_churn, ask.previous_band).value,
        round(risks[UNSUBSCRIBE], 6),
        round(risks[COMPLAINT], 6),
        first.content_id if first else "",
        [item for item, _ in ranked.rows],
        [round(p, 6) for _, p in ranked.rows],
        first.propensity if first else 1.0,
        first.is_explored if first else False,
        made.arm,
        worst(*prediction.reasons.values()).value,
        champions.version("send_time"),
        champions.version("churn"),
        champions.version("content_preference"),
        made.policy.name,
        now,
    )


def table_of(rows: Iterable[Row], schema: pa.Schema = SCHEMA) -> pa.Table:
    """Rows as a table; an empty one has the columns too."""
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(some, kind.type) for some, kind in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)
