"""Laws of unknown clocks: who lives where is found, and a known clock is never put in doubt."""

import numpy as np
import polars as pl
import pytest

from training import clocks
from training.rhythm import Past, Rhythm, fit_rhythm, global_week, log_likelihood

HOUR = np.arange(168) % 24
# An early and a late kind of people, on their own clocks.
KINDS = np.stack([np.exp(-0.5 * ((HOUR - h) / 2.0) ** 2) for h in (7.0, 20.0)]) + 0.02
KINDS /= KINDS.sum(axis=1, keepdims=True)
AHEAD, SHARES = np.array([-8, 1]), np.array([0.25, 0.75])


def people(n: int, seed: int, *, known: float) -> tuple[Past, np.ndarray, np.ndarray, np.ndarray]:
    """Past and later weeks, each as the log would hold them, with the truth and the offsets."""
    rng = np.random.default_rng(seed)
    is_local = rng.random(n) < known
    ahead = rng.choice(AHEAD, n, p=SHARES)
    weeks = KINDS[rng.integers(0, 2, n)]
    seen = [np.roll(w, 0 if own else -a) for w, own, a in zip(weeks, is_local, ahead, strict=True)]
    truth = np.stack(seen)
    past = rng.poisson(truth * rng.gamma(1.0, 12.0, (n, 1)) + 1e-9).astype(float)
    return Past(past, is_local), rng.poisson(truth * 20.0).astype(float), truth, ahead


def fitted(past: Past, later: np.ndarray) -> Rhythm:
    half = np.arange(len(later)) % 2 == 0
    held = (past.part(~half), later[~half])
    shares = np.array([0.5, 0.5])  # what the log's known clocks would say
    return fit_rhythm(past.part(half), held, seed=1, cohorts=(2,), offsets=((-8, 1), shares))


@pytest.fixture(scope="module")
def rhythm() -> Rhythm:
    past, later, _, _ = people(1_600, 1, known=0.6)
    return fitted(past, later)


def test_how_many_live_at_each_offset_is_found_from_their_hours(rhythm):
    assert rhythm.offsets == (-8, 1)
    np.testing.assert_allclose(rhythm.offset_shares, SHARES, atol=0.05)


def test_hours_of_utc_tell_kind_and_offset_together(rhythm):
    past, later, truth, _ = people(1_000, 2, known=0.0)
    some = past.counts.sum(axis=1) >= 5
    found = rhythm.activity(past)[some]
    blind = np.tile(global_week(past.counts), (some.sum(), 1))
    gain = (log_likelihood(found, later[some]) - log_likelihood(blind, later[some])).mean()
    most = (log_likelihood(truth[some], later[some]) - log_likelihood(blind, later[some])).mean()
    assert 0.8 * most < gain < most


def test_a_known_clock_is_never_turned(rhythm):
    """Six in the evening of somebody at home stays the evening, whatever lies eight hours off."""
    past, _, _, _ = people(300, 3, known=1.0)
    k = len(rhythm.shares)
    of_pairs = rhythm.cohorts_of(past)[:, k:]
    assert of_pairs.max() == 0.0
    elsewhere = rhythm.cohorts_of(Past(past.counts, ~past.is_local))
    assert elsewhere[:, :k].max() == 0.0
    np.testing.assert_allclose(elsewhere.sum(axis=1), 1.0)


def test_who_did_nothing_yet_gets_the_cohorts_of_everywhere(rhythm):
    nobody = Past(np.zeros((2, 168)), np.array([True, False]))
    local, utc = rhythm.activity(nobody)
    mixed = sum(
        share * np.roll(local, -ahead)
        for ahead, share in zip(rhythm.offsets, rhythm.offset_shares, strict=True)
    )
    np.testing.assert_allclose(utc, mixed, atol=2e-3)


@pytest.mark.parametrize("known", [0.0, 1.0])
def test_a_sender_who_knows_all_clocks_or_none_has_the_rhythm_of_one_clock(known):
    past, later, _, _ = people(600, 4, known=known)
    asked = fitted(past, later)
    half = np.arange(600) % 2 == 0
    plain = fit_rhythm(
        Past.local(past.counts[half]), (Past.local(past.counts[~half]), later[~half]), seed=1,
        cohorts=(2,),
    )  # fmt: skip
    np.testing.assert_allclose(
        asked.activity(past), plain.activity(Past.local(past.counts)), rtol=1e-9
    )


def test_few_known_clocks_are_not_what_cohorts_are_learnt_from():
    past, later, _, _ = people(400, 5, known=0.1)
    assert fitted(past, later).offsets == clocks.UTC_ONLY


def log(rows: list[tuple[str, int, int | None]]) -> pl.LazyFrame:
    frame = pl.DataFrame(
        rows, schema={"recipient_key": pl.String, "occurred_at": pl.Int64,
                      "utc_offset_min": pl.Int16}, orient="row",
    )  # fmt: skip
    return frame.with_columns(received_at=pl.col("occurred_at") + 5).lazy()


def test_a_clock_is_known_from_the_moment_it_was_told():
    events = log([("a", 10, None), ("a", 20, 60), ("b", 10, None)])
    spine = pl.DataFrame({"recipient_key": ["a", "a", "b", "c"], "at": [25, 26, 99, 99]})
    assert clocks.is_local(events, spine).tolist() == [False, True, False, False]


def test_everybody_counts_once_and_rare_offsets_are_left_out():
    busy = [("a", t, 60) for t in range(50)] + [("a", t, 120) for t in range(50)]
    others = [(f"p{n}", 1, 330) for n in range(100)] + [("far", 1, -480), ("lost", 1, None)]
    offsets, shares = clocks.offsets_of(log(busy + others * 1))
    assert offsets == (5,)  # 0.5 of 102 people at one hour, and one of them at eight behind
    assert shares.tolist() == [1.0]
    offsets, shares = clocks.offsets_of(log(busy + others[:3]))
    assert offsets == (1, 2, 5)
    np.testing.assert_allclose(shares, [0.125, 0.125, 0.75])
    assert clocks.offsets_of(log([("a", 1, None)]))[0] == clocks.UTC_ONLY
