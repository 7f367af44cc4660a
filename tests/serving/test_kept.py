"""What was decided for a mail stays decided: over renders, restarts, swaps and processes."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.candidates import Candidate
from features.events.schema import DAY_US, HOUR_US
from features.online import open_store
from serving.asks import Ask, Champions
from serving.chooser import Chooser
from serving.decider import Scored
from serving.decision import decide, to_keep
from serving.holding import HoldReason, Values
from serving.kept import ENTITY, Keeper, Kept
from serving.policy import Policy
from serving.rules import Rules
from tests.serving.test_policy import NOW, WEEKS, said

EXPLORING = Policy(epsilon=0.5, epsilon_hour=0.5)
KEPT = Kept(NOW, "b", 0.25, True, NOW + HOUR_US, 0.5, False, HoldReason.NONE, 1.0, False)
ITEMS = tuple(map(Candidate, "abcde"))


@pytest.fixture(params=["sqlite", "redis"])
def address(request, tmp_path):
    if request.param == "sqlite":
        return str(tmp_path / "kept.sqlite")
    return request.getfixturevalue("redis_url")


@pytest.fixture
def open_keeper(address):
    opened = []

    def keeper(days: float = 30.0) -> Keeper:
        opened.append(Keeper(address, days=days))
        opened[-1].start()
        return opened[-1]

    yield keeper
    for one in opened:
        one.stop()


def ended(keeper: Keeper) -> None:
    """Written and closed, as at the end of a process."""
    keeper.stop()


def test_the_next_process_recalls_what_was_kept_and_the_first_one_wins(open_keeper):
    first = open_keeper()
    first.keep("one", KEPT)
    assert first.recall(["one", "two"], now=NOW) == {"one": KEPT}
    ended(first)
    late = open_keeper()
    late.keep("one", KEPT._replace(at=NOW + 1, variant="c"))  # it had not looked
    late.keep("two", KEPT._replace(variant="d"))
    ended(late)
    after = open_keeper().recall(["two", "one"], now=NOW + HOUR_US)
    assert {one: kept.variant for one, kept in after.items()} == {"one": "b", "two": "d"}
    assert after["one"] == KEPT


def test_a_decision_is_forgotten_after_its_days(open_keeper):
    keeper = open_keeper(days=2.0)
    keeper.keep("one", KEPT)
    assert keeper.recall(["one"], now=NOW + DAY_US)
    assert not keeper.recall(["one"], now=NOW + 3 * DAY_US)


def test_what_is_forgotten_takes_no_room(address, open_keeper):
    keeper = open_keeper(days=2.0)
    keeper.keep("one", KEPT)
    ended(keeper)
    later = open_keeper(days=2.0)
    later.keep("two", KEPT._replace(at=NOW + 5 * DAY_US))
    ended(later)
    with open_store(address) as store:
        keys = store.keys(ENTITY, limit=9)
    assert keys == ["two"] or address.startswith("redis")  # which counts its own time to live


def test_what_cannot_be_read_is_decided_anew(address, open_keeper):
    whole = KEPT.packed()
    damaged = [whole[:-3], whole[:20], whole.replace(b"none", b"nome"), whole[:32] + b"[]"]
    with open_store(address) as store:
        store.put(ENTITY, [(str(n), 1, NOW, blob) for n, blob in enumerate(damaged)])
        store.put(ENTITY, [("sound", 1, NOW, whole)])
    names = [*map(str, range(len(damaged))), "sound"]
    assert open_keeper().recall(names, now=NOW) == {"sound": KEPT}


@given(WEEKS, WEEKS, st.integers(0, 500), st.integers(0, 12))
def test_another_render_by_other_models_is_the_same(week, other, send, hours):
    """Whatever the models say by then, as long as the hour has not passed."""
    ask = Ask("r", send_id=str(send), candidates=ITEMS, values=Values(1, 100, 0))
    chances, changed = np.random.default_rng(send).random((2, 5))
    first = decide(ask, said(week, items=chances), EXPLORING, now=NOW)
    kept = Kept.unpacked(to_keep(first, now=NOW).packed())
    now = NOW + hours * HOUR_US
    again = decide(ask, said(other, items=changed), EXPLORING, now=now, kept=kept)

    assert again.id == first.id
    assert again.ranked.first == first.ranked.first
    assert again.ranked.rows[0][0] == first.ranked.rows[0][0]
    assert {item for item, _ in again.ranked.rows} == set("abcde")
    assert (again.hold.reason, again.hold.propensity) == (first.hold.reason, first.hold.propensity)
    if first.hours.best.at >= now:
        assert again.hours.best.at == first.hours.best.at
        assert again.hours.propensity == first.hours.propensity
    else:
        assert again.hours.best.at >= now


def test_what_is_no_longer_possible_is_decided_anew():
    ask = Ask("r", send_id="s", candidates=ITEMS)
    told = said(items=np.linspace(0.1, 0.5, 5))
    first = decide(ask, told, Policy(), now=NOW)
    kept = to_keep(first, now=NOW)
    others = ask._replace(candidates=ITEMS[:3])
    shown = decide(others, said(items=np.linspace(0.1, 0.3, 3)), Policy(), now=NOW, kept=kept)
    assert (kept.variant, shown.ranked.rows[0][0]) == ("e", "c")
    shut = Rules(blackouts=((first.hours.best.at, first.hours.best.at + HOUR_US),))
    moved = decide(ask._replace(rules=shut), told, Policy(), now=NOW, kept=kept)
    assert moved.hours.best.at != first.hours.best.at


@pytest.mark.parametrize("is_restarted", [False, True])
def test_what_took_the_place_of_the_impossible_stays_as_well(open_keeper, is_restarted):
    """The hour is shut and the item is gone; what is decided then is decided for good."""
    keeper = open_keeper()
    ask = Ask("r", send_id="s", candidates=ITEMS)
    shut = Rules(blackouts=((NOW, NOW + 9 * HOUR_US),))
    fewer = ask._replace(candidates=ITEMS[:3], rules=shut)
    bare = ask._replace(candidates=(), rules=shut)
    asked = [ask, fewer, fewer, bare, fewer, ask._replace(rules=shut)]
    weeks = np.random.default_rng(5).random((len(asked), 168)) * 0.2
    told = []
    for one, week in zip(asked, weeks, strict=True):
        chances = week[: len(one.candidates)]
        said_of_it = [Scored(said(week, items=chances), Champions())]
        chooser = Chooser(Policy(), keeper)
        (before,) = chooser.recalled([one], now=NOW)
        (made,) = chooser.together([one], said_of_it, [before], now=NOW)
        chooser.keep(one, made, before, now=NOW)
        told.append((made.hours.best.at, made.ranked.shown_first.content_id))
        if is_restarted:
            ended(keeper)
            keeper = open_keeper()
    first, second, *later = told
    assert second[0] >= NOW + 9 * HOUR_US > first[0]
    assert (first[1] in {"d", "e"}) is (second[1] != first[1])
    assert [one for one in later if one[1]] == [second] * 3
    assert {hour for hour, _ in later} == {second[0]}


def test_who_may_not_go_out_now_keeps_what_was_decided(open_keeper):
    keeper, ask = open_keeper(), Ask("r", send_id="s", candidates=ITEMS)
    chooser, full = Chooser(Policy(), keeper), Rules(blackouts=((NOW, NOW + 4 * DAY_US),))
    told = []
    for rules in (Rules(), full, Rules()):
        one = ask._replace(rules=rules)
        (before,) = chooser.recalled([one], now=NOW)
        scored = [Scored(said(np.full(168, 0.1), items=np.linspace(0.1, 0.5, 5)), Champions())]
        (made,) = chooser.together([one], scored, [before], now=NOW)
        chooser.keep(one, made, before, now=NOW)
        told.append((made.hours.best.at, made.hold.reason))
    assert told[0] == told[2]
    assert told[1][1] is HoldReason.NO_ALLOWED_HOUR


def test_over_http_a_mail_is_the_same_after_events_and_a_restart(
    small_world, tmp_path, open_service
):
    copied = small_world.copy(tmp_path / "var")
    usual = {"epsilon": 0.3, "epsilon_hour": 0.3, "sticky_days": 30}

    def answers(world, **more):
        people = copied.people[:25]
        told = [world.score(k, candidates=copied.candidates, **more) for k in people]
        return [
            (
                one["decision_id"], one["content"]["variant"], one["content"]["propensity"],
                one["content"]["explored"], one["send_time"]["best_at_epoch"],
                one["send_time"]["propensity"], one["hold"]["propensity"],
            )
            for one in told
        ]  # fmt: skip

    world = open_service(copied.data_dir, **usual)
    first = answers(world, send_id="spring")
    dry = answers(world, send_id="spring", explore=False)
    last = copied.candidates[-1]
    lately = datetime.fromtimestamp((copied.now - HOUR_US) / 1e6, UTC).isoformat()
    world.events(
        *(
            {
                "event_id": f"e{key}{n}", "type": "clicked", "recipient_key": key,
                "occurred_at": lately, **last,
            }
            for key in copied.people[:25]
            for n in range(30)
        )
    )  # fmt: skip
    assert answers(world, send_id="spring") == first
    assert answers(world, send_id="spring", explore=False) != dry  # the models do say otherwise
    assert answers(world, send_id="summer") != first
    world.http.__exit__(None, None, None)

    again = open_service(copied.data_dir, **usual)
    assert answers(again, send_id="spring") == first
    footer = answers(again, send_id="spring", slot="footer")
    assert not {one[0] for one in footer} & {one[0] for one in first}
