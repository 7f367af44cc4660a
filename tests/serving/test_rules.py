"""Laws of the sender's rules: no forbidden hour, none lost in silence, the binding rule named."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import chain, islice
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.events.schema import DAY_US, HOUR_US, SECOND_US
from features.layout import HOURS_PER_WEEK
from serving.asks import Ask
from serving.hours import LOOKS_AHEAD_H, send_time
from serving.rules import FREE, Binding, Cap, Rules
from tests.serving.test_policy import MINUTE_US, NOW, WEEKS, ZONES, changes, said

MINUTES = st.integers(0, 24 * 60 - 1)
SOON = st.integers(-3 * 24 * 60, 12 * 24 * 60).map(lambda minutes: minutes * MINUTE_US)


def clock(at: int, zone: str) -> int:
    local = datetime.fromtimestamp(at / SECOND_US, ZoneInfo(zone))
    return local.hour * 60 + local.minute


def is_quiet(at: int, zone: str, quiet: tuple[int, int]) -> bool:
    return is_quiet_minute(clock(at, zone), *quiet)


@cache
def is_quiet_minute(now: int, start: int, end: int) -> bool:
    """By walking from minute to minute of a clock's face, as a person would."""
    minute = start
    while minute != end:
        if minute == now:
            return True
        minute = (minute + 1) % (24 * 60)
    return False


def is_allowed(at: int, zone: str, rules: Rules) -> bool:
    if rules.expires_at and at >= rules.expires_at:
        return False
    if any(start <= at < end for start, end in rules.blackouts):
        return False
    if rules.quiet is not None and is_quiet(at, zone, rules.quiet):
        return False
    if rules.cap is not None:
        mails = [*rules.cap.sent_at, at]
        span = rules.cap.days * DAY_US
        if any(sum(m <= x < m + span for x in mails) > rules.cap.most
               for m in mails if m <= at < m + span):  # fmt: skip
            return False
    return at - at % HOUR_US not in rules.full


