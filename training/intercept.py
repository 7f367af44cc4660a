"""A champion with its intercept fitted anew: the smallest change that answers a shifted base rate.

Base rates move more than shapes do, and a retrain is not needed to follow them. The champion's
own graph is kept; behind its chances stands one constant more. What it would have done is
measured across: the constant of one half of the recipients on the other half, and back. What is
exported is that of all. It is a candidate like any other, and the gates judge it as a refresh.

Source: recalibration in the large (Steyerberg 2009, chapter 20).
Failure mode: the order of the chances is the champion's; what makes it worse is not mended.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.bundle import GRAPH, Bundle
from models.report import Decisions, Report
from training import clusters, plots, tested
from training.decided import ITEMS, of_bands, of_choices, of_hours
from training.errors import TooFewRowsError
from training.export import prove
from training.graphs import shifted_chances, shifted_graph
from training.monitoring.calibrated import FEWEST
from training.monitoring.champions import newest_mature, why_unmeasured
from training.monitoring.labelled import Answered
from training.recipe import Order, Trained, shown_day
from training.splits import held_out

MOVED: Final[Mapping[str, tuple[str, ...]]] = {
    "send_time": ("p_engage", "p_low", "p_high"),
    "churn": ("p_churn",),
    "content_preference": ("p_click",),
}
Floats = NDArray[np.float64]
Rows = NDArray[np.float32]


def refit_intercept(order: Order, name: str) -> Trained:
    """The candidate that is the order's champion but for its intercept.

    Raises:
        TooFewRowsError: There is no champion, or too few labels later than its training.
        ParityError: The new graph is not the old one moved by a constant.
    """
    sitting = order.champion
    if sitting is None:
        raise TooFewRowsError(name, rows=0, need=1, what="champions to fit the intercept of")
    bundle = sitting.bundle
    found = newest_mature(bundle, order.data, as_of=order.as_of)
    if found is None:
        what = f"mature rows of each class ({why_unmeasured(bundle, as_of=order.as_of)})"
        raise TooFewRowsError(name, rows=0, need=FEWEST, what=what)
    order.step("fitting the intercept")
    by = _shift(found)
    across = _across(found)
    order.step("export: proving the graph")
    moved = MOVED[name]

    def native(rows: Rows) -> dict[str, Rows]:
        answers = dict(bundle.session.run(rows))
        return answers | {output: shifted_chances(answers[output], by=by) for output in moved}

    graph = shifted_graph((bundle.folder / GRAPH).read_bytes(), moved, by=by)
    exported = prove(bundle.spec, graph, native, found.rows)
    methods = {
        "champion, intercept fitted anew": across,
        sitting.method: found.p,
        "base rate": np.full(len(found.y), found.y.mean()),
    }
    measured = tested.of_probabilities(found.y, methods, found.spine)
    report = Report(
        model=name,
        as_of=shown_day(order.as_of),
        test=f"{len(found.y)} mature rows since the champion's training, each by the intercept of "
        "the other half of the recipients",
        gain_of="log loss",
        row=measured.row,
        baselines=measured.baselines,
        parity=exported.parity,
        facts={"intercept": f"{by:+.3f} log odds on that of {sitting.method}"},
        decisions=_decisions(name, found, native(found.rows), bundle.session.run(found.rows)),
        notes=[
            "The order of the chances is the champion's; the base rate is known with hindsight."
        ],
    )
    pictures = {
        "calibration.png": plots.calibration(
            found.y, across, title=f"{name}: predicted and observed"
        )
    }
    return Trained(
        exported,
        measured.complete(report, order.data),
        _about(bundle, order, by=by),
        {"intercept": round(by, 4), "seed": order.seed},
        pictures,
    )


def _shift(found: Answered) -> float:
    return clusters.calibration(found.y, found.p, found.people).shift.value


def _across(found: Answered) -> Floats:
    """Chances of each half of the recipients, moved by what the other half asks for."""
    half = held_out(found.people, share=0.5, salt="intercept")
    p = found.p.astype(np.float32)
    for of in (half, ~half):
        p[of] = shifted_chances(found.p[of].astype(np.float32), by=_shift(found.part(~of)))
    return p.astype(np.float64)


def _decisions(
    name: str, found: Answered, own: Mapping[str, Rows], old: Mapping[str, Rows]
) -> Decisions:
    """What the constant changes: bands of risk may, an order of hours or items cannot."""
    output = MOVED[name][0]
    mine, other = (answers[output].astype(np.float64) for answers in (own, old))
    if name == "churn":
        return of_bands(mine[:, 0], other[:, 0], found.people)
    if name == "send_time":
        return of_hours(mine, other, found.people)
    n = len(mine) // ITEMS * ITEMS
    tens, others = (chances[:n].reshape(-1, ITEMS) for chances in (mine, other))
    return of_choices("first of ten rows", tens, others, found.people[:n:ITEMS])


def _about(bundle: Bundle, order: Order, *, by: float) -> dict[str, Any]:
    """The champion's manifest at the new moment; its calibrations move along."""
    kept = bundle.manifest.model_dump(
        include={"trained_rows", "fingerprint", "label", "horizon_days", "prior", "typical",
                 "default_hour", "default_hour_utc", "basis", "n_erasures"}
    )  # fmt: skip
    fitted = bundle.manifest.calibrations
    moved = {}
    if fitted:
        exported = fitted["exported"]
        moved = {
            "exported": exported.model_copy(update={"intercept": exported.intercept + by}),
            "measured": exported,
        }
    return kept | {"as_of": shown_day(order.as_of), "calibrations": moved}
