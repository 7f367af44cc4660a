"""Is what was answered what the log says should have been? Answers beside the same scored again.

The service reads states that were folded event by event, in a process without the training stack;
training reads the log. A sample of the newest answers is scored again by the champion's graph from
what the log knew at their moments: every step between an event and a score is in it, the state's
bytes, the features and the graph.

Failure mode: an event that was accepted and not yet folded when the answer was made, or that was
erased since, makes one answer differ; so a few of them are no alarm. Only the chance of leaving is
asked: it depends on nothing that the caller said.
"""

from typing import Final

import numpy as np
import polars as pl

from models.bundle import Bundle
from models.specs import churn
from training.dataset import PointInTime
from training.monitoring.findings import Signal, judged, unjudged

NAME: Final = "answers scored again"
SUBJECT: Final = "churn"
MOST: Final = 1_000  # answers that are scored again
FEWEST: Final = 50
LIMIT: Final = 1e-4  # beyond it two chances are not the same; the log has six digits
MOST_APART: Final = 0.01  # of the answers


def served_signal(
    decided: pl.DataFrame, champion: tuple[str, Bundle] | None, data: PointInTime
) -> Signal:
    """The share of answers that the champion would not give again; an alarm above one in a hundred.

    Args:
        decided: Decisions of the newest window.
        champion: The version and its bundle that answers now.
    """
    if champion is None:
        return unjudged(NAME, SUBJECT, "there is no champion")
    version, bundle = champion
    known = decided.filter(
        pl.col("churn_version") == version,
        pl.col("fallback") == "none",
        pl.col("p_churn").is_not_null(),
    )
    some = known.sort("decision_id").head(MOST)  # ids are hashes: as good as drawn
    if len(some) < FEWEST:
        why = f"{len(some)} answers of version {version} in the newest window, {FEWEST} are needed"
        return unjudged(NAME, SUBJECT, why)
    rows = data.recipients_at(some.select("recipient_key", "at"), churn.SPEC.inputs)
    again = bundle.session.run(np.ascontiguousarray(rows))[churn.SPEC.outputs[0].name][:, 0]
    apart = np.abs(again.astype(np.float64) - some["p_churn"].to_numpy())
    share = float((~(apart <= LIMIT)).mean())
    is_broken = share > MOST_APART
    return Signal(
        NAME, SUBJECT, share, f"at most {MOST_APART:.0%} beyond {LIMIT:g}", judged(is_broken),
        f"{share:.1%} of {len(some):,} answers differ, by {np.nanmax(apart):.1e} at most",
        "the service does not read what training reads: run `opportune check`, then "
        "`opportune materialize`" if is_broken else "",
    )  # fmt: skip
