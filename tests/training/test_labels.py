"""Laws of the labels: human, half open, mature, and judged on nothing but what came after."""

import numpy as np
import polars as pl
import pytest

from features.events.compact import SCHEMA
from features.events.schema import Actor, EventType
from features.layout import HOURS_PER_WEEK
from models.specs.churn import SPEC as CHURN
from training import churn_labels, labels
from training.choices import CLICK_DAYS, choices
from training.dataset import PointInTime
from training.pointwise import apart
from training.recipe import Order
from training.recipes import send_time

DAY_US = 86_400_000_000
HOUR_US = DAY_US // 24
T = 1_704_067_200_000_000  # 2024-01-01 00:00 UTC, a Monday
E, HUMAN, MACHINE, UNKNOWN = EventType, Actor.HUMAN, Actor.MACHINE, Actor.UNKNOWN
AUTOMATIC = (MACHINE, UNKNOWN)


def log_of(*rows: tuple, received_late: int = 0) -> pl.LazyFrame:
    """Events as (type, recipient, microseconds after T, more fields)."""
    full = [
        {
            "offset": i, "event_id": str(i), "type": kind.value, "recipient_key": who,
            "occurred_at": T + at, "received_at": T + at + received_late, "actor": "human",
            "message_key": "", "content_id": "", "topics": [], "schema_version": 1,
            **(more[0] if more else {}),
        }
        for i, (kind, who, at, *more) in enumerate(rows, 1)
    ]  # fmt: skip
    return pl.DataFrame(full, schema=SCHEMA).lazy()


def spine_of(*keys: str, at: int = T) -> pl.DataFrame:
    return pl.DataFrame({"recipient_key": list(keys), "at": [at] * len(keys)})


def churned(events: pl.LazyFrame, *keys: str, days: float = 10) -> list[float]:
    found = labels.churned(
        spine_of(*keys), labels.engagements(events), labels.opt_outs(events),
        horizon_us=round(days * DAY_US),
    )  # fmt: skip
    return found.tolist()


# --- churn ------------------------------------------------------------------------------------


def test_silence_is_no_human_engagement_in_the_half_open_window():
    events = log_of(
        (E.CLICKED, "at the moment", 0),
        (E.CLICKED, "just before it", -1),
        (E.CLICKED, "at the very end", 10 * DAY_US - 1),
        (E.CLICKED, "when it has closed", 10 * DAY_US),
        (E.DELIVERED, "only mailed", 5),
    )
    keys = ("at the moment", "just before it", "at the very end", "when it has closed",
            "only mailed", "stranger")  # fmt: skip
    assert churned(events, *keys) == [0, 1, 0, 1, 1, 1]
    assert churned(events, *keys[::-1]) == [1, 1, 1, 0, 1, 0]


@pytest.mark.parametrize("actor", AUTOMATIC)
@pytest.mark.parametrize("kind", [E.OPENED, E.CLICKED, E.PAGE_VIEWED])
def test_what_machines_open_or_click_is_no_sign_of_life(kind, actor):
    assert churned(log_of((kind, "a", 5, {"actor": actor.value})), "a") == [1]
    assert churned(log_of((kind, "a", 5)), "a") == [0]


@pytest.mark.parametrize("actor", Actor)
@pytest.mark.parametrize("kind", [E.UNSUBSCRIBED, E.COMPLAINED])
def test_an_opt_out_is_churn_whoever_clicked_it_and_however_active(kind, actor):
    engaged = (E.PURCHASED, "a", 3 * DAY_US)
    for at, expected in ((-1, 0), (0, 1), (10 * DAY_US - 1, 1), (10 * DAY_US, 0)):
        events = log_of(engaged, (kind, "a", at, {"actor": actor.value}))
        assert churned(events, "a") == [expected]


def test_neighbours_do_not_answer_for_each_other():
    events = log_of((E.CLICKED, "a", 5), (E.UNSUBSCRIBED, "b", 5))
    assert churned(events, "a", "b", "c") == [0, 1, 1]


def at_risk(events: pl.LazyFrame, *, since_days: int = 30) -> list[str]:
    engaged, left = labels.engagements(events), labels.opt_outs(events)
    return labels.at_risk(labels.deliveries(events), engaged, left, at=T, since_days=since_days)


def test_at_risk_is_who_was_active_lately_and_has_not_left():
    events = log_of(
        (E.CLICKED, "lately", -1),
        (E.CLICKED, "at the edge", -30 * DAY_US),
        (E.CLICKED, "too long ago", -30 * DAY_US - 1),
        (E.CLICKED, "not yet", 0),
        (E.CLICKED, "left", -5), (E.UNSUBSCRIBED, "left", -1, {"actor": "machine"}),
        (E.CLICKED, "leaves later", -5), (E.UNSUBSCRIBED, "leaves later", 0),
        (E.OPENED, "machine", -5, {"actor": "machine"}),
    )  # fmt: skip
    assert at_risk(events) == ["at the edge", "lately", "leaves later"]


