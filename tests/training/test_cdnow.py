"""CDNOW: BG/NBD gives the numbers of its paper, and the churn model is not worse than it."""

import numpy as np
import pytest

from tests.training.cdnow import (
    PAPER,
    PAPER_LOG_LIKELIHOOD,
    SPLIT_AT,
    WEEKS,
    folds_of,
    foretold,
    past_of,
    purchases,
)

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def bought(shared_data):
    return purchases(shared_data / "cdnow")


def test_the_papers_numbers_come_out_of_the_papers_data(bought):
    past = past_of(bought)
    assert len(past.people) == 2_357
    found = past.fit()
    for name in ("r", "alpha", "a", "b"):
        assert getattr(found, name) == pytest.approx(getattr(PAPER, name), abs=0.001)
    assert past.log_likelihood(found) == pytest.approx(PAPER_LOG_LIKELIHOOD, abs=0.05)
    assert past.log_likelihood(found) >= past.log_likelihood(PAPER)

    back = {event.recipient_key for event in bought if event.occurred_at >= SPLIT_AT}
    is_silent = np.array([key not in back for key in past.people])
    p_silent = found.p_silent(WEEKS, past.repeats, past.newest, past.age)
    assert p_silent.mean() == pytest.approx(is_silent.mean(), abs=0.03)
    order = np.argsort(p_silent)
    assert is_silent[order[:500]].mean() < 0.4
    assert is_silent[order[-500:]].mean() > 0.8


def test_the_exported_churn_model_is_not_worse_than_bgnbd(bought, tmp_path):
    model, others = foretold(bought, tmp_path)
    gain = {row.method: row.gain for row in others}
    assert gain["BG/NBD"].low > 0  # log loss saved, paired, over whole people
    assert gain["BG/NBD, calibrated"].low > 0
    assert gain["logistic RFM"].high > 0  # a tie
    assert model.measures["AUC"].value >= 0.76
    assert model.measures["log loss"].value <= 0.490
    assert model.measures["ECE"].value <= 0.03


def test_everybody_is_foretold_once_by_a_model_that_did_not_see_them():
    people = [f"p{n}" for n in range(500)]
    folds = folds_of(people)
    assert np.array_equal(np.sum(folds, axis=0), np.ones(500))
    assert min(fold.sum() for fold in folds) > 60
    shuffled = folds_of(people[::-1])
    assert all(np.array_equal(a, b[::-1]) for a, b in zip(folds, shuffled, strict=True))
