"""Laws of the opt-outs: each belongs to one mail, rates are right, slopes are found again."""

import numpy as np
import polars as pl
import pytest
from scipy.special import expit

from features.events.compact import SCHEMA
from features.events.schema import DAY_US
from models.specs.churn import COMPLAINT, RISKS, SPEC, UNSUBSCRIBE
from training import labels, opt_outs
from training.metrics import auc

T = 1_770_000_000_000_000


def log_of(*rows):
    """Events as (type, recipient, days after T, message)."""
    full = [
        {
            "offset": n, "event_id": str(n), "type": kind, "recipient_key": who,
            "occurred_at": round(T + days * DAY_US), "received_at": round(T + days * DAY_US),
            "actor": "human", "message_key": message, "content_id": "", "topics": [],
            "schema_version": 1,
        }
        for n, (kind, who, days, message) in enumerate(rows, 1)
    ]  # fmt: skip
    return pl.DataFrame(full, schema=SCHEMA).lazy()


def causes_of(*rows):
    found = labels.mails_opted_out(log_of(*rows), window_us=7 * DAY_US)
    return [(who, round((at - T) / DAY_US), cause) for who, at, cause in found.iter_rows()]


def test_an_opt_out_belongs_to_the_mail_it_names_else_to_the_newest_before_it():
    assert causes_of(
        ("delivered", "a", 0, "m1"), ("delivered", "a", 2, "m2"), ("unsubscribed", "a", 3, "m1"),
        ("delivered", "b", 0, "m3"), ("delivered", "b", 2, "m4"), ("complained", "b", 3, ""),
        ("unsubscribed", "c", 3, ""), ("delivered", "c", 4, "m5"),
    ) == [
        ("a", 0, "unsubscribed"), ("a", 2, ""),
        ("b", 0, ""), ("b", 2, "complained"),
        ("c", 4, ""),
    ]  # fmt: skip


def test_what_comes_long_after_the_last_mail_is_nobodys_and_the_first_one_counts():
    assert causes_of(
        ("delivered", "a", 0, "m1"), ("unsubscribed", "a", 8, ""),
        ("delivered", "b", 0, "m2"), ("unsubscribed", "b", 1, ""), ("complained", "b", 2, "m2"),
    ) == [("a", 0, ""), ("b", 0, "unsubscribed")]  # fmt: skip


def planted(n, *, slope, rate, seed=3):
    """Mails whose unsubscribes rise with the mails of the week before; each stands for itself."""
    rng = np.random.default_rng(seed)
    rows = np.full((n, len(SPEC.inputs)), np.nan, np.float32)
    mail = rng.exponential(3, n)
    rows[:, SPEC.inputs.index("delivered_hl7d")] = mail
    rows[:, SPEC.inputs.index("active_hl30d")] = rng.exponential(2, n)
    z = slope * np.log1p(mail)
    p = expit(z + np.log(rate) - np.log(np.exp(z).mean()))
    draw = rng.random(n)
    cause = np.where(draw < p, "unsubscribed", np.where(draw > 1 - p / 20, "complained", ""))
    return opt_outs._Mails(rows, cause, np.ones(n), rng.random(n) < 0.2), p


def test_a_planted_slope_and_rate_are_found_again():
    mails, p = planted(60_000, slope=0.8, rate=0.01)
    is_case = mails.cause == "unsubscribed"
    found = opt_outs._at_rate(opt_outs._curve(mails, is_case), mails, is_case.mean())
    place = list(opt_outs.INPUTS).index("delivered_hl7d")
    others = np.delete(found.weights, place)
    assert found.weights[place] == pytest.approx(0.8, abs=0.15)
    assert np.abs(others).max() < 0.1
    assert found.predict(mails.rows).mean() == pytest.approx(is_case.mean(), rel=1e-6)
    assert auc((p > np.median(p)).astype(float), found.predict(mails.rows)) > 0.98


def test_leaving_out_other_mails_at_random_changes_the_weight_and_not_the_rate():
    whole, _ = planted(60_000, slope=0.8, rate=0.01)
    is_case = whole.cause != ""
    kept = is_case | (np.random.default_rng(0).random(60_000) < 0.1)
    some = opt_outs._Mails(
        whole.rows[kept], whole.cause[kept],
        np.where(is_case, 1.0, (~is_case).sum() / (kept & ~is_case).sum())[kept],
        whole.is_test[kept],
    )  # fmt: skip
    curves = [
        opt_outs._at_rate(opt_outs._curve(m, m.cause != ""), m, opt_outs._rate(m, m.cause != "", 0))
        for m in (whole, some)
    ]
    p, q = (curve.predict(whole.rows) for curve in curves)
    np.testing.assert_allclose(q, p, rtol=0.15)
    assert q.mean() == pytest.approx(p.mean(), rel=0.03)


def test_few_cases_give_everybody_the_trades_rate():
    mails, _ = planted(1_000, slope=2.0, rate=0.01)
    few = opt_outs._Mails(mails.rows, np.full(1_000, ""), mails.weight, mails.is_test)
    curve = opt_outs._curve(few, few.cause == "unsubscribed")
    rate = opt_outs._rate(few, few.cause == "unsubscribed", RISKS[UNSUBSCRIBE])
    found = opt_outs._at_rate(curve, few, rate).predict(few.rows)
    assert np.ptp(found) == 0
    assert found[0] == pytest.approx(RISKS[UNSUBSCRIBE] * 2_000 / 3_000, rel=1e-6)
    assert RISKS[COMPLAINT] < RISKS[UNSUBSCRIBE]
