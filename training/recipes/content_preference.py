"""Content preference: which of several candidates this recipient would pick.

Pointwise LightGBM over (recipient, candidate), calibrated on recipients held out. Measured by
probability where the log says what was shown, and by rank among the popular items where it
only says what was chosen; popularity and the person's own decayed interest stand beside it, there
also a ranker fitted on the same rows (`rank_xendcg`) and how items without a history are ordered.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.definitions.content import VIEW as CONTENT
from features.definitions.content import chosen
from features.kinds import DAY, Decayed
from models.report import ALTERNATIVE, Decisions, Report, Row
from models.runtime import Session
from models.specs.content_preference import AFFINITY_INPUTS, RECIPIENT_INPUTS, SPEC
from training import learning_curve, metrics, plots, tested
from training.baselines import base_rate, logistic
from training.choices import Choices, choices
from training.dataset import Rows, fingerprint
from training.decided import item_rows, of_choices
from training.listwise import xendcg_scores
from training.new_items import NewItems, new_items
from training.pointwise import Fitted, Labelled, Leaves, fit_pointwise, require
from training.recipe import Order, Trained, shown_day
from training.tested import Tested

MIN_ROWS, MIN_POSITIVES = 1_000, 50
LEAVES: Final = Leaves(200)
XENDCG: Final = f"{ALTERNATIVE}: rank_xendcg"
WARM_DAYS: Final = 28.0
COLUMN: Final = {name: place for place, name in enumerate(SPEC.inputs)}
POPULARITY: Final = f"content_{Decayed(chosen, 30 * DAY).name}"
CLICK_RATE: Final = "content_" + next(n for n in CONTENT.names if n.startswith("clicked_per"))

Floats = NDArray[np.float64]


def train(order: Order) -> Trained:
    """Train one content-preference candidate; see `recipe.Recipe`."""
    order.need_days(SPEC.name, WARM_DAYS)
    order.step("labels: what was shown and chosen")
    made = choices(order.data, as_of=order.as_of, seed=order.seed)
    spine, y = made.spine, made.spine["y"].to_numpy()
    is_test = spine["is_test"].to_numpy()
    require(SPEC.name, y, is_test, rows=MIN_ROWS, rarer=MIN_POSITIVES)

    order.step("features: joining candidates in Feast")
    affinities = order.data.affinity(spine)
    rows = np.ascontiguousarray(
        np.concatenate(
            [
                order.data.recipient(spine, RECIPIENT_INPUTS),
                affinities,
                order.data.cohort(spine, affinities),
                order.data.content(spine),
            ],
            axis=1,
        )
    )
    nothing = np.zeros(len(y), np.bool_)  # the newest fifth are all for the test
    people = spine["recipient_key"].to_list()
    data = Labelled(rows, y, people, spine["at"].to_numpy(), is_test, nothing, made.kept)
    fitted = fit_pointwise(SPEC, order, data, leaves=LEAVES, starts=True)
    is_shown = made.is_shown
    old = order.champion_answers(made.label, SPEC.outputs[0].name, rows[is_test])
    own = {"LightGBM, calibrated": fitted.p} | {name: p[:, 0] for name, p in old.items()}
    if not is_shown:  # a mail shows one item: there is no order within it to learn
        decision = spine["decision"].to_numpy()
        own[XENDCG] = xendcg_scores(SPEC, data, decision, leaves=LEAVES, seed=order.seed)
    new = _new_items(order, made, fitted)
    table = rows.astype(np.float64)
    found = (
        _by_probability(spine, table, y, is_test, own, kept=made.kept)
        if is_shown
        else _by_rank(spine, table, y, is_test, own)
    )
    curve = learning_curve.of_trees(data, SPEC, seed=order.seed, starts=True)
    report = Report(
        model=SPEC.name,
        as_of=shown_day(order.as_of),
        test=f"{is_test.sum()} candidates in {spine.filter(is_test)['decision'].n_unique()} "
        f"decisions, later than training; {made.label}",
        gain_of="log loss" if is_shown else "NDCG@10",
        row=found.row,
        baselines=found.baselines,
        parity=fitted.exported.parity,
        facts={
            "training rows": f"{(~is_test).sum()}, {y[~is_test].mean():.2%} chosen"
            + (f", the rest {made.kept:.1%} of what was not" if made.kept < 1.0 else ""),
            "trees": str(fitted.model.booster.num_trees()),
            "label": made.label,
            "learning curve": curve.meaning,
            "new items": new.meaning
            if new
            else "not measured: too few were chosen, or the log "
            "says what was shown and no mail shows several",
        }
        | fitted.facts,
        notes=[*_notes(made), *_better(found.alternatives, new)],
        decisions=_decisions(order, made, fitted),
    )
    report = found.complete(report, order.data)
    pictures = {
        "calibration.png": plots.calibration(
            y[is_test], fitted.p, title="content: predicted and observed"
        ),
        "baselines.png": plots.baselines(report, next(iter(found.row.measures))),
        "importance.png": plots.importance(fitted.model.importance()),
        "contributions.png": plots.contributions(fitted.model.contributions(rows[is_test])),
        "learning_curve.png": plots.learning_curve(curve),
    }
    about = {
        "as_of": shown_day(order.as_of),
        "trained_rows": fitted.n_fit,
        "prior": fitted.base_rate,
        "fingerprint": fingerprint(spine, rows, y),
        "label": made.label,
        "basis": "shown" if is_shown else "chosen",
    }
    parameters = {
        "seed": order.seed,
        **fitted.settings,
        "trees": fitted.model.booster.num_trees(),
        "platt_slope": round(fitted.model.platt.slope, 4),
        "platt_intercept": round(fitted.model.platt.intercept, 4),
        "basis": about["basis"],
    }
    return Trained(fitted.exported, report, about, parameters, pictures)


def _by_probability(
    spine: pl.DataFrame,
    rows: Floats,
    y: Floats,
    is_test: NDArray[np.bool_],
    own: Mapping[str, Floats],
    *,
    kept: float,
) -> Tested:
    """What was shown: each method's probability of a click on it."""
    fit = ~is_test

    def alone(name: str) -> Floats:
        column = np.log1p(100 * rows[:, [COLUMN[name]]])
        return logistic(column[fit], y[fit], column[is_test], kept=kept)

    methods = {
        **own,
        "base rate": base_rate(y[fit], int(is_test.sum()), kept=kept),
        "popularity (click rate of the item)": alone(CLICK_RATE),
        "own decayed share of the topics": alone("topic_affinity_share"),
        "own decayed interest in the item": alone("item_affinity"),
    }
    return tested.of_probabilities(y[is_test], methods, spine.filter(is_test))


