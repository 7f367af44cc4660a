"""Laws of the decision: hours that exist, inside the window, moved only for a reason."""

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.candidates import Candidate
from features.events.schema import DAY_US, HOUR_US, SECOND_US
from serving import policy
from serving.asks import Ask, Prediction, Weeks
from serving.exploration import FirstPlace
from serving.fallback import FallbackReason
from serving.holding import Risks
from serving.hours import send_time
from serving.policy import Band, Policy, ReasonCode
from serving.ranking import Ranking, rankings
from serving.rules import Binding
from serving.zones import ZoneSource

PLAIN = Policy()
MINUTE_US = 60 * SECOND_US
NOW = int(datetime(2026, 3, 2, 9, 30, tzinfo=UTC).timestamp()) * SECOND_US
ZONES = (
    "Europe/Berlin", "America/New_York", "America/St_Johns", "Australia/Lord_Howe",
    "Asia/Kolkata", "Asia/Kathmandu", "Africa/Casablanca", "America/Santiago",
    "Pacific/Chatham", "Pacific/Kiritimati", "Etc/GMT+12",
)  # fmt: skip


@cache
def changes(zone: str) -> list[int]:
    """Moments of 2026 and 2027 at which the zone's offset changes; two ordinary ones without."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    hours = [begin + timedelta(hours=n) for n in range(2 * 366 * 24)]
    offsets = [hour.astimezone(ZoneInfo(zone)).utcoffset() for hour in hours]
    found = [hours[n] for n in range(1, len(hours)) if offsets[n] != offsets[n - 1]]
    found = found or [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)]
    return [int(moment.timestamp()) * SECOND_US for moment in found]


def said(
    chances=None,
    *,
    active=50.0,
    concentration=0.0,
    zone="",
    offset=None,
    items=(),
    delivered=None,
    features=None,
) -> Prediction:
    week = np.full(168, 0.1, np.float32) if chances is None else np.asarray(chances, np.float32)
    even = np.full(168, 1 / 168, np.float32)
    told = (week, week / 2, (1 + week) / 2, even, np.zeros(168, np.float32))
    weeks = Weeks(*(part[None] for part in told))
    return Prediction(
        weeks=weeks,
        row=0,
        concentration=concentration,
        active_hours=active,
        p_churn=0.2,
        risks=Risks(0.0, 0.0),
        effects=(),
        horizon_days=90.0,
        p_items=np.asarray(items, np.float32),
        delivered=np.zeros(len(items), np.float32) if delivered is None else delivered,
        default_hour=34,
        features={"active_total": active} if features is None else features,
        zone=zone,
        zone_offset_min=offset or 0,
        has_offset=offset is not None,
        newest_at=NOW,
        reasons=dict.fromkeys(("send_time", "churn", "content_preference"), FallbackReason.NONE),
    )


def in_full(hours):
    """All that is said of the hours, to compare."""
    told = hours.slots, hours.shown, hours.told.chances(hours.row)
    return *hours._replace(told=None, row=0), *told


def ranked_by(ask: Ask, told: Prediction, *, epsilon: float = 0.0) -> Ranking:
    made = Policy(epsilon)
    return rankings([ask], [told], [(made, made.id_of(ask))])[0]


def hour_of_week(at: int, zone: str) -> int:
    local = datetime.fromtimestamp(at // SECOND_US, UTC).astimezone(ZoneInfo(zone))
    return local.weekday() * 24 + local.hour


WEEKS = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).random(168))
WINDOWS = st.tuples(st.integers(-40 * 60, 40 * 60), st.integers(0, 60 * 200))


@pytest.mark.parametrize("zone", ZONES)
@given(window=WINDOWS, week=WEEKS, which=st.integers(0, 3))
def test_around_a_clock_change_no_hour_is_lost_doubled_or_misplaced(zone, window, week, which):
    nights = changes(zone)
    begin = nights[which % len(nights)] + window[0] * MINUTE_US
    end = begin + window[1] * MINUTE_US
    ask = Ask("r", timezone=zone, window_from=begin, window_to=end)
    chosen = send_time(ask, said(week), now=begin - DAY_US)
    moments = [slot.at for slot in chosen.slots]
    whole = [at for at in range(begin // HOUR_US * HOUR_US, end + 1, HOUR_US) if at >= begin]
    if whole:
        assert moments == whole[:168]
    else:
        assert len(moments) == 1
    assert begin <= min(moments) <= chosen.best.at <= max(moments) <= end
    assert {chosen.best, chosen.default} <= set(chosen.slots)
    for slot in chosen.slots:
        assert slot.p == np.float32(week[hour_of_week(slot.at, zone)])
        shown = datetime.fromisoformat(policy.shown(slot.at, chosen.zone))
        assert shown == datetime.fromtimestamp(slot.at // SECOND_US, UTC)


@given(st.integers(-12 * 60, 14 * 60), WEEKS)
def test_an_offset_alone_is_a_clock_too(offset, week):
    chosen = send_time(Ask("r"), said(week, offset=offset), now=NOW)
    assert chosen.clock.source is ZoneSource.OFFSET
    for slot in chosen.slots:
        local = datetime.fromtimestamp(slot.at // SECOND_US, UTC) + timedelta(minutes=offset)
        assert slot.p == np.float32(week[local.weekday() * 24 + local.hour])


def test_the_clock_is_the_senders_then_the_events_then_utc():
    both = said(zone="Asia/Tokyo", offset=540)
    asked = send_time(Ask("r", timezone="Europe/Berlin"), both, now=NOW)
    assert (asked.clock.name, asked.clock.source) == ("Europe/Berlin", ZoneSource.REQUEST)
    known = send_time(Ask("r"), both, now=NOW)
    assert (known.clock.name, known.clock.source) == ("Asia/Tokyo", ZoneSource.EVENTS)
    odd = send_time(Ask("r"), said(zone="No/Where"), now=NOW)
    assert (odd.clock.name, odd.clock.source) == ("UTC", ZoneSource.UNKNOWN)


@given(st.integers(1, 10**6), st.integers(0, 10**6), WEEKS)
def test_a_window_that_has_passed_is_answered_now_and_says_so(passed, length, week):
    end = NOW - passed * SECOND_US
    ask = Ask("r", window_from=end - length * SECOND_US, window_to=end)
    chosen = send_time(ask, said(week), now=NOW)
    assert chosen.best.at == chosen.default.at == NOW
    assert chosen.binding is Binding.WINDOW_PASSED


@given(st.integers(0, 59), st.integers(0, 59), st.integers(1, 500))
def test_a_window_within_one_hour_that_lies_ahead_has_not_passed(first, last, ahead):
    hour = NOW // HOUR_US * HOUR_US + ahead * HOUR_US
    begin, end = sorted((hour + first * MINUTE_US, hour + last * MINUTE_US))
    chosen = send_time(Ask("r", window_from=begin, window_to=end), said(), now=NOW)
    assert begin <= chosen.best.at <= end
    assert chosen.binding is not Binding.WINDOW_PASSED


@given(WEEKS, st.floats(0, 2.9), st.integers(-100, 100))
def test_little_evidence_keeps_the_senders_hour(week, active, hours):
    ask = Ask("r", default_at=NOW + hours * HOUR_US)
    chosen = send_time(ask, said(week, active=active), now=NOW)
    assert chosen.best == chosen.default
    assert chosen.binding in {Binding.LITTLE_EVIDENCE, Binding.NONE}
    nearest = min(chosen.slots, key=lambda slot: abs(slot.at - ask.default_at))
    assert abs(chosen.default.at - ask.default_at) == abs(nearest.at - ask.default_at)


@given(WEEKS, st.floats(0.1, 2.9), st.floats(0, 1), st.integers(0, 20))
def test_one_sure_cohort_speaks_for_who_has_shown_little(week, active, concentration, hours):
    """Before any sign of life nobody is of a kind, however common it is."""
    ask = Ask("r", default_at=NOW + hours * HOUR_US)
    known = send_time(ask, said(week), now=NOW)
    few = said(week, active=active, concentration=concentration)
    if concentration > 0.5:
        assert in_full(send_time(ask, few, now=NOW)) == in_full(known)
    else:
        assert send_time(ask, few, now=NOW).binding is not Binding.LITTLE_GAIN
        assert send_time(ask, few, now=NOW).best == known.default
    none = said(week, active=0.0, concentration=concentration)
    assert send_time(ask, none, now=NOW).best == known.default


@given(WEEKS)
def test_every_slot_has_the_interval_of_its_own_hour(week):
    told = said(week)
    for slot in send_time(Ask("r"), told, now=NOW).slots:
        hour = hour_of_week(slot.at, "UTC")
        assert (slot.low, slot.high) == (told.weeks.p_low[0, hour], told.weeks.p_high[0, hour])


@given(WEEKS, st.integers(0, 24))
def test_the_hour_is_moved_for_a_gain_of_one_percent_and_not_for_less(week, hours):
    ask = Ask("r", default_at=NOW + hours * HOUR_US)
    chosen = send_time(ask, said(week), now=NOW)
    top = max(chosen.slots, key=lambda slot: slot.p)
    if top.p >= chosen.default.p * 1.01:
        assert chosen.best == top
    else:
        assert chosen.best == chosen.default
    flat = send_time(ask, said(0.1 + 0.0009 * week), now=NOW)
    assert flat.best == flat.default
    assert flat.binding in {Binding.LITTLE_GAIN, Binding.NONE}


def test_of_equal_hours_the_first_is_taken():
    week = np.full(168, 0.1)
    week[[hour_of_week(NOW + HOUR_US * n, "UTC") for n in (5, 9, 14)]] = 0.5
    chosen = send_time(Ask("r", default_at=NOW), said(week), now=NOW)
    assert chosen.best.at == (NOW // HOUR_US + 5) * HOUR_US


def test_a_window_that_hides_a_better_hour_is_named():
    week = np.full(168, 0.1)
    week[hour_of_week(NOW + 48 * HOUR_US, "UTC")] = 0.5
    ask = Ask("r", window_from=NOW, window_to=NOW + 8 * HOUR_US)
    assert send_time(ask, said(week), now=NOW).binding is Binding.WINDOW


@given(st.text(max_size=20), st.text(min_size=1, max_size=20), WEEKS)
def test_the_decision_is_the_same_however_often_a_mail_is_rendered(send, key, week):
    ask = Ask(key, send_id=send)
    again = Ask(key, send_id=send, timezone="Asia/Tokyo", candidates=(Candidate("a"),))
    assert PLAIN.id_of(ask) == PLAIN.id_of(again)
    assert PLAIN.id_of(ask) != PLAIN.id_of(Ask(key + "x", send_id=send))
    assert PLAIN.id_of(ask) != PLAIN.id_of(Ask(key, send_id=send + "x"))
    assert PLAIN.id_of(ask) != PLAIN.id_of(Ask(key, send_id=send, slot="footer"))
    first, second = (in_full(send_time(ask, said(week), now=NOW)) for _ in range(2))
    assert first == second


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20).map(sorted))
def test_a_higher_risk_is_never_a_lower_band(risks):
    order = list(Band)
    places = [order.index(policy.band(risk)) for risk in risks]
    assert places == sorted(places)
    assert [policy.band(p) for p in (0.0, 0.34999, 0.35, 0.64999, 0.65, 1.0)] == [
        Band.LOW, Band.LOW, Band.MEDIUM, Band.MEDIUM, Band.HIGH, Band.HIGH,
    ]  # fmt: skip


@given(st.lists(st.sampled_from([0.0, 0.01, 0.02, 0.5, 1.0]), max_size=30))
def test_a_ranking_is_the_candidates_best_first_and_ties_as_asked(chances):
    ask = Ask("r", candidates=tuple(Candidate(f"c{n:02}") for n in range(len(chances))))
    ranked = ranked_by(ask, said(items=chances))
    by_name = {f"c{n:02}": np.float32(chance) for n, chance in enumerate(chances)}
    assert dict(ranked.rows) == by_name
    assert ranked.rows == sorted(ranked.rows, key=lambda row: (-row[1], row[0]))
    if not chances:
        assert ranked.first is None
    else:
        assert ranked.first == FirstPlace(ranked.rows[0][0], 1.0, is_explored=False)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=12), st.integers(0, 300))
def test_exploring_moves_one_candidate_to_the_front_and_leaves_the_others_in_order(chances, send):
    items = [f"c{n:02}" for n in range(len(chances))]
    ask = Ask("r", send_id=str(send), candidates=tuple(map(Candidate, items)))
    told = said(items=chances)
    best_first = ranked_by(ask, told).rows
    explored = ranked_by(ask, told, epsilon=1.0)
    front, *rest = explored.rows
    assert front[0] == explored.first.content_id
    assert rest == [row for row in best_first if row[0] != front[0]]
    assert explored == ranked_by(ask, told, epsilon=1.0)
    turned = ask._replace(candidates=ask.candidates[::-1])
    again = ranked_by(turned, said(items=chances[::-1]), epsilon=1.0)
    assert again.first.content_id == front[0]  # the order of asking does not matter
    if len(items) > 1:
        assert ranked_by(ask, told, epsilon=0.0).rows == best_first


def test_a_candidate_asked_for_twice_is_one_candidate_of_the_draw():
    asked = tuple(map(Candidate, ("a", "b", "a", "a")))
    told = said(items=(0.1, 0.2, 0.3, 0.05))
    found = [
        ranked_by(Ask("r", send_id=str(n), candidates=asked), told, epsilon=1.0)
        for n in range(2_000)
    ]
    assert {ranked.first.propensity for ranked in found} == {0.5}
    assert np.mean([ranked.first.content_id == "a" for ranked in found]) == pytest.approx(
        0.5, abs=0.05
    )
    rows = {ranked.first.content_id: [p for _, p in ranked.rows] for ranked in found}
    assert rows["a"] == pytest.approx([0.3, 0.2, 0.1, 0.05])
    assert rows["b"] == pytest.approx([0.2, 0.3, 0.1, 0.05])


def test_a_policy_that_explores_more_is_another_policy():
    names = [Policy(epsilon).name for epsilon in (0.0, 0.05, 0.1, 1.0)]
    ids = [Policy(epsilon).id_of(Ask("r")) for epsilon in (0.0, 0.05, 0.1, 1.0)]
    assert len(set(names)) == len(set(ids)) == 4


def test_what_stands_out_needs_features():
    assert policy.reason_codes({}) == []
    features = {
        "active_total": 9.0, "active_velocity_hl30d_hl120d": -0.4, "cart_open": 1.0,
        "days_since_active": 61.0, "days_since_first_active": np.nan, "days_since_opted_out": 2.0,
    }  # fmt: skip
    found = policy.reason_codes(features)
    assert found == [
        ReasonCode.CADENCE_SLOWING, ReasonCode.CART_PENDING, ReasonCode.LONG_SILENCE,
        ReasonCode.OPTED_OUT,
    ]  # fmt: skip
    assert ReasonCode.CADENCE_SLOWING not in policy.reason_codes(features | {"active_total": 1.0})


@given(st.floats(0, 1), st.sampled_from(list(Band)))
def test_a_band_moves_only_past_an_edge_and_its_margin(p, previous):
    known = policy.band(p, previous)
    assert policy.band(p, known) is known  # and having moved it stays
    stays = policy.STAYS
    if all(p < edge - stays or p >= edge + stays for edge in policy.EDGES):
        assert known is policy.band(p)


@given(st.floats(0.001, 0.049), st.sampled_from(policy.EDGES))
def test_noise_around_an_edge_moves_nobody_to_and_fro(noise, edge):
    for previous in (policy.band(edge - 0.1), policy.band(edge + 0.1)):
        assert {policy.band(edge + n, previous) for n in (-noise, noise)} == {previous}
