"""The simulator obeys the event schema, keeps its own laws and looks like mail."""

import io
import math
from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import polars as pl
import pytest

from features.events.compact import SCHEMA
from features.events.schema import HOUR_US, MAX_SKEW_US, EventType, parse_event
from features.events.simulator import Simulated, simulate, write_ndjson
from features.events.world_catalogue import TOPICS
from features.events.world_parameters import Twists
from features.events.world_policy import Choice

ENDS_AT = 1_780_000_000_000_000
MAIL = ("sent", "delivered", "bounced", "opened", "clicked", "unsubscribed", "complained")
SEEDS = (1, 2, 3, 4)


@cache
def world(seed: int, n_recipients: int = 3_000, weeks: int = 16) -> Simulated:
    return simulate(seed=seed, n_recipients=n_recipients, weeks=weeks, ends_at=ENDS_AT)


def lines_of(simulated: Simulated) -> bytes:
    target = io.BytesIO()
    write_ndjson(simulated.events, target)
    return target.getvalue()


def with_truth(seed: int, *names: str) -> pl.DataFrame:
    return world(seed).events.join(
        world(seed).truth.select("recipient_key", *names), on="recipient_key"
    )


def unscanned(seed: int) -> pl.DataFrame:
    """Events of those whose clicks are all their own."""
    return with_truth(seed, "is_scanned", "is_machine_open").filter(~pl.col("is_scanned"))


def small(seed: int = 5, ends_at: int = ENDS_AT) -> Simulated:
    return simulate(seed=seed, n_recipients=300, weeks=5, ends_at=ends_at)


def test_the_same_arguments_give_the_same_bytes():
    assert lines_of(small()) == lines_of(small())
    assert small().truth.equals(small().truth)


def test_other_arguments_give_other_event_ids():
    ids = [
        set(each.events["event_id"]) for each in (small(), small(6), small(5, ENDS_AT + HOUR_US))
    ]
    assert not ids[0] & ids[1]
    assert not ids[0] & ids[2]


def test_every_line_is_an_event_and_says_what_the_frame_says():
    simulated = small()
    parsed = [
        parse_event(orjson.loads(line), received_at=ENDS_AT)
        for line in lines_of(simulated).splitlines()
    ]
    assert len(parsed) == simulated.events.height > 1_000
    for event, row in zip(parsed, simulated.events.iter_rows(named=True), strict=True):
        assert dict(event.properties) == orjson.loads(row["properties"])
        assert event.value == row["value"] or (math.isnan(event.value) and row["value"] is None)
        assert list(event.topics) == row["topics"]
        assert list(event.actor_reasons) == orjson.loads(row["actor_reasons"])
        for name in set(row) - {"properties", "value", "topics", "actor_reasons"}:
            assert getattr(event, name) == row[name], name


def test_the_frame_has_the_columns_of_the_log():
    expected = {name: kind for name, kind in SCHEMA.items() if name != "offset"}
    assert dict(world(1).events.schema) == expected


def test_ids_are_unique_and_times_ascend_to_before_the_end():
    events = world(1).events
    assert events["event_id"].is_unique().all()
    assert events["occurred_at"].is_sorted()
    assert ENDS_AT - HOUR_US < events["occurred_at"].max() < ENDS_AT


