"""One champion under watch: drift since it was made, its newest mature answers, its rhythm.

Whatever cannot be judged says why: there is no champion, it was made later than the moment that is
judged, it is of a version without reference statistics, or no label later than its training has
matured yet.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import numpy as np
import polars as pl

from features.events.schema import DAY_US, SECOND_US
from models.bundle import Bundle
from models.report import CHAMPION
from training.dataset import PointInTime
from training.monitoring import calibrated, drift, habits
from training.monitoring.findings import Signal, unjudged
from training.monitoring.labelled import Answered, Span, answered, closed_until, population
from training.monitoring.memory import is_settled
from training.monitoring.triggers import Age
from training.monitoring.windows import Windows

COHORT_DAYS: Final = 28.0  # of mature rows that calibration is asked of
COURSE_DAYS: Final = 84.0  # of rows that its course is shown of
NO_CHAMPION: Final = "there is no champion; run `opportune retrain` and `opportune promote`"
BACKTEST_FACT: Final = f"{CHAMPION}'s last window"


@dataclass(frozen=True, slots=True)
class Watched:
    """What was found of one model.

    Args:
        ratios: Observed over expected by week, oldest first, smoothed; NaN before the first.
        drifts: Of every column, the most drifted first.
        rhythm: Nats over a week of even hours, by window.
        made: Moment of its training, as its manifest tells it.
        n_erasures: How many were over when it was trained, where its manifest tells it.
    """

    model: str
    version: str
    signals: list[Signal]
    age: Age
    ratios: list[float] = field(default_factory=list)
    drifts: list[drift.Drift] = field(default_factory=list)
    rhythm: list[float] = field(default_factory=list)
    made: str = ""
    n_erasures: int | None = None


def watch(
    model: str, champion: tuple[str, Bundle] | None, data: PointInTime, windows: Windows
) -> Watched:
    """Everything about one model's champion, a version and its bundle.

    One that was made after the windows has learnt from what came later: nothing is judged by it.
    """
    names = (drift.NAME, calibrated.NAME, *((habits.RHYTHM,) if model == "send_time" else ()))
    if champion is None:
        return Watched(model, "", [unjudged(n, model, NO_CHAMPION) for n in names], Age(None))
    version, bundle = champion
    age, made = age_of(bundle, data, as_of=windows.as_of), bundle.manifest.as_of
    over = bundle.manifest.n_erasures
    if windows.as_of < moment_of(bundle):
        why = f"the champion was made later ({made}); judge a moment after that"
        return Watched(
            model,
            version,
            [unjudged(n, model, why) for n in names],
            age,
            made=made,
            n_erasures=over,
        )
    signal, drifts = _drift(model, bundle, data, windows)
    signals, ratios = _calibration(model, bundle, data, windows)
    rhythm: list[float] = []
    if model == "send_time":
        course = habits.rhythm_course(data, bundle.session, windows)
        rhythm = course.values
        signals.append(habits.habit_signal(habits.RHYTHM, model, course))
    return Watched(model, version, [signal, *signals], age, ratios, drifts, rhythm, made, over)


def backtest_fact(bundle: Bundle, data: PointInTime, *, as_of: int) -> str:
    """How the champion's chances of the newest mature rows did, for the report of a retrain."""
    found = newest_mature(bundle, data, as_of=as_of)
    if found is None:
        return f"not measured: {why_unmeasured(bundle, as_of=as_of)}"
    return calibrated.backtest(found).meaning


def newest_mature(bundle: Bundle, data: PointInTime, *, as_of: int) -> Answered | None:
    """The newest mature rows that a champion has not learnt from; None for too few."""
    found = _newest(_mature(bundle, data, as_of=as_of))
    return found if calibrated.is_enough(found) else None


def age_of(bundle: Bundle, data: PointInTime, *, as_of: int) -> Age:
    """Days since the champion's training, and by how much the log has grown."""
    made = moment_of(bundle)
    later = (pl.col("received_at") >= made).sum().alias("later")
    total, since = data.events.select(pl.len(), later).collect().row(0)
    return Age((as_of - made) / DAY_US, since / max(total - since, 1))