def _by_rank(
    spine: pl.DataFrame,
    rows: Floats,
    y: Floats,
    is_test: NDArray[np.bool_],
    own: Mapping[str, Floats],
) -> Tested:
    """What was chosen: each method's ranking of all candidates of a decision."""
    part = spine.filter(is_test).select("decision", "recipient_key", "at")
    starts = np.flatnonzero(np.r_[True, np.diff(part["decision"].to_numpy()) != 0])
    groups = np.split(np.arange(len(part)), starts[1:])
    shuffle = np.random.default_rng(0).random(len(part)) * 1e-9  # ties in no one's favour
    table = rows[is_test]
    scores = {
        **own,
        "popularity (decayed choices)": table[:, COLUMN[POPULARITY]],
        "own decayed interest in the item": table[:, COLUMN["item_affinity"]],
        "own decayed share of the topics": table[:, COLUMN["topic_affinity_share"]],
        "own interest in the item, then popularity": table[:, COLUMN["item_affinity"]]
        + 1e-4 * table[:, COLUMN[POPULARITY]],
    }
    gain = y[is_test]
    ranked = {
        name: np.array([metrics.ndcg(gain[g], (score + shuffle)[g]) for g in groups])
        for name, score in scores.items()
    }
    has_choice = np.array([gain[g].sum() > 0 for g in groups])
    ranked = {name: values[has_choice] for name, values in ranked.items()}
    first = starts[has_choice]
    best = np.maximum.reduceat(next(iter(own.values())), starts)[has_choice]
    return tested.of_values({"NDCG@10": ranked}, part[first], score=best)


def _decisions(order: Order, made: Choices, fitted: Fitted) -> Decisions | None:
    if order.champion is None:
        return None
    output = SPEC.outputs[0].name
    rows, people = item_rows(order.data, made.spine.filter("is_test"), seed=order.seed)
    own = Session(fitted.exported.graph, SPEC).run(rows)[output].astype(np.float64)
    mine = own.reshape(len(people), -1)
    for old in order.champion_answers(made.label, output, rows).values():
        return of_choices("first of ten items", mine, old.reshape(mine.shape), people)
    return None


def _new_items(order: Order, made: Choices, fitted: Fitted) -> NewItems | None:
    order.step("measuring items without a history")
    session, output = Session(fitted.exported.graph, SPEC), SPEC.outputs[0].name

    def score(rows: Rows) -> Floats:
        return session.run(rows)[output][:, 0].astype(np.float64)

    return new_items(order.data, made, score, seed=order.seed)


def _better(alternatives: list[Row], new: NewItems | None) -> list[str]:
    """What did better than the model beyond chance, where no gate looks."""
    notes = [
        f"{row.method} orders better than the model, beyond chance: the gain over it is {row.gain}."
        for row in alternatives
        if row.gain is not None and row.gain.high < 0
    ]
    rivals = new.gain.items() if new else ()
    return notes + [
        f"New items are ordered better by {name}, beyond chance: the gain over it is {gain}."
        for name, gain in rivals
        if gain.high < 0
    ]


def _notes(made: Choices) -> list[str]:
    if made.is_shown:
        return ["Learnt from what was shown; what was never shown is judged by its attributes."]
    return [
        "The log does not say what was shown: p_click is the chance of being chosen among "
        "popular and own earlier items, good for ordering candidates and not for counting clicks.",
        f"Affinity inputs: {', '.join(AFFINITY_INPUTS)}.",
    ]
