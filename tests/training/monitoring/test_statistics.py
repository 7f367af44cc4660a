"""Laws of the monitor's statistics: silent under their own chance, loud where it is broken."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from features.events.schema import DAY_US, HOUR_US
from training.monitoring import answers, arms, calibrated, drawn, exploring
from training.monitoring.findings import Judgement, Signal, Trigger
from training.monitoring.labelled import Answered
from training.monitoring.ratio import ALPHA_EVER, is_refuted
from training.monitoring.steps import step_of
from training.monitoring.triggers import Age, Limits, due_of
from training.monitoring.windows import Windows

NOW = 20_400 * DAY_US
WINDOWS = Windows(NOW)
FINE, ALARM, NOTICE = Judgement.FINE, Judgement.ALARM, Judgement.NOTICE


def people(n):
    return [f"r{i:05}" for i in range(n)]


def decisions(seed=0, n=3_000, *, epsilon=0.05, drawn=None, holdout=0.05, shown=4):
    """A log of an epsilon-greedy service; `drawn` is what it really explores with."""
    rng = np.random.default_rng(seed)
    drawn = epsilon if drawn is None else drawn
    number = rng.integers(0, n // 2, n)
    is_held = np.random.default_rng(seed + 1).random(n)[number] < holdout
    explored = (rng.random(n) < drawn) & ~is_held
    best = explored & (rng.random(n) < 1 / shown) | ~explored
    p = np.where(best, 1 - epsilon + epsilon / shown, epsilon / shown)
    p = np.where(is_held, 1.0, p)
    return pl.DataFrame({
        "decision_id": people(n),
        "recipient_key": [f"p{i}" for i in number],
        "at": NOW - 1 - (rng.random(n) * 13 * 7 * DAY_US).astype(np.int64),
        "best_at": (NOW + rng.integers(0, 24, n) * HOUR_US) // 1_000_000,
        "arm": np.where(is_held, "holdout", "personal"),
        "propensity_hour": p,
        "propensity": p,
        "candidates": [["a", "b", "c", "d"][:shown]] * n,
        "fallback": np.where(rng.random(n) < 0.03, "no_evidence", "none"),
    })  # fmt: skip


@pytest.mark.parametrize("k", [5, 13])
def test_quiet_numbers_step_as_often_as_alpha_says(k):
    rng = np.random.default_rng(k)
    steps = [step_of(list(rng.normal(size=k)), alpha=0.05) for _ in range(1_000)]
    broken = np.mean([step.is_up or step.is_down for step in steps])
    assert 0.03 < broken < 0.07


def test_a_step_has_to_be_sure_and_to_matter():
    before = [0.50, 0.51, 0.49, 0.50, 0.51]
    assert step_of([*before, 0.9], alpha=0.001).is_up
    assert step_of([*before, 0.1], alpha=0.001).is_down
    tiny = [0.500, 0.5001, 0.4999, 0.5, 0.5001, 0.51]
    assert step_of(tiny, alpha=0.05).is_up
    assert not step_of(tiny, least=0.03, alpha=0.05).is_up
    assert not step_of([*before, 0.9], error=0.2, alpha=0.001).is_up
    assert step_of([float("nan")] * 3 + before[:3], alpha=0.05) is None


def test_looking_every_week_does_not_refute_a_share_that_holds():
    rng = np.random.default_rng(6)
    ever = 0
    for _ in range(2_000):
        hits = np.cumsum(rng.binomial(100, 0.05, 12))
        ever += any(is_refuted(int(h), 100 * (i + 1), share=0.05) for i, h in enumerate(hits))
    assert ever <= 2_000 * ALPHA_EVER * 3


def test_a_share_that_does_not_hold_is_refuted():
    rng = np.random.default_rng(7)
    found = [is_refuted(int(rng.binomial(3_000, 0.08)), 3_000, share=0.05) for _ in range(100)]
    assert np.mean(found) > 0.95
    assert is_refuted(1, 1_000, share=0.0)
    assert not is_refuted(0, 1_000, share=0.0)


def test_the_holdout_is_counted_by_recipient_and_its_size_judged():
    made = decisions(n=6_000)
    signals = arms.mismatch_signals(made, made.with_columns(delivered=True), share=0.05)
    assert [signal.judgement for signal in signals] == [FINE] * 3
    # Delivery fails for the holdout alone: those decided on are as meant, those reached are not.
    reached = made.with_columns(delivered=pl.col("arm") == "personal")
    signals = {s.subject: s for s in arms.mismatch_signals(made, reached, share=0.05)}
    assert signals["decided"].judgement is FINE
    assert signals["delivered"].judgement is ALARM
    assert arms.mismatch_signals(made, reached, share=0.10)[0].judgement is ALARM
    torn = made.with_columns(arm=pl.Series(["holdout", "personal"] * 3_000))
    assert arms.mismatch_signals(torn, torn.clear(), share=0.5)[-1].judgement is NOTICE


def answers_of(seed, *, p_held, p_others, per_person=1, n=1_200):
    """Mails of people who always do the same; a third of them held out."""
    rng = np.random.default_rng(seed)
    is_held = np.arange(n) % 3 == 0
    engaged = rng.random(n) < np.where(is_held, p_held, p_others)
    rows = np.repeat(np.arange(n), per_person)
    return pl.DataFrame({
        "recipient_key": [f"r{i}" for i in rows],
        "arm": np.where(is_held, "holdout", "personal")[rows],
        "engaged": engaged[rows],
        "delivered": True,
    })  # fmt: skip


def test_the_lift_covers_the_truth_and_mails_of_one_person_count_once():
    covered = [
        lift.low <= 0.2 <= lift.high
        for lift in (
            arms.lift_of(answers_of(s, p_held=0.2, p_others=0.24, n=600)) for s in range(30)
        )
    ]
    assert np.mean(covered) > 0.80
    once = arms.lift_of(answers_of(1, p_held=0.2, p_others=0.24))
    often = arms.lift_of(answers_of(1, p_held=0.2, p_others=0.24, per_person=20))
    assert often.value == pytest.approx(once.value)
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.01)


def test_a_sure_loss_is_an_alarm_and_two_months_without_gain_a_notice():
    loss = answers_of(2, p_held=0.3, p_others=0.1)
    even = answers_of(5, p_held=0.2, p_others=0.2)
    assert arms.lift_of(even).low < 0 < arms.lift_of(even).high
    gain = answers_of(4, p_held=0.2, p_others=0.35)
    assert arms.lift_signal(loss, even).judgement is ALARM
    assert arms.lift_signal(even, even).judgement is NOTICE
    assert arms.lift_signal(even, gain).judgement is FINE
    assert arms.lift_signal(gain, even).judgement is FINE
    assert arms.lift_signal(even.head(9), even).judgement is Judgement.UNJUDGED
    assert arms.lift_signal(even.clear(), even).judgement is Judgement.UNJUDGED


@pytest.mark.parametrize("p", [0.0, 0.001, 1.2, float("nan"), None])
def test_one_chance_below_the_floor_is_an_incident(p):
    made = decisions(holdout=0.0)
    settings = {"epsilon": 0.05, "epsilon_hour": 0.05}
    assert [s.judgement for s in exploring.floor_signals(made, **settings)] == [FINE, FINE]
    bad = pl.concat([made[:-1], made[-1:].with_columns(pl.lit(p, pl.Float64).alias("propensity"))])
    hour, item = exploring.floor_signals(bad, **settings)
    assert (hour.judgement, item.judgement) == (FINE, ALARM)
    assert item.value == 1
    dry = made.with_columns(propensity=1.0)  # a dry run draws nothing
    assert exploring.floor_signals(dry, **settings)[1].judgement is FINE


def test_exploring_is_held_to_the_chances_that_were_logged():
    quiet = [exploring.draw_signals(decisions(seed))[1].judgement for seed in range(12)]
    assert quiet == [FINE] * 12
    for share in (0.0, 0.15):
        assert exploring.draw_signals(decisions(drawn=share))[1].judgement is ALARM
    assert exploring.draw_signals(decisions(epsilon=0.0))[1].judgement is Judgement.UNJUDGED


def test_everybody_at_one_hour_has_no_entropy():
    made = decisions(n=6_000)
    assert exploring.entropy_signal(made, WINDOWS).judgement is FINE
    at_one = pl.when(pl.col("at") >= WINDOWS.newest).then(NOW // 1_000_000).otherwise("best_at")
    stuck = exploring.entropy_signal(made.with_columns(best_at=at_one), WINDOWS)
    assert stuck.judgement is ALARM
    assert stuck.value == 0


def explored_answers(seed, *, chosen=0.10, by_draw=0.08, n=6_000, epsilon=0.1):
    """What became of mails of which some were drawn; people get several."""
    rng = np.random.default_rng(seed)
    is_drawn = rng.random(n) < epsilon
    hits = rng.random(n) < np.where(is_drawn, by_draw, chosen)
    return pl.DataFrame({
        "recipient_key": [f"r{i}" for i in rng.integers(0, n // 4, n)],
        "arm": "personal", "delivered": True, "is_settled": True,
        "propensity_hour": 0.9, "explored_hour": is_drawn, "engaged": hits,
        "explored": is_drawn, "clicked": hits, "candidates": [["a", "b"]] * n,
    })  # fmt: skip


def test_what_choosing_is_worth_over_drawing_covers_the_truth():
    found = [drawn.drawn_signals(explored_answers(seed)) for seed in range(12)]
    assert np.mean([hour.value for hour, _ in found]) == pytest.approx(0.25, abs=0.12)
    assert {one.judgement for both in found for one in both} == {FINE}
    held = explored_answers(0).with_columns(arm=pl.lit("holdout"))
    told = drawn.drawn_signals(pl.concat([explored_answers(1), held]))
    assert [one.said for one in told] == [one.said for one in found[1]]  # the holdout draws nothing


def test_a_choice_that_is_as_good_as_a_draw_is_no_alarm_and_one_that_is_worse_is():
    even = [drawn.drawn_signals(explored_answers(s, by_draw=0.10)) for s in range(20)]
    assert {one.judgement for both in even for one in both} == {FINE}
    hour, item = drawn.drawn_signals(explored_answers(0, chosen=0.05, by_draw=0.10, n=20_000))
    assert hour.judgement is item.judgement is ALARM
    few = drawn.drawn_signals(explored_answers(0).head(200))
    none = drawn.drawn_signals(explored_answers(0).clear())
    assert {one.judgement for one in few + none} == {Judgement.UNJUDGED}


def test_a_first_place_that_only_few_items_get_is_an_alarm():
    rng = np.random.default_rng(3)
    made = decisions(n=6_000)
    items = [f"item-{i}" for i in range(20)]
    made = made.with_columns(
        candidates=pl.Series([items] * len(made)), variant=pl.Series(rng.choice(items, len(made)))
    )
    usual = exploring.coverage_signal(made, WINDOWS)
    assert (usual.judgement, usual.value) == (FINE, 1.0)
    is_new = pl.col("at") >= WINDOWS.newest
    one = made.with_columns(variant=pl.when(is_new).then(pl.lit("item-0")).otherwise("variant"))
    assert exploring.coverage_signal(one, WINDOWS).judgement is ALARM
    assert exploring.coverage_signal(made.head(50), WINDOWS).judgement is Judgement.UNJUDGED


def test_a_reason_that_grows_is_an_alarm_and_one_that_is_new_too():
    made = decisions(n=6_000)
    shares = answers.fallback_shares(made, WINDOWS)
    assert [s.judgement for s in answers.fallback_signals(shares, WINDOWS)] == [FINE]
    is_new = (pl.col("at") >= WINDOWS.newest) & (pl.int_range(pl.len()) % 4 == 0)
    late = made.with_columns(
        fallback=pl.when(is_new).then(pl.lit("deadline")).otherwise("fallback")
    )
    found = answers.fallback_signals(answers.fallback_shares(late, WINDOWS), WINDOWS)
    assert {s.subject for s in found if s.judgement is ALARM} == {"deadline"}
    none = answers.fallback_signals(answers.fallback_shares(made.clear(), WINDOWS), WINDOWS)
    assert none[0].judgement is Judgement.UNJUDGED


def test_freshness_of_the_log_and_of_the_store():
    def judgements(age_h, *, silence_h=1, unfolded_h=None):
        unfolded = None if unfolded_h is None else NOW - unfolded_h * HOUR_US
        found = answers.freshness_signals(
            NOW - age_h * HOUR_US, as_of=NOW, longest_silence_us=silence_h * HOUR_US,
            unfolded_at=unfolded,
        )  # fmt: skip
        return [signal.judgement for signal in found]

    assert judgements(10) == [FINE, FINE]
    assert judgements(60) == [ALARM, FINE]
    assert judgements(60, silence_h=40) == [FINE, FINE]  # it is often silent for so long
    assert judgements(1, unfolded_h=2) == [FINE, ALARM]
    empty = answers.freshness_signals(None, as_of=NOW, longest_silence_us=0, unfolded_at=None)
    assert empty[0].judgement is Judgement.UNJUDGED


def mature(seed=0, *, shift=0.0, slope=1.0, n=12_000, noise=0.0, days=12):
    """Labels of chances whose log odds are off by a shift and a slope, with good and bad days."""
    rng = np.random.default_rng(seed)
    z = rng.normal(-2, 1, n)
    day = rng.integers(0, days, n)
    truth = slope * z + shift + rng.normal(0, noise, days)[day]
    y = (rng.random(n) < 1 / (1 + np.exp(-truth))).astype(float)
    spine = pl.DataFrame({"recipient_key": [f"r{i % 4_000}" for i in range(n)], "at": day * DAY_US})
    return Answered(spine, y, 1 / (1 + np.exp(-z)), np.zeros((n, 1), np.float32))


def judgements_of(found):
    return {s.name: s.judgement for s in calibrated.calibration_signals("churn", found)}


def test_calibration_that_holds_is_fine_on_good_and_bad_days():
    for seed in range(6):
        told = judgements_of(mature(seed, n=6_000, noise=0.5))
        assert set(told.values()) == {FINE}, seed


def test_a_shift_and_a_slope_have_each_their_own_alarm():
    shifted = judgements_of(mature(shift=0.4))
    assert shifted["calibration"] is ALARM
    assert shifted["calibration slope"] is FINE
    small = judgements_of(mature(shift=0.08, n=60_000))
    assert small["calibration"] is FINE  # sure, and too small to matter
    bent = judgements_of(mature(slope=0.5, shift=-1.0))
    assert bent["calibration slope"] is ALARM
    signal = calibrated.calibration_signals("churn", mature(shift=0.4))[0]
    assert signal.value == pytest.approx(0.4, abs=0.12)
    assert signal.asks is Trigger.QUALITY


def test_the_back_test_tells_observed_expected_and_the_base_rate():
    past = calibrated.backtest(mature(shift=0.4))
    assert past.ratio > 1.2
    assert past.log_loss < past.base_log_loss
    assert past.gain.low > 0
    useless = replace(mature(), p=np.random.default_rng(1).permutation(mature().p))
    assert judgements_of(useless)["back-test"] is NOTICE
    assert f"ratio {past.ratio:.2f}" in past.meaning


def test_the_moving_mean_passes_gaps_and_forgets_by_a_fifth():
    nan = float("nan")
    assert calibrated.smoothed([nan, 1.0, 2.0, nan])[1:] == pytest.approx([1.0, 1.2, 1.2])


def test_what_asks_for_a_retrain():
    def signal(asks, judgement, subject="churn"):
        return Signal("drift", subject, 1.0, "", judgement, "it has", asks=asks)

    limits = Limits(days=28, growth=0.5)
    assert not due_of("churn", Age(10.0, 0.1), [], limits).is_due
    assert due_of("churn", Age(None), [], limits).is_due
    told = due_of(
        "churn",
        Age(28.0, 0.5),
        [signal(Trigger.DRIFT, ALARM), signal(Trigger.QUALITY, NOTICE), signal(None, ALARM),
         signal(Trigger.DRIFT, FINE), signal(Trigger.DRIFT, ALARM, subject="send_time")],
        limits, erased="two were erased",
    )  # fmt: skip
    assert [trigger for trigger, _ in told.reasons] == list(Trigger)