def test_where_there_is_mail_three_deliveries_in_four_weeks_are_asked_for():
    clicks = [(E.CLICKED, who, -5) for who in ("three", "two", "none", "before", "after")]
    mails = [
        *[("three", -1), ("three", -2), ("three", -28 * DAY_US)],
        *[("two", -1), ("two", -28 * DAY_US)],
        *[("before", -28 * DAY_US - 1)] * 3,
        *[("after", 0)] * 3,
    ]
    events = log_of(*clicks, *((E.DELIVERED, who, at) for who, at in mails))
    assert at_risk(events) == ["three"]
    assert at_risk(log_of(*clicks)) == ["after", "before", "none", "three", "two"]


def order_of(events: pl.LazyFrame, *, as_of: int, first: int) -> Order:
    data = PointInTime(events, feast=None)  # labelling asks Feast for nothing
    return Order(data, as_of=as_of, first=first)


def two_years() -> pl.LazyFrame:
    rng = np.random.default_rng(1)
    rows = [
        (E.CLICKED, f"r{who}", int(at))
        for who in range(30)
        for at in rng.integers(-700 * DAY_US, 0, 200)
    ]
    return log_of(*rows)


@pytest.mark.parametrize("horizon", [90.0, 28.0, 14.0])
def test_churn_labels_are_mature_and_windows_of_training_close_before_the_test(horizon):
    spine, y = churn_labels.labelled(
        order_of(two_years(), as_of=T, first=T - 700 * DAY_US), horizon
    )
    window = round(horizon * DAY_US)
    moments = sorted(spine["at"].unique().to_list())
    assert moments[-1] + window <= T
    is_between = ((spine["at"] + window > moments[-1]) & (spine["at"] < moments[-1])).to_numpy()
    nobody_trains_on = apart(CHURN, spine["recipient_key"].to_list())
    assert nobody_trains_on[is_between].all()
    assert is_between.any()
    assert (~is_between).sum() > 30
    assert set(y) <= {0.0, 1.0}


def test_send_time_windows_never_meet_across_the_splits():
    spine, later = send_time._labelled(order_of(two_years(), as_of=T, first=T - 700 * DAY_US), 14.0)
    parts = send_time._split(spine)
    moments = [np.sort(spine["at"].to_numpy()[part]) for part in parts]
    assert (np.stack(parts).sum(axis=0) == 1).all()
    assert moments[0][-1] + 14 * DAY_US <= moments[1][0]
    assert moments[1][-1] + 14 * DAY_US <= moments[2][0]
    assert moments[2][-1] + 14 * DAY_US <= T
    assert (later.sum(axis=1) > 0).all()


# --- mails ------------------------------------------------------------------------------------


def mail(key: str, at: int, **more: object) -> tuple:
    return (E.DELIVERED, "a", at, {"message_key": key, "content_id": f"c {key}", **more})


def answer(key: str, at: int, kind: EventType = E.CLICKED, **more: object) -> tuple:
    return (kind, "a", at, {"message_key": key, **more})


def y_of(frame: pl.DataFrame) -> dict[str, float]:
    return dict(zip(frame["content_id"].to_list(), frame["y"].to_list(), strict=True))


def test_a_mail_is_engaged_when_its_own_human_answer_comes_in_the_half_open_window():
    events = log_of(
        mail("in", 0), answer("in", DAY_US - 1),
        mail("out", 0), answer("out", DAY_US),
        mail("opened", 0), answer("opened", 5, E.OPENED),
        mail("first counts", 0), answer("first counts", 3 * DAY_US), answer("first counts", 7),
        mail("silent", 0),
        mail("", 0), answer("", 5),
        mail("viewed", 0), answer("viewed", 5, E.PAGE_VIEWED),
    )  # fmt: skip
    engaged = y_of(labels.mails_engaged(events, window_us=DAY_US))
    assert engaged == {
        "c in": 1, "c out": 0, "c opened": 1, "c first counts": 1, "c silent": 0, "c ": 0,
        "c viewed": 0,
    }  # fmt: skip
    clicked = y_of(labels.items_clicked(events, window_us=DAY_US))
    assert clicked == engaged | {"c opened": 0}


@pytest.mark.parametrize("actor", AUTOMATIC)
def test_machine_answers_never_make_a_mail_engaged_or_an_item_clicked(actor):
    for kind in (E.CLICKED, E.OPENED):
        events = log_of(mail("m", 0), answer("m", 5, kind, actor=actor.value))
        assert set(labels.mails_engaged(events, window_us=DAY_US)["y"]) <= {0.0}
        assert labels.items_clicked(events, window_us=DAY_US)["y"].to_list() == [0.0]


