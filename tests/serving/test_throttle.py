"""Laws of many decisions that share the hours."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.events.schema import HOUR_US
from serving.asks import Ask
from serving.decision import decide
from serving.holding import HoldReason
from serving.policy import Policy
from serving.rules import Binding, Rules
from serving.throttle import Throttle, decide_all
from tests.serving.test_decision import in_full
from tests.serving.test_policy import NOW, said

FIRST = (NOW // HOUR_US + 1) * HOUR_US


def crowd(n: int, seed: int):
    rng = np.random.default_rng(seed)
    asks = [Ask(f"r{i}", window_from=FIRST, window_to=FIRST + 9 * HOUR_US) for i in range(n)]
    return asks, [said(rng.random(168)) for _ in range(n)]


@given(
    n=st.integers(1, 40), seed=st.integers(0, 99), per_hour=st.integers(1, 12),
    planned=st.dictionaries(st.integers(0, 11), st.integers(0, 15), max_size=6),
)  # fmt: skip
def test_no_hour_takes_more_than_it_may_and_no_mail_is_lost(n, seed, per_hour, planned):
    asks, predictions = crowd(n, seed)
    told = {FIRST + hour * HOUR_US: mails for hour, mails in planned.items()}
    throttle = Throttle(per_hour, told)
    made = decide_all(asks, predictions, Policy(), now=NOW, throttle=throttle)

    assert len(made) == n
    taken = Counter(one.hours.best.at for one in made)
    for at, mails in taken.items():
        assert mails + told.get(at, 0) <= max(per_hour, told.get(at, 0))
    room = sum(max(per_hour - told.get(FIRST + h * HOUR_US, 0), 0) for h in range(10))
    waiting = [one for one in made if one.hold.reason is HoldReason.NO_ALLOWED_HOUR]
    assert len(waiting) == max(n - room, 0)
    assert all(one.hours.binding is Binding.THROTTLE for one in waiting)
    assert all(one.hold.until > asks[0].window_to for one in waiting)


@given(hours=st.integers(0, 9), send=st.sampled_from(["s", ""]))
def test_a_mail_that_is_named_again_has_its_room(hours, send):
    """Be there room in the window or none; without a name of the mail each is one of its own."""
    ask = Ask("r", send_id=send, window_from=FIRST, window_to=FIRST + hours * HOUR_US)
    week = np.random.default_rng(hours).random(168)
    made = decide_all([ask] * 3, [said(week)] * 3, Policy(), now=NOW, throttle=Throttle(1))
    assert len({one.hours.best.at for one in made}) == (1 if send else 3)


def test_with_room_for_all_everybody_gets_what_they_would_alone():
    asks, predictions = crowd(30, 1)
    shared = decide_all(asks, predictions, Policy(), now=NOW, throttle=Throttle(30))
    assert in_full(shared) == in_full(
        decide(a, p, Policy(), now=NOW) for a, p in zip(asks, predictions, strict=True)
    )


def test_who_would_lose_most_chooses_first():
    """One who cares and nine who hardly do all like the same hour, which takes one."""
    liked = FIRST + 5 * HOUR_US
    weeks = []
    for gain in (0.3, *[0.02] * 9):
        week = np.full(168, 0.1)
        week[int((liked // HOUR_US + 72) % 168)] += gain
        weeks.append(week)
    asks, _ = crowd(10, 0)
    for turn in range(10):
        order = [*range(turn, 10), *range(turn)]
        made = decide_all(
            [asks[i] for i in order], [said(weeks[i]) for i in order], Policy(), now=NOW,
            throttle=Throttle(1),
        )  # fmt: skip
        best = [i for i, one in zip(order, made, strict=True) if one.hours.best.at == liked]
        assert best == [0]


def test_the_own_rules_hold_as_well():
    asks, predictions = crowd(12, 3)
    shut = Rules(blackouts=((FIRST, FIRST + 5 * HOUR_US),))
    asks = [ask._replace(rules=shut) for ask in asks]
    made = decide_all(asks, predictions, Policy(), now=NOW, throttle=Throttle(2))
    assert all(one.hours.best.at >= FIRST + 5 * HOUR_US for one in made)
