"""What the pointwise models share: search, fit trees, calibrate, export, prove, score the test.

A fifth of the recipients is held out of the fit: they stop it and calibrate it. The test rows
are later than both and are scored by the exported graph.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import log
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.runtime import Session
from models.spec import ModelSpec
from training.baselines import rate_of
from training.calibration import Platt, fit_bent
from training.curve import START, Curve, fit_curve
from training.errors import TooFewRowsError
from training.export import Exported, prove
from training.graphs import trees_graph
from training.recipe import Order
from training.search import LEAF, Found, Past, search
from training.splits import held_out
from training.trees import CalibratedTrees, fit_trees, raw_score

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
MIN_RECENT: Final = 25  # of the rarer class, to fit a calibration on
Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Labelled:
    """Inputs (n, n_inputs), labels, recipients and which rows are the test, all in one order.

    Args:
        at: When each row stands (microseconds), shape (n,).
        is_recent: Rows as new as the test's, of recipients nobody trains on: what the calibration
            is fitted on where there are any, because base rates move.
        kept: Share of the negatives that the training rows hold, over that of the positives; put
            right in the intercept.
    """

    rows: Rows
    y: Floats
    recipients: Sequence[str]
    at: NDArray[np.int64]
    is_test: NDArray[np.bool_]
    is_recent: NDArray[np.bool_]
    kept: float = 1.0

    @property
    def people_of_test(self) -> list[str]:
        """The recipients of the test rows."""
        return [key for key, test in zip(self.recipients, self.is_test, strict=True) if test]


class Leaves(NamedTuple):
    """How small a leaf may be: about so many of them, of 20 rows to `largest`."""

    about: int
    largest: int = 200

    def rows_of(self, n: int) -> int:
        """The least rows of a leaf for `n` training rows."""
        return int(np.clip(n / self.about, 20, self.largest))


@dataclass(frozen=True, slots=True)
class Fitted:
    """A proven model, its answers for the test rows, and what it was fitted on.

    Args:
        p: Of the exported graph by the calibration of `measured`, shape (n_test,): the labels of
            the test are not in them.
        p_before: The same calibrated on older rows only.
        measured: Fitted on recent rows of those set apart. What is exported is calibrated on the
            test's rows as well, where there are such rows.
        settings: What the trees were fitted with in place of the usual.
        searched: What a search for settings found, in words; empty where none was asked for.
    """

    model: CalibratedTrees
    exported: Exported
    p: Floats
    p_before: Floats
    measured: Platt
    n_fit: int
    base_rate: float
    settings: Mapping[str, Any]
    searched: str

    @property
    def facts(self) -> dict[str, str]:
        """What a report says of the search."""
        return {"search for settings": self.searched} if self.searched else {}

    @property
    def calibrations(self) -> dict[str, dict[str, Any]]:
        """What a manifest says of the two; empty where they are one."""
        if self.measured == self.model.platt:
            return {}
        both = {"exported": self.model.platt, "measured": self.measured}
        return {name: asdict(platt) for name, platt in both.items()}


def require(name: str, y: Floats, is_test: NDArray[np.bool_], *, rows: int, rarer: int) -> None:
    """Refuse data that cannot be fitted and measured.

    Raises:
        TooFewRowsError: Training or test have fewer than `rows` rows, or than `rarer` of a class.
    """
    for part, what in ((~is_test, "training rows"), (is_test, "test rows")):
        n, found = int(part.sum()), int(min(y[part].sum(), (1 - y[part]).sum()))
        if n < rows:
            raise TooFewRowsError(name, rows=n, need=rows, what=what)
        if found < rarer:
            short = f"of the rarer class among {n} {what}"
            raise TooFewRowsError(name, rows=found, need=rarer, what=short)


def fit_pointwise(
    spec: ModelSpec,
    order: Order,
    data: Labelled,
    *,
    leaves: Leaves,
    starts: bool = False,
    beside: Mapping[str, Curve] | None = None,
) -> Fitted:
    """Fit, calibrate, export and prove one model, after a search for settings if one is ordered.

    Args:
        leaves: How small a leaf may be.
        starts: Whether the trees are added to a logistic curve of all inputs (decision 0039).
        beside: Curves for the spec's outputs after the first, exported in the same graph.

    Raises:
        ParityError: The exported graph and the estimator disagree.
    """
    held = apart(spec, data.recipients)
    is_older = ~data.is_test & ~data.is_recent
    fit, stop = is_older & ~held, is_older & held
    start = started(data.rows[fit], data.y[fit]) if starts else None
    found = _settings(spec, order, data, fit, leaf=leaves.rows_of(int(fit.sum())), start=start)
    order.step("fitting trees")
    booster = fit_trees(
        (data.rows[fit], data.y[fit]),
        (data.rows[stop], data.y[stop]),
        inputs=spec.inputs,
        seed=order.seed,
        start=start,
        **found.settings,
    )
    older = fit_bent(raw_score(booster, data.rows[stop], start=start), data.y[stop])
    measured = shipped = older
    newest = fit
    if data.is_recent.any():
        newest = data.is_recent | data.is_test
        raw = raw_score(booster, data.rows[newest], start=start)
        is_apart = data.is_recent[newest]
        measured = fit_bent(raw[is_apart], data.y[newest][is_apart])
        shipped = fit_bent(raw, data.y[newest])
    older, measured, shipped = (_shifted(platt, data.kept) for platt in (older, measured, shipped))
    model = CalibratedTrees(booster, shipped, spec.inputs, start)
    output = spec.outputs[0].name

    order.step("export: proving the graph")
    answers = {output: model.predict} | {n: c.predict for n, c in (beside or {}).items()}
    exported = prove(
        spec,
        trees_graph(model, spec, beside=beside),
        lambda part: {n: f(part).astype(np.float32)[:, None] for n, f in answers.items()},
        data.rows,
        thresholds=model.thresholds(),
    )
    order.step("measuring the exported graph")
    scored = Session(exported.graph, spec).run(np.ascontiguousarray(data.rows[data.is_test]))
    raw = shipped.raw_of(scored[output][:, 0].astype(np.float64))
    return Fitted(
        model,
        exported,
        measured.apply(raw),
        older.apply(raw),
        measured,
        int(fit.sum()),
        float(np.round(rate_of(data.y[newest], data.kept), 6)),
        found.settings,
        found.meaning,
    )


def _shifted(platt: Platt, kept: float) -> Platt:
    """The same where only a share of the negatives was kept."""
    return replace(platt, intercept=platt.intercept + log(kept))


def started(rows: Rows, y: Floats) -> Curve:
    """What trees are added to: a logistic curve of all inputs."""
    return fit_curve(np.arange(rows.shape[1]), rows, y, strength=START)


def _settings(
    spec: ModelSpec,
    order: Order,
    data: Labelled,
    fit: Flags,
    *,
    leaf: int,
    start: Curve | None,
) -> Found:
    """The leaf that the rows allow, and what a search over the rows that train puts beside it."""
    usual = {LEAF: leaf}
    if not order.search.is_set:
        return Found(usual, "")
    order.step("searching settings")
    people = [data.recipients[row] for row in np.flatnonzero(fit).tolist()]
    past = Past(data.rows[fit], data.y[fit], people, data.at[fit], start)
    found = search(past, order.search, inputs=spec.inputs, leaf=leaf, seed=order.seed)
    return Found({**usual, **found.settings}, found.meaning)


def apart(spec: ModelSpec, recipients: Sequence[str]) -> NDArray[np.bool_]:
    """The fifth of recipients that nobody trains on, the same ones every time; shape (n,)."""
    return held_out(recipients, share=0.2, salt=spec.name)


def recent_of(spec: ModelSpec, recipients: Sequence[str], y: Floats, is_newest: Flags) -> Flags:
    """The newest rows to calibrate on; none where they are too few for two numbers."""
    recent = is_newest & apart(spec, recipients)
    rarer = min(y[recent].sum(), (1 - y[recent]).sum())
    return recent if rarer >= MIN_RECENT else np.zeros(len(y), np.bool_)