def test_a_send_without_recipients_or_weeks_is_no_error():
    assert simulate(seed=1, n_recipients=1, weeks=1, ends_at=ENDS_AT).truth.height == 1
    assert simulate(seed=1, n_recipients=5, weeks=0, ends_at=ENDS_AT).events.height == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_nobody_acts_before_signing_up_or_gets_mail_after_leaving(seed):
    events = with_truth(seed, "signed_up_at", "stopped_at")
    assert (events["occurred_at"] >= events["signed_up_at"]).all()
    left = events.filter(pl.col("stopped_at").is_not_null(), pl.col("type").is_in(MAIL))
    assert left["recipient_key"].n_unique() > 10
    assert (left["occurred_at"] <= left["stopped_at"]).all()
    ends = left.filter(pl.col("type").is_in(["unsubscribed", "complained"]))
    assert (ends["occurred_at"] == ends["stopped_at"]).all()
    assert ends["recipient_key"].is_unique().all()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_message_is_sent_delivered_opened_and_clicked_in_this_order(seed):
    mail = unscanned(seed).filter(pl.col("message_key") != "")
    at = mail.filter(pl.col("actor") == "human").pivot(
        "type", index="message_key", values="occurred_at", aggregate_function="min"
    )
    assert at["sent"].null_count() == 0
    assert (at["delivered"] > at["sent"]).all()
    assert (at["opened"] > at["delivered"]).all()
    assert (at["clicked"] > at["delivered"]).all()
    assert (at["clicked"] >= at["opened"]).all()
    assert not (at["bounced"].is_not_null() & at["delivered"].is_not_null()).any()
    kinds = mail.filter(pl.col("actor") != "human")["type"].unique().to_list()
    assert kinds == ["opened"]
    mail = world(seed).events.filter(pl.col("message_key") != "")
    assert (
        mail.group_by("message_key").agg(pl.col("content_id").n_unique())["content_id"].max() == 1
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_machines_open_only_for_those_whose_client_does(seed):
    opens = with_truth(seed, "is_machine_open").filter(pl.col("type") == "opened")
    by_person = opens["actor"] == "human"
    assert by_person.any()
    assert (opens["is_machine_open"] != by_person).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_zone_is_told_for_a_share_and_is_then_the_true_one(seed):
    events = with_truth(seed, "is_zone_known", pl.col("timezone").alias("true_zone"))
    told = events["timezone"] != ""
    assert (told == events["is_zone_known"]).all()
    assert (events["utc_offset_min"].is_not_null() == told).all()
    assert (events.filter(told)["timezone"] == events.filter(told)["true_zone"]).all()
    assert 0.3 < world(seed).truth["is_zone_known"].mean() < 0.95


@pytest.mark.parametrize("seed", SEEDS)
def test_the_logged_propensities_are_those_of_the_choices(seed):
    sent = world(seed).events.filter(pl.col("type") == "sent")
    numbers = sent["properties"].str.json_decode(
        pl.Struct({"propensity_hour": pl.Float64, "propensity_content": pl.Float64})
    )
    sent = sent.with_columns(numbers.struct.unnest())
    shares = sent.group_by("send_id").agg(pl.col("content_id").n_unique())["content_id"]
    assert (shares == 6).all()
    assert sent["propensity_content"].to_numpy() == pytest.approx(1 / 6)
    # Weighed by one over its propensity, every hour is sent to everybody once.
    hours = world(seed).oracle.world.sender_hour(sent["occurred_at"].to_numpy())
    weights = 1 / sent["propensity_hour"].to_numpy()
    assert set(hours) == set(range(24))
    for hour in range(24):
        mine = weights * (hours == hour)
        assert abs(mine.mean() - 1) < 4.5 * mine.std() / np.sqrt(len(mine)) + 1e-3
    assert (hours == 10).mean() > 0.7
    assert 0.05 < (hours != 10).mean() < 0.3


@pytest.mark.parametrize("seed", SEEDS)
def test_rates_are_those_of_mail(seed):
    events = unscanned(seed)
    n = dict(events.group_by("type").len().iter_rows())
    delivered = events.filter(pl.col("type") == "delivered")
    opened = events.filter(pl.col("type") == "opened")
    by_person = opened.filter(pl.col("actor") == "human")
    human = by_person.height / delivered.filter(~pl.col("is_machine_open")).height
    assert 0.07 < human < 0.30
    assert 0.30 < opened.height / delivered.height < 0.70
    assert opened.height / delivered.height > human
    assert 0.007 < n["clicked"] / delivered.height < 0.05
    assert 0.0005 < n["unsubscribed"] / delivered.height < 0.006
    assert n.get("complained", 0) / delivered.height < 0.001
    assert 0.003 < n["bounced"] / n["sent"] < 0.02
    assert n["product_viewed"] > n["cart_added"] > n["checkout_started"] > n["purchased"] > 0

    times = delivered.select("message_key", pl.col("occurred_at").alias("from"))
    waited = by_person.join(times, on="message_key").select(
        (pl.col("occurred_at") - pl.col("from")) / HOUR_US
    )["occurred_at"]
    assert 2 < waited.median() < 9
    assert 0.60 < (waited <= 24).mean() < 0.90


@pytest.mark.parametrize("seed", SEEDS)
def test_activity_follows_the_true_rhythm_on_the_local_clock(seed):
    truth = world(seed).truth
    visits = with_truth(seed, pl.col("timezone").alias("true_zone")).filter(
        (pl.col("actor") == "human") & pl.col("type").is_in(["opened", "page_viewed"])
    )
    local = pl.concat(
        part.with_columns(
            pl.col("occurred_at")
            .cast(pl.Datetime("us", "UTC"))
            .dt.convert_time_zone(str(zone))
            .dt.hour()
            .alias("hour")
        ).select("recipient_key", "hour")
        for (zone,), part in visits.group_by("true_zone", maintain_order=True)
    )
    counts = (
        local.group_by("recipient_key", "hour")
        .len()
        .pivot("hour", index="recipient_key", values="len")
        .fill_null(0)
    )
    hours = counts.select(str(hour) for hour in range(24)).to_numpy()
    top = np.argsort(hours.sum(axis=1))[-100:]
    keys = counts["recipient_key"].to_numpy()
    rhythm = dict(
        zip(
            truth["recipient_key"],
            truth["rhythm"].to_numpy().reshape(-1, 7, 24).mean(axis=1),
            strict=True,
        )
    )
    own = [np.corrcoef(hours[i], rhythm[keys[i]])[0, 1] for i in top]
    others = [
        np.corrcoef(hours[i], rhythm[keys[j]])[0, 1]
        for i, j in zip(top, np.roll(top, 1), strict=True)
    ]
    assert np.mean(own) > 0.4
    assert np.mean(own) > np.mean(others) + 0.2


@pytest.mark.parametrize("seed", SEEDS)
def test_people_click_what_they_like(seed):
    mail = with_truth(seed, "taste", "is_scanned").filter(
        ~pl.col("is_scanned"), pl.col("type") == "delivered"
    )
    clicked = world(seed).events.filter(pl.col("type") == "clicked")["message_key"]
    has = np.stack([mail["topics"].list.contains(topic).to_numpy() for topic in TOPICS], axis=1)
    match = (np.log(mail["taste"].to_numpy() + 0.02) * has).sum(axis=1) / has.sum(axis=1)
    clicks = mail["message_key"].is_in(clicked.implode()).to_numpy()
    low, high = np.quantile(match, [0.25, 0.75])
    assert clicks[match >= high].mean() > 1.5 * clicks[match <= low].mean()


@pytest.mark.parametrize("seed", SEEDS)
def test_who_is_dormant_has_faded_out_and_then_does_nothing(seed):
    events = with_truth(seed, "is_dormant", "signed_up_at", "stopped_at", "is_scanned").filter(
        ~pl.col("is_scanned"),
        pl.col("type").is_in(["opened", "clicked", "page_viewed"]),
        pl.col("actor") == "human",
        pl.col("stopped_at").is_null(),
    )
    people = world(seed).truth.filter(pl.col("stopped_at").is_null(), ~pl.col("is_scanned"))
    n = dict(people.group_by("is_dormant").len().iter_rows())
    assert 0.05 < n[True] / people.height < 0.40
    recent = events.filter(pl.col("occurred_at") > ENDS_AT - 14 * 24 * HOUR_US)
    m = dict(recent.group_by("is_dormant").len().iter_rows())
    assert m.get(True, 0) / n[True] < 0.1 * m[False] / n[False]


def test_all_kinds_of_events_are_known_to_the_schema():
    assert set(world(1).events["type"]) <= {kind.value for kind in EventType}
    assert set(world(1).events.filter(pl.col("type").is_in(MAIL))["channel"]) == {"email"}
    assert world(1).events["received_at"].max() <= ENDS_AT + MAX_SKEW_US


@pytest.mark.parametrize("seed", SEEDS)
def test_scanners_follow_every_link_at_once_and_are_not_all_noticed(seed):
    clicks = with_truth(seed, "is_scanned").filter(pl.col("type") == "clicked")
    others = clicks.filter(~pl.col("is_scanned"))
    assert (others["actor"] == "human").all()
    assert not others["url"].str.contains("/links/").any()
    by_machine = clicks.filter(pl.col("url").str.contains("/links/"))
    assert by_machine["recipient_key"].n_unique() > 20
    assert set(by_machine["actor"]) == {"machine", "human"}
    per_mail = by_machine.group_by("message_key").agg(pl.col("url").n_unique())["url"]
    assert (per_mail == 2).all()
    delivered = world(seed).events.filter(pl.col("type") == "delivered")
    waited = by_machine.join(
        delivered.select("message_key", pl.col("occurred_at").alias("from")), on="message_key"
    ).select((pl.col("occurred_at") - pl.col("from")) / 1e6)["occurred_at"]
    assert 3 < waited.median() < 20


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_what_the_oracle_says_is_what_happens(seed):
    """The chance of a click within a week, against the clicks in the last weeks of the logs."""
    lived, clicked = world(seed), unscanned(seed).filter(pl.col("type") == "clicked")
    oracle, keys = lived.oracle, lived.truth["recipient_key"].to_list()
    number = {key: place for place, key in enumerate(keys)}
    until, since = ENDS_AT - 8 * 24 * HOUR_US, ENDS_AT - 22 * 24 * HOUR_US
    mails = unscanned(seed).filter(
        pl.col("type") == "delivered", pl.col("occurred_at").is_between(since, until)
    )
    to = np.array([number[key] for key in mails["recipient_key"]])
    item = np.array([int(name[-3:]) - 1 for name in mails["content_id"]])
    at = mails["occurred_at"].to_numpy()
    p = np.empty(len(to))
    for each in np.unique(item):
        rows = item == each
        p[rows] = oracle.p_clicked(to[rows], np.array([each]), at[rows])[:, 0]
    happened = mails["message_key"].is_in(clicked["message_key"].implode()).to_numpy()
    z = (happened.sum() - p.sum()) / np.sqrt((p * (1 - p)).sum())
    assert abs(z) < 6, (happened.mean(), p.mean())
    top = p >= np.quantile(p, 0.9)
    assert happened[top].mean() > 3 * happened[~top].mean()


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_silence_comes_as_often_as_the_oracle_says(seed):
    lived = world(seed)
    oracle, keys = lived.oracle, lived.truth["recipient_key"]
    week = oracle.weeks[-5]
    days = (ENDS_AT - week.begin) / (24 * HOUR_US)
    subscribed = lived.truth.filter(
        pl.col("signed_up_at") < week.begin - 28 * 24 * HOUR_US,
        pl.col("stopped_at").is_null() | (pl.col("stopped_at") > week.begin),
        ~pl.col("is_scanned"),
    )["recipient_key"]
    to = np.flatnonzero(keys.is_in(subscribed.implode()).to_numpy())
    p = oracle.p_silent(to, at=week.begin, days=days, seed=1)
    shown = unscanned(seed).filter(
        pl.col("occurred_at") >= week.begin,
        pl.col("actor") == "human",
        pl.col("type").is_in(["opened", "clicked", "page_viewed"]),
    )
    left = unscanned(seed).filter(
        pl.col("occurred_at") >= week.begin, pl.col("type").is_in(["unsubscribed", "complained"])
    )
    of = keys.gather(to)
    silent = (
        ~of.is_in(shown["recipient_key"].implode()) | of.is_in(left["recipient_key"].implode())
    ).to_numpy()
    assert p.mean() == pytest.approx(silent.mean(), abs=0.05)
    high = p > np.median(p)
    assert silent[high].mean() > silent[~high].mean() + 0.2


def test_a_policy_of_ones_own_decides_and_its_propensities_are_logged():
    def evening(sending, rng):
        n = len(sending.recipient)
        held = rng.random(n) < 0.5
        ones = np.ones(n)
        return Choice(np.full(n, 20), np.full(n, sending.candidates[0]), ones, ones / 2, held)

    given = simulate(seed=5, n_recipients=400, weeks=4, ends_at=ENDS_AT, decide=evening)
    logged = simulate(seed=5, n_recipients=400, weeks=4, ends_at=ENDS_AT)
    sent = given.events.filter(pl.col("type") == "sent")
    hours = given.oracle.world.sender_hour(sent["occurred_at"].to_numpy())
    assert set(hours) == {20}
    assert set(sent["properties"]) == {'{"propensity_hour":1.0,"propensity_content":0.5}'}
    assert (sent.group_by("send_id").agg(pl.col("content_id").n_unique())["content_id"] == 1).all()
    n_logged = logged.events.filter(pl.col("type") == "sent").height
    assert 0.4 < sent.height / n_logged < 0.6


def test_twists_are_what_they_say():
    twisted = simulate(
        seed=3, n_recipients=2_000, weeks=8, ends_at=ENDS_AT, twists=Twists(sweeps=1.0)
    )
    assert twisted.truth["is_sweeper"].all()
    assert not world(3).truth["is_sweeper"].any()
    opened = twisted.events.filter(pl.col("type") == "opened", pl.col("actor") == "human")
    slots = twisted.oracle.world.recipients.sweeps
    number = {key: place for place, key in enumerate(twisted.truth["recipient_key"])}
    zones = dict(twisted.truth.select("recipient_key", "timezone").iter_rows())
    for key, at in opened.select("recipient_key", "occurred_at").head(300).iter_rows():
        local = datetime.fromtimestamp(at / 1e6, ZoneInfo(zones[key]))
        sweeps = slots[number[key]]  # the hours count from the minute of the delivery
        assert sweeps[local.hour] or sweeps[local.hour - 1], (key, local)
    with pytest.raises(ValueError, match=r"visit_mix is a share: 1.5"):
        Twists(visit_mix=1.5)
