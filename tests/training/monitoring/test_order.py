"""Laws of the order of items: judged by drawn first places, each as if any item alike."""

import numpy as np
import polars as pl
import pytest

from training.monitoring import order
from training.monitoring.findings import Judgement

FINE, ALARM = Judgement.FINE, Judgement.ALARM


def drawn_items(seed, *, worth, n=40_000, n_items=6, epsilon=0.1):
    """Mails whose first item was drawn evenly; the clicked ones are those the scores like best.

    Args:
        worth: How much of the order is told by the scores; below zero they tell the opposite.
    """
    rng = np.random.default_rng(seed)
    scores = np.round(rng.random((n, n_items)), 6)
    shown = rng.integers(0, n_items, n)
    own = scores[np.arange(n), shown]
    is_best = own == scores.max(axis=1)
    clicked = rng.random(n) < np.clip(0.05 + worth * (own - 0.5) * 0.08, 0, 1)
    front = [
        [row[s], *np.sort(np.delete(row, s))[::-1]] for row, s in zip(scores, shown, strict=True)
    ]
    return pl.DataFrame({
        "recipient_key": [f"r{i}" for i in rng.integers(0, n // 4, n)],
        "arm": "personal", "delivered": True, "is_settled": True, "explored": True,
        "clicked": clicked, "p_click": front, "candidates": [list("abcdef")] * n,
        "propensity": epsilon / n_items + (1 - epsilon) * is_best,
    })  # fmt: skip


def ideal_lift(rows):
    """The same by a loop, over all items alike, as the draw was even."""
    told = rows.filter("clicked")
    ranks = [1 + sum(p > row[0] for p in row) for row in told["p_click"].to_list()]
    even = np.mean([1 / np.log2(1 + r) for r in range(1, 7)])
    return np.mean([1 / np.log2(1 + r) for r in ranks]) - even


def test_the_order_of_items_is_judged_by_drawn_places_alone():
    for worth, judgement in ((1.0, FINE), (0.0, FINE), (-1.0, ALARM)):
        rows = drawn_items(1, worth=worth)
        usual = rows.with_columns(explored=False, clicked=True)  # what was chosen says nothing
        found = order.order_signal(pl.concat([rows, usual]), epsilon=0.1)
        assert found.judgement is judgement, worth
        assert found.value == pytest.approx(ideal_lift(rows), abs=1e-9)
    lifts = [order.order_signal(drawn_items(s, worth=0.0, n=4_000), epsilon=0.1) for s in range(20)]
    assert {one.judgement for one in lifts} == {FINE}
    assert np.mean([one.value for one in lifts]) == pytest.approx(0.0, abs=0.01)
    for few in (drawn_items(1, worth=1.0, n=200), drawn_items(1, worth=1.0).clear()):
        assert order.order_signal(few, epsilon=0.1).judgement is Judgement.UNJUDGED


def test_a_cold_item_that_is_drawn_more_often_weighs_no_more():
    """Half the draws go to one item that the scores like least; nobody clicks by the scores."""
    rng = np.random.default_rng(4)
    n = 60_000
    is_cold = rng.random(n) < 0.5
    p_click = [[0.1, 0.9, 0.5] if cold else [0.9, 0.5, 0.1] for cold in is_cold]
    rows = pl.DataFrame({
        "recipient_key": [f"r{i}" for i in range(n)],
        "arm": "personal", "delivered": True, "is_settled": True, "explored": True,
        "clicked": rng.random(n) < 0.05, "p_click": p_click, "candidates": [list("abc")] * n,
        "propensity": np.where(is_cold, 0.1 * 0.75, 0.1 * 0.25 + 0.9),
    })  # fmt: skip
    gains = {True: 1 / np.log2(1 + 3), False: 1.0}
    even = np.mean([1 / np.log2(1 + r) for r in (1, 2, 3)])
    expected = (gains[True] / 0.75 + gains[False] / 0.25) / (1 / 0.75 + 1 / 0.25) - even
    assert order.order_signal(rows, epsilon=0.1).value == pytest.approx(expected, abs=0.01)
