"""Laws of the scalar rule: a decayed sum is its definition, however its events arrive."""

import math
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.decay import FLOOR, NEVER_AT, Counter, add, merge, value_at, weight

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
DAY = 86_400.0
START = 1_700_000_000_000_000
SPANS = st.floats(0.25, 1_000.0).map(lambda days: days * DAY) | st.just(math.inf)
# Half-lives of a day or more over a year: nothing comes near the floor below which all is zero.
LONG_SPANS = st.floats(5.0, 1_000.0).map(lambda days: days * DAY) | st.just(math.inf)
EVENTS = st.lists(
    st.tuples(st.integers(START, START + 365 * DAY_US), st.floats(0.01, 1_000.0)),
    min_size=1,
    max_size=25,
)


def definition(events: list[tuple[int, float]], at: int, half_life_s: float) -> float:
    ages = ((at - t) / 1e6 / half_life_s for t, _ in events)
    return math.fsum(w * 0.5**age for age, (_, w) in zip(ages, events, strict=True))


def folded(events: list[tuple[int, float]], half_life_s: float) -> Counter:
    counter = Counter()
    for at, amount in events:
        counter = add(counter, at, amount, half_life_s=half_life_s)
    return counter


@given(EVENTS, LONG_SPANS, st.integers(0, 100 * DAY_US), st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_the_defining_sum(events, half_life_s, wait, random):
    newest = max(at for at, _ in events)
    counter = folded(random.sample(events, len(events)), half_life_s)

    assert counter.at == newest
    found = value_at(counter, newest + wait, half_life_s=half_life_s)
    assert found == pytest.approx(definition(events, newest + wait, half_life_s), rel=1e-9)


@given(EVENTS, st.integers(1, 400 * DAY_US), SPANS)
def test_a_late_event_adds_what_is_left_of_it(events, age, half_life_s):
    counter = folded(events, half_life_s)
    late = add(counter, counter.at - age, 1.0, half_life_s=half_life_s)

    left = 0.5 ** (age / 1e6 / half_life_s)
    assert late.at == counter.at
    assert late.value == pytest.approx(counter.value + left, rel=1e-12)


COUNTERS = st.builds(Counter, st.floats(0.01, 1e6), st.integers(START, START + 365 * DAY_US))
COUNTERS_OR_NONE = COUNTERS | st.just(Counter())


@given(COUNTERS_OR_NONE, COUNTERS_OR_NONE, SPANS)
def test_merging_is_commutative(a, b, half_life_s):
    assert merge(a, b, half_life_s=half_life_s) == merge(b, a, half_life_s=half_life_s)


@given(COUNTERS_OR_NONE, COUNTERS_OR_NONE, COUNTERS_OR_NONE, SPANS)
def test_merging_is_associative(a, b, c, half_life_s):
    left = merge(merge(a, b, half_life_s=half_life_s), c, half_life_s=half_life_s)
    right = merge(a, merge(b, c, half_life_s=half_life_s), half_life_s=half_life_s)

    assert left.at == right.at
    assert left.value == pytest.approx(right.value, rel=1e-9, abs=10 * FLOOR)


@given(COUNTERS, SPANS)
def test_a_counter_without_events_is_the_identity(counter, half_life_s):
    assert merge(counter, Counter(), half_life_s=half_life_s) == counter
    assert merge(Counter(), Counter(), half_life_s=half_life_s) == Counter(0.0, NEVER_AT)


@given(EVENTS, st.lists(st.integers(0, 3), min_size=25, max_size=25), LONG_SPANS)
def test_parts_merged_are_the_whole(events, places, half_life_s):
    parts = [[e for e, p in zip(events, places, strict=False) if p == k] for k in range(4)]
    merged = reduce(
        lambda a, b: merge(a, b, half_life_s=half_life_s),
        (folded(part, half_life_s) for part in parts),
    )
    whole = folded(events, half_life_s)

    assert merged.at == whole.at
    assert merged.value == pytest.approx(whole.value, rel=1e-9)


@given(st.lists(st.integers(START, START + 3_650 * DAY_US), max_size=50))
def test_an_infinite_half_life_counts(moments):
    counter = folded([(at, 1.0) for at in moments], math.inf)

    assert value_at(counter, START + 99_999 * DAY_US, half_life_s=math.inf) == len(moments)


@given(st.floats(0.25, 30.0), st.integers(10, 100), st.floats(1e-3, 1e6))
def test_years_of_silence_leave_zero_and_never_a_subnormal(days, years, amount):
    half_life_s = days * DAY
    later = START + years * 365 * DAY_US
    found = value_at(Counter(amount, START), later, half_life_s=half_life_s)

    assert found == 0.0 or found >= FLOOR
    if amount * 0.5 ** (years * 365 / days) < FLOOR / 2:
        assert found == 0.0


def test_six_hours_over_400_days_neither_overflows_nor_loses_the_newest():
    half_life_s = 6 * 3_600.0
    events = [(START + hour * HOUR_US, 1.0) for hour in range(400 * 24)]
    for ordered in (events, events[::-1]):
        counter = folded(ordered, half_life_s)
        assert counter.value == pytest.approx(1 / (1 - 0.5 ** (1 / 6)), rel=1e-9)


@given(st.integers(0, 10_000 * DAY_US), SPANS)
def test_weight_halves_with_every_half_life(age, half_life_s):
    here = weight(age, half_life_s)
    assert 0.0 <= here <= 1.0
    if not math.isinf(half_life_s):
        later = weight(age + round(half_life_s * 1e6), half_life_s)
        assert later == pytest.approx(here / 2, rel=1e-9, abs=1e-300)
