"""Laws of a decision: held back for a reason, exact chances, and people to compare with."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.candidates import Candidate
from features.events.schema import HOUR_US
from serving.asks import Ask, Weeks
from serving.decision import decide, decide_each, to_keep
from serving.fallback import FallbackReason
from serving.holding import HoldReason, Risks, Values
from serving.policy import Policy
from serving.rules import FREE, Binding, Cap, Rules
from tests.serving import test_policy
from tests.serving.test_policy import NOW, WEEKS, said

RISKS = Risks(unsubscribe=0.004, complaint=0.0003)
COSTLY = Values(1.0, 100.0, 1_000.0)
AMOUNTS = st.floats(0, 1_000)
ITEMS = ((), (Candidate("a"), Candidate("b")), tuple(map(Candidate, "vwxyz")))


def told(week=None, **more):
    return said(week, **more)._replace(risks=RISKS)


@given(WEEKS, AMOUNTS, AMOUNTS, AMOUNTS)
def test_a_mail_is_held_just_where_it_risks_more_than_it_brings(week, one, two, three):
    ask = Ask("r", values=Values(one, two, three))
    made = decide(ask, told(week), Policy(), now=NOW)
    p = made.hours.best.p
    worth = one * p - two * RISKS.unsubscribe - three * RISKS.complaint
    assert made.hold.value == pytest.approx(worth)
    assert (made.hold.reason is HoldReason.NOT_WORTH_IT) == (worth < 0)
    assert made.hold.propensity == 1.0


@given(WEEKS)
def test_nothing_is_held_without_the_senders_values(week):
    assert decide(Ask("r"), told(week), Policy(), now=NOW).hold.reason is HoldReason.NONE


@pytest.mark.parametrize("model", ["send_time", "churn"])
def test_nothing_is_held_on_a_prior(model):
    ask, prediction = Ask("r", values=COSTLY), told()
    assert decide(ask, prediction, Policy(), now=NOW).hold.reason is HoldReason.NOT_WORTH_IT
    reasons = {**prediction.reasons, model: FallbackReason.NO_MODEL}
    prior = prediction._replace(reasons=reasons)
    assert decide(ask, prior, Policy(), now=NOW).hold.reason is HoldReason.NONE


def test_a_mail_without_an_allowed_hour_is_held_and_said_until_when():
    closed = Rules(blackouts=((NOW, NOW + 30 * 3_600 * 1_000_000),))
    made = decide(Ask("r", rules=closed), told(), Policy(epsilon_hour=1.0), now=NOW)
    assert made.hold.reason is HoldReason.NO_ALLOWED_HOUR
    assert made.hours.binding is Binding.BLACKOUT
    assert made.hold.until == made.hours.best.at >= closed.blackouts[0][1]
    never = decide(Ask("r", rules=Rules(expires_at=1)), told(), Policy(), now=NOW)
    assert (never.hold.reason, never.hold.until) == (HoldReason.NEVER_ALLOWED, 0)


@pytest.mark.parametrize("epsilon", [0.0, 0.2])
def test_holds_and_hours_happen_as_often_as_their_chances_say(epsilon):
    policy = Policy(epsilon=epsilon, epsilon_hour=epsilon)
    week = np.random.default_rng(1).random(168)
    asks = [Ask("r", send_id=str(n), values=COSTLY) for n in range(4_000)]
    made = [decide(ask, told(week * 0.1), policy, now=NOW) for ask in asks]

    sent = [one for one in made if one.hold.reason is HoldReason.NONE]
    assert all(one.hold.is_explored and one.hold.propensity == epsilon for one in sent)
    assert len(sent) / len(made) == pytest.approx(epsilon, abs=0.025)
    chances = {one.hours.best.at: one.hours.propensity for one in made}
    counts = dict.fromkeys(chances, 0)
    for one in made:
        assert chances[one.hours.best.at] == one.hours.propensity
        counts[one.hours.best.at] += 1
    assert sum(chances.values()) == pytest.approx(1.0)
    for at, chance in chances.items():
        spread = np.sqrt(chance * (1 - chance) / len(made))
        assert abs(counts[at] / len(made) - chance) < 4.5 * spread + 1e-12
    assert sum(one.hours.is_explored for one in made) == pytest.approx(
        epsilon * len(made), abs=0.025 * len(made)
    )


def test_an_hour_that_passes_does_not_deal_the_others_anew():
    policy, week = Policy(epsilon_hour=1.0), np.random.default_rng(2).random(168)
    ask = Ask("r", window_from=NOW, window_to=NOW + 20 * 3_600 * 1_000_000)
    first = decide(ask, told(week), policy, now=NOW).hours.best.at
    later = [
        decide(ask, told(week), policy, now=at).hours.best.at for at in range(NOW, first, 9**11)
    ]
    assert set(later) <= {first}


CROWD = st.lists(
    st.builds(
        lambda seed, key, zone, rules, items, hours, active: (
            Ask(
                key, send_id="s", timezone=zone, rules=rules, values=COSTLY,
                candidates=ITEMS[items], default_at=NOW + hours * HOUR_US if hours else 0,
                window_to=NOW + 40 * HOUR_US if seed % 2 else 0, explore=bool(seed % 5),
            ),
            told(
                np.random.default_rng(seed).random(168), active=active,
                items=np.random.default_rng(seed + 1).random(len(ITEMS[items])),
                delivered=np.zeros(len(ITEMS[items]), np.float32),
            ),
        ),
        st.integers(0, 99), st.sampled_from(list("abcdefgh")),
        st.sampled_from(["", "Asia/Kolkata", "Europe/Berlin"]),
        st.sampled_from([
            FREE, Rules(quiet=(600, 1_200)), Rules(cap=Cap(1, 1.0, (NOW,))), Rules(expires_at=NOW),
        ]),
        st.integers(0, 2), st.sampled_from([0, 0, 5, 30]), st.sampled_from([0.0, 2.0, 50.0]),
    ),
    max_size=12,
)  # fmt: skip


def scored_together(predictions, n):
    """The last so many of them as one run of the models gives them, in another order of rows."""
    alone, some = predictions[: len(predictions) - n], predictions[len(predictions) - n :]
    if not some:
        return alone
    weeks = Weeks(*(np.concatenate(p[::-1]) for p in zip(*(s.weeks for s in some), strict=True)))
    return alone + [one._replace(weeks=weeks, row=n - 1 - i) for i, one in enumerate(some)]


def in_full(made):
    """All that decisions say, to compare."""
    return [one._replace(hours=test_policy.in_full(one.hours)) for one in made]


@given(CROWD, st.sampled_from([0.0, 0.5]), st.data())
def test_each_of_many_gets_what_they_would_alone(crowd, share, data):
    """Whoever asks alike shares a window and an array; nobody's answer depends on the others'."""
    policy = Policy(epsilon=share, epsilon_hour=share, holdout=share / 2, salt="s")
    asks, predictions = [ask for ask, _ in crowd], [prediction for _, prediction in crowd]
    if crowd:  # some are asked about the very same candidates at the same counts
        shared = predictions[0]._replace(concentration=0.7)
        asks, predictions = [*asks, asks[0], asks[0]], [*predictions, shared, predictions[0]]
    alone = [decide(ask, one, policy, now=NOW) for ask, one in zip(asks, predictions, strict=True)]
    nothing = [None] * len(asks)
    together = scored_together(predictions, data.draw(st.integers(0, len(asks))))
    assert in_full(decide_each(asks, together, policy, now=NOW, kept=nothing)) == in_full(alone)
    kept = [data.draw(st.sampled_from([None, to_keep(one, now=NOW)])) for one in alone]
    later = NOW + 3 * HOUR_US
    again = [
        decide(*of_one, policy, now=later, kept=before)
        for *of_one, before in zip(asks, predictions, kept, strict=True)
    ]
    made = decide_each(asks, together, policy, now=later, kept=kept)
    assert in_full(made) == in_full(again)


# --- held out ---------------------------------------------------------------------------------


def test_a_share_of_recipients_is_held_out_the_same_for_every_send():
    policy, other = Policy(holdout=0.1, salt="a"), Policy(holdout=0.1, salt="b")
    keys = [f"r{n}" for n in range(5_000)]
    held = {key for key in keys if policy.holds_out(key)}
    assert len(held) / len(keys) == pytest.approx(0.1, abs=0.015)
    assert held == {key for key in keys if Policy(0.5, 0.5, 0.1, "a").holds_out(key)}
    again = {key for key in keys if other.holds_out(key)}
    assert len(held & again) / len(keys) == pytest.approx(0.01, abs=0.005)
    wider = {key for key in keys if Policy(holdout=0.2, salt="a").holds_out(key)}
    assert held < wider
    assert not any(Policy(holdout=0.0).holds_out(key) for key in keys)
    assert all(Policy(holdout=1.0).holds_out(key) for key in keys)


@given(WEEKS, st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8))
def test_who_is_held_out_gets_what_the_sender_would_have_sent(week, chances):
    items = tuple(Candidate(f"c{n}") for n in range(len(chances)))
    ask = Ask("r", default_at=NOW + 5 * 3_600 * 1_000_000, candidates=items, values=COSTLY)
    policy = Policy(epsilon=0.5, epsilon_hour=0.5, holdout=1.0)
    made = decide(ask, told(week, items=chances), policy, now=NOW)
    assert made.is_held_out
    assert made.hours.best == made.hours.default
    assert made.hours.binding is Binding.HOLDOUT
    assert [item for item, _ in made.ranked.rows] == [item.content_id for item in items]
    assert made.ranked.first.propensity == made.hours.propensity == made.hold.propensity == 1.0
    assert made.hold.reason is HoldReason.NONE
    assert made.hold.value < 0 or COSTLY.of(made.hours.best.p, RISKS) >= 0

    quiet = ask._replace(rules=Rules(quiet=(0, 24 * 60 - 1)))
    assert decide(quiet, told(week, items=chances), policy, now=NOW).hours.binding in {
        Binding.QUIET_HOURS, Binding.HOLDOUT,
    }  # fmt: skip


def test_a_test_recipient_is_not_held_out_and_a_dry_run_draws_nothing():
    policy = Policy(epsilon=1.0, epsilon_hour=1.0, holdout=1.0)
    assert not decide(Ask("r", is_test=True), told(), policy, now=NOW).is_held_out
    dry = decide(Ask("r", explore=False), told(), policy, now=NOW)
    assert not dry.is_held_out
    assert not dry.hours.is_explored
