"""The stability index: below its bound where nothing changed, above it where something did."""

import numpy as np
import pytest

from features.definitions.recipient import VIEW
from features.kinds import DAY, FOREVER, Decayed
from models.reference import deciles, reference_of, shares_between
from training.monitoring.drift import MATTERS, drift_signal, drifts, noise_bound, psi
from training.monitoring.findings import Judgement, Trigger
from training.monitoring.memory import is_settled, memory_days

SEEDS = 700


def test_chance_exceeds_the_bound_as_often_as_it_says():
    rng = np.random.default_rng(1)
    n, m, alpha = 1_000, 600, 0.02
    bound = noise_bound(n, m, bins=10, alpha=alpha)
    found = [
        psi(deciles(rng.normal(size=n), n=n), rng.normal(size=m), n=m) > bound for _ in range(SEEDS)
    ]
    assert 0.008 < np.mean(found) < 0.032  # four standard errors around 0.02


def test_the_folklore_bound_alone_would_cry_wolf_on_small_samples():
    rng = np.random.default_rng(2)
    n = 150
    indices = [psi(deciles(rng.normal(size=n), n=n), rng.normal(size=n), n=n) for _ in range(300)]
    assert np.mean(np.array(indices) > MATTERS) > 0.3
    columns = {"x": rng.normal(size=n)}
    reference = reference_of({"x": rng.normal(size=n)}, {"x": n}, "then")
    assert not any(each.has_drifted for each in drifts(reference, columns, {"x": n}))


@pytest.mark.parametrize(
    "changed",
    [lambda x: x + 0.6, lambda x: x * 2.5, lambda x: np.where(np.arange(len(x)) % 4, x, np.nan)],
    ids=["moved", "widened", "missing"],
)
def test_what_moves_widens_or_goes_missing_has_drifted(changed):
    rng = np.random.default_rng(3)
    then = {"a": rng.normal(size=2_000), "b": rng.normal(size=2_000)}
    now = {"a": rng.normal(size=2_000), "b": changed(rng.normal(size=2_000))}
    units = dict.fromkeys(then, 2_000)
    found = drifts(reference_of(then, units, "then"), now, units)
    assert [each.column for each in found if each.has_drifted] == ["b"]
    signal = drift_signal("churn", found)
    assert signal.judgement is Judgement.ALARM
    assert signal.asks is Trigger.DRIFT
    assert "b " in signal.said


def test_few_units_behind_many_rows_prove_nothing():
    rng = np.random.default_rng(4)
    then, now = rng.normal(size=5_000), rng.normal(0.5, size=5_000)
    for units, drifted in ((5_000, True), (15, False)):
        reference = reference_of({"x": then}, {"x": units}, "then")
        (found,) = drifts(reference, {"x": now}, {"x": units})
        assert found.has_drifted is drifted


def test_repeated_values_share_a_bin_and_shares_add_up_to_one():
    values = np.array([0.0] * 80 + [1.0] * 15 + [np.nan] * 5)
    made = deciles(values, n=100)
    assert made.edges == (0.0, 1.0)
    assert made.shares == (0.8, 0.15, 0.0, 0.05)
    assert sum(shares_between(made.edges, np.arange(7.0))) == pytest.approx(1)
    assert psi(made, values, n=100) == 0
    assert deciles(np.array([]), n=0).shares == (0.0, 0.0)


def test_a_float32_input_falls_between_its_own_deciles():
    values = np.float32(np.random.default_rng(5).gamma(1, size=999)).astype(np.float64)
    shares = deciles(values, n=999).shares[:-1]
    assert max(shares) < 0.11
    assert min(shares) > 0.09


def test_inputs_that_fill_with_a_young_log_are_not_asked():
    by_name = {feature.name: feature for feature in VIEW.features}
    assert memory_days(by_name["delivered_hl90d"]) == 90
    assert memory_days(by_name["days_since_first_active"]) == float("inf")
    assert is_settled("delivered_hl7d", log_days=60)
    assert not is_settled("delivered_hl90d", log_days=210)
    assert is_settled("delivered_hl90d", log_days=600)
    assert not is_settled("content_days_since_first_present", log_days=5_000)
    assert is_settled("score", log_days=0)
    never = [f for f in VIEW.features if isinstance(f, Decayed) and f.half_life == FOREVER]
    assert never
    assert not any(is_settled(feature.name, log_days=9_000) for feature in never)
    assert min(f.half_life for f in VIEW.features if isinstance(f, Decayed)) < DAY