def minutes(first: int, last: int) -> range:
    """All whole ones from one moment to another."""
    return range(-(-first // MINUTE_US) * MINUTE_US, last + 1, MINUTE_US)


@st.composite
def rules_from(draw, begin: int):
    spans = st.tuples(SOON, st.integers(0, 4 * 24 * 60)).map(
        lambda pair: (begin + pair[0], begin + pair[0] + pair[1] * MINUTE_US)
    )
    hours = st.integers(0, 40).map(lambda n: (begin // HOUR_US + n) * HOUR_US)
    sent = st.lists(SOON.map(lambda ahead: begin + ahead), max_size=6).map(tuple)
    return Rules(
        quiet=draw(st.none() | st.tuples(MINUTES, MINUTES)),
        blackouts=tuple(draw(st.lists(spans, max_size=2))),
        expires_at=draw(st.just(0) | SOON.map(lambda ahead: begin + ahead)),
        cap=draw(
            st.none()
            | st.builds(Cap, st.integers(1, 3), st.sampled_from([0.5, 1.0, 3.0, 7.0]), sent)
        ),
        full=frozenset(draw(st.lists(hours, max_size=30))),
    )


@pytest.mark.parametrize("zone", ZONES[:6])
@given(data=st.data(), week=WEEKS, hours=st.integers(1, 60), which=st.integers(0, 3))
def test_the_hour_is_allowed_or_it_is_said_by_what_it_is_not(zone, data, week, hours, which):
    """Around clock changes too; what is allowed is judged by other code than the solver's."""
    nights = changes(zone)
    begin = nights[which % len(nights)] - 20 * HOUR_US
    rules = data.draw(rules_from(begin))
    end = begin + hours * HOUR_US
    ask = Ask("r", timezone=zone, window_from=begin, window_to=end, rules=rules)
    chosen = send_time(ask, said(week), now=begin - DAY_US)
    every = [at for at in range(begin - begin % HOUR_US, end + 1, HOUR_US) if at >= begin]
    allowed = [at for at in every if is_allowed(at, zone, rules)]

    last = min(end, begin + HOURS_PER_WEEK * HOUR_US)
    if not allowed:
        allowed = [*islice(filter(lambda at: is_allowed(at, zone, rules), minutes(begin, last)), 1)]
    if allowed:
        assert [slot.at for slot in chosen.slots] == allowed
        assert chosen.best.at in allowed
        assert chosen.forbidden_by is Binding.NONE
        best = max(allowed, key=lambda at: next(s.p for s in chosen.slots if s.at == at))
        assert chosen.best.p >= 0.99 * next(s.p for s in chosen.slots if s.at == best)
        return
    assert chosen.forbidden_by is chosen.binding is not Binding.NONE
    later = range(every[-1] + HOUR_US, every[-1] + (LOOKS_AHEAD_H + 1) * HOUR_US, HOUR_US)
    whole = (at for at in later if is_allowed(at, zone, rules))
    finer = (at for at in minutes(later[0], later[-1]) if is_allowed(at, zone, rules))
    following = next(chain(whole, finer), None)
    assert chosen.is_next_known == (following is not None)
    if following is not None:
        assert chosen.best.at == following


@given(data=st.data(), week=WEEKS)
def test_the_rule_that_is_named_forbids_something_better(data, week):
    rules = data.draw(rules_from(NOW))
    ask = Ask("r", timezone="Europe/Berlin", rules=rules)
    chosen = send_time(ask, said(week), now=NOW)
    free = send_time(ask._replace(rules=FREE), said(week), now=NOW)
    by_rules = {
        Binding.QUIET_HOURS, Binding.BLACKOUT, Binding.EXPIRY, Binding.FREQUENCY_CAP,
        Binding.THROTTLE,
    }  # fmt: skip
    if chosen.forbidden_by is not Binding.NONE:
        assert rules.forbids((free.best.at,), chosen.zone)[0] in by_rules
    elif chosen.binding in by_rules:
        hours = {slot.at for slot in free.slots} - {slot.at for slot in chosen.slots}
        assert chosen.binding in set(rules.forbids(tuple(hours), chosen.zone))
        assert free.best.at != chosen.best.at or free.default.at not in {
            slot.at for slot in chosen.slots
        }
    else:
        assert chosen.best.p >= 0.99 * free.best.p


def test_quiet_hours_move_a_mail_to_their_end_and_say_so():
    week = np.full(168, 0.1)
    asked = datetime(2026, 3, 2, 22, tzinfo=ZoneInfo("Europe/Berlin"))
    ask = Ask(
        "r", timezone="Europe/Berlin", default_at=int(asked.timestamp()) * SECOND_US,
        rules=Rules(quiet=(21 * 60, 8 * 60)),
    )  # fmt: skip
    chosen = send_time(ask, said(week), now=NOW)
    assert clock(chosen.best.at, "Europe/Berlin") == 20 * 60  # nearer than eight in the morning
    assert chosen.binding is Binding.QUIET_HOURS
    late = ask._replace(window_from=NOW + 11 * HOUR_US, window_to=NOW + 13 * HOUR_US)
    waits = send_time(late, said(week), now=NOW)
    assert waits.forbidden_by is Binding.QUIET_HOURS
    assert clock(waits.best.at, "Europe/Berlin") == 8 * 60
    assert waits.best.at > late.window_to


def test_a_cap_without_times_goes_by_the_newest_delivery_of_the_events():
    features = {"active_total": 50.0, "days_since_delivered": 1.0}
    rules = Rules(cap=Cap(1, 2.0))
    chosen = send_time(Ask("r", rules=rules), said(features=features), now=NOW)
    assert chosen.forbidden_by is Binding.FREQUENCY_CAP or all(
        slot.at >= NOW + DAY_US for slot in chosen.slots
    )
    known = replace(rules, cap=Cap(1, 2.0, ()))
    assert len(send_time(Ask("r", rules=known), said(features=features), now=NOW).slots) == 24


def test_an_expired_offer_is_never_allowed():
    ask = Ask("r", rules=Rules(expires_at=NOW - DAY_US))
    chosen = send_time(ask, said(), now=NOW)
    assert chosen.forbidden_by is Binding.EXPIRY
    assert not chosen.is_next_known


def test_full_hours_are_left_out_and_named():
    week = np.full(168, 0.1)
    best = datetime(2026, 3, 2, 18, tzinfo=UTC)
    week[best.weekday() * 24 + 18] = 0.5
    at = int(best.timestamp()) * SECOND_US
    free = send_time(Ask("r"), said(week), now=NOW)
    full = send_time(Ask("r", rules=Rules(full=frozenset([at]))), said(week), now=NOW)
    assert free.best.at == at
    assert full.best.at != at
    assert full.binding is Binding.THROTTLE
    assert timedelta(microseconds=full.best.at - NOW) < timedelta(days=1)


@pytest.mark.parametrize("rules", [
    Rules(expires_at=NOW + 20 * MINUTE_US),
    Rules(quiet=(10 * 60, 9 * 60 + 30)),
    Rules(blackouts=((NOW + MINUTE_US, NOW + 7 * DAY_US),)),
])  # fmt: skip
def test_what_may_go_out_at_once_alone_goes_out_at_once(rules):
    """It is half past nine: no whole hour is allowed, this moment is."""
    week = np.full(168, 0.1)
    chosen = send_time(Ask("r", timezone="UTC", rules=rules), said(week), now=NOW)
    assert (chosen.best.at, chosen.forbidden_by) == (NOW, Binding.NONE)


def test_a_window_that_opens_between_two_hours_is_used():
    window = Ask("r", window_from=NOW + 40 * MINUTE_US, window_to=NOW + 80 * MINUTE_US)
    barred = window._replace(rules=Rules(blackouts=((NOW, NOW + 60 * MINUTE_US),)))
    chosen = send_time(barred, said(np.full(168, 0.1)), now=NOW)
    assert (chosen.best.at, chosen.forbidden_by) == (NOW + 60 * MINUTE_US, Binding.NONE)


@pytest.mark.parametrize("ahead", [timedelta(minutes=10), timedelta(hours=14), timedelta(days=3)])
def test_the_senders_own_time_is_kept_to_the_minute(ahead):
    """For who is held out, and for who has shown nothing: whenever it is."""
    own = NOW + ahead // timedelta(microseconds=1)
    ask = Ask("r", timezone="Asia/Kolkata", default_at=own)
    for is_personal in (True, False):
        chosen = send_time(ask, said(features={}), now=NOW, is_personal=is_personal)
        assert chosen.best.at == chosen.default.at == own
        assert sum(slot.at // HOUR_US == own // HOUR_US for slot in chosen.slots) == 1