def moment_of(bundle: Bundle) -> int:
    """When the champion's training looked at the log, microseconds; the minute it says."""
    told = datetime.strptime(bundle.manifest.as_of, "%Y-%m-%d %H:%M UTC").replace(tzinfo=UTC)
    return round(told.timestamp()) * SECOND_US


def _drift(
    model: str, bundle: Bundle, data: PointInTime, windows: Windows
) -> tuple[Signal, list[drift.Drift]]:
    reference = bundle.manifest.reference
    if reference is None:
        why = "the champion was made without reference statistics; the next retrain has them"
        return unjudged(drift.NAME, model, why), []
    columns = population(model, data, bundle.session, at=windows.as_of)
    if columns is None:
        return unjudged(drift.NAME, model, "nobody to ask about in the newest weeks"), []
    first = data.events.select(pl.col("occurred_at").min()).collect().item()
    log_days = (moment_of(bundle) - first) / DAY_US
    settled = {c: v for c, v in columns.values.items() if is_settled(c, log_days=log_days)}
    found = drift.drifts(reference, settled, columns.units)
    return drift.drift_signal(model, found, filling=len(columns.values) - len(settled)), found


def _calibration(
    model: str, bundle: Bundle, data: PointInTime, windows: Windows
) -> tuple[list[Signal], list[float]]:
    found = _mature(bundle, data, as_of=windows.as_of)
    newest = _newest(found)
    if found is None or newest is None or not calibrated.is_enough(newest):
        why = why_unmeasured(bundle, as_of=windows.as_of)
        return [unjudged(calibrated.NAME, model, why)], []
    return calibrated.calibration_signals(model, newest), calibrated.smoothed(_ratios(found))


def _mature(bundle: Bundle, data: PointInTime, *, as_of: int) -> Answered | None:
    """Rows that the champion has not learnt from and whose labels have matured."""
    span = _span(bundle, as_of=as_of)
    if span is None:
        return None
    name = bundle.spec.name
    return answered(name, data, bundle.session, bundle.manifest, span=span)


def _span(bundle: Bundle, *, as_of: int) -> Span | None:
    manifest = bundle.manifest
    made = moment_of(bundle)
    end = closed_until(manifest.name, manifest, as_of=as_of)
    if manifest.name == "churn":  # one snapshot, whose labels were not all known at training
        return Span(end, end) if as_of > made + DAY_US else None
    begin = max(end - round(COURSE_DAYS * DAY_US), made)
    return Span(begin, end) if begin < end else None


def _newest(found: Answered | None) -> Answered | None:
    if found is None:
        return None
    at = found.spine["at"].to_numpy()
    return found.part(at >= at.max() - round(COHORT_DAYS * DAY_US))


def _ratios(found: Answered) -> list[float]:
    at = found.spine["at"].to_numpy()
    week = (at - at.min()) // (7 * DAY_US)
    ratios = []
    for number in range(int(week.max()) + 1):
        of = week == number
        expected = float(found.p[of].sum())
        ratios.append(float(found.y[of].sum()) / expected if expected > 0 else float("nan"))
    return [float(np.round(ratio, 6)) for ratio in ratios]


def why_unmeasured(bundle: Bundle, *, as_of: int) -> str:
    """Why there is nothing to judge a champion's chances by."""
    manifest = bundle.manifest
    if manifest.name == "send_time" and manifest.basis != "engagement":
        return "it was made without mail: its chances are no counts of engagements"
    if manifest.name == "content_preference" and manifest.basis != "shown":
        return "it orders items and does not say how likely each is"
    if _span(bundle, as_of=as_of) is None:
        return f"no label later than its training ({manifest.as_of}) is mature yet"
    need = f"{calibrated.FEWEST} of either class"
    return f"fewer than {need} among the mature rows since its training"