def test_who_has_machine_opens_is_left_out_where_opens_count_and_kept_where_clicks_do():
    events = log_of(
        mail("m", 0), answer("m", 1, E.OPENED, actor="machine"), answer("m", 2),
        (E.DELIVERED, "b", 0, {"message_key": "n", "content_id": "c n"}),
    )  # fmt: skip
    assert labels.mails_engaged(events, window_us=DAY_US)["recipient_key"].to_list() == ["b"]
    assert y_of(labels.items_clicked(events, window_us=DAY_US)) == {"c m": 1, "c n": 0}


def test_the_hour_of_a_mail_is_its_recipients_own():
    events = log_of(mail("berlin", 0, utc_offset_min=60), mail("unknown", 0))
    found = labels.mails_engaged(events, window_us=DAY_US)
    hours = dict(zip(found["content_id"].to_list(), found["hour"].to_list(), strict=True))
    assert hours == {"c berlin": T // HOUR_US + 1, "c unknown": T // HOUR_US}


def test_items_shown_without_a_content_id_are_no_choice():
    assert labels.items_clicked(log_of((E.DELIVERED, "a", 0)), window_us=DAY_US).is_empty()


def test_shown_items_whose_window_is_open_are_no_rows():
    as_of = T + 60 * DAY_US
    rows = []
    for i in range(3_000):
        at = as_of - (i % 30) * DAY_US - (i // 30 % 2)
        rows.append(mail(f"m{i}", at - T))
        if i % 5 == 0:
            rows.append(answer(f"m{i}", at - T + HOUR_US))
    made = choices(PointInTime(log_of(*rows), feast=None), as_of=as_of, seed=1)

    assert made.kept == 1.0
    assert made.is_shown
    assert made.spine["at"].max() == as_of - CLICK_DAYS * DAY_US - 1
    assert (
        made.spine.filter("is_test")["at"].min() > made.spine.filter(~pl.col("is_test"))["at"].max()
    )


def test_training_keeps_every_click_and_some_of_the_rest_and_the_test_is_as_it_came(monkeypatch):
    monkeypatch.setattr("training.choices.MAX_TRAIN", 1_000)
    monkeypatch.setattr("training.choices.MAX_TEST", 400)
    as_of, rows = T + 60 * DAY_US, []
    for i in range(6_000):
        at = -20 * DAY_US + i * HOUR_US // 12
        rows.append(mail(f"m{i}", at))
        if i % 10 == 0:
            rows.append(answer(f"m{i}", at + HOUR_US))
    made = choices(PointInTime(log_of(*rows), feast=None), as_of=as_of, seed=1)
    train, test = (made.spine.filter(pl.col("is_test") == part) for part in (False, True))

    clicks, n = 480, 4_801  # of the older four fifths
    assert abs(train["y"].sum() - clicks) <= 1
    assert len(train) == 1_000
    assert made.kept == pytest.approx((1_000 - clicks) / (n - clicks), rel=0.01)
    assert len(test) == 400
    assert abs(test["y"].mean() - 0.1) < 0.05
    assert made.spine["at"].is_sorted()

    monkeypatch.setattr("training.choices.MAX_TRAIN", 600)
    fewer = choices(PointInTime(log_of(*rows), feast=None), as_of=as_of, seed=1)
    train = fewer.spine.filter(~pl.col("is_test"))
    assert train["y"].sum() == 300
    assert fewer.kept == pytest.approx((300 / (n - clicks)) / (300 / clicks), rel=0.01)


# --- weeks ------------------------------------------------------------------------------------


def test_later_weeks_count_distinct_local_hours_in_the_half_open_window():
    week = 7 * DAY_US
    ahead = {"utc_offset_min": 60}
    events = log_of(
        (E.CLICKED, "a", -1), (E.CLICKED, "a", week),
        (E.CLICKED, "a", 0), (E.PAGE_VIEWED, "a", HOUR_US - 1),
        (E.CLICKED, "a", 2 * HOUR_US, ahead), (E.CLICKED, "a", 3 * HOUR_US),
        (E.OPENED, "a", 5 * HOUR_US, {"actor": "machine"}),
        (E.PURCHASED, "b", week - 1),
    )  # fmt: skip
    engaged = labels.engagements(events)
    counts = labels.later_weeks(spine_of("b", "a", "nobody"), engaged, window_us=week)

    assert counts.shape == (3, HOURS_PER_WEEK)
    assert {i: counts[1, i] for i in np.flatnonzero(counts[1])} == {0: 1.0, 3: 1.0}
    assert {i: counts[0, i] for i in np.flatnonzero(counts[0])} == {167: 1.0}
    assert counts[2].sum() == 0


def test_the_next_event_is_the_first_at_or_after_the_moment():
    spine = pl.DataFrame({"recipient_key": ["b", "a", "a", "a"], "at": [T, T + 11, T, T + 10]})
    happened = pl.DataFrame(
        {"recipient_key": ["a", "a", "b"], "occurred_at": [T + 10, T + 30, T - 1]}
    )
    assert labels.next_after(spine, happened).tolist() == [np.inf, 19.0, 10.0, 0.0]
