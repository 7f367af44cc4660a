"""The interval on a chance beside the truth of a simulated world that the model never saw."""

from pathlib import Path

import numpy as np
import pytest

from features.events import world_chances as chance
from features.events.log import EventLog
from features.events.schema import DAY_US, HOUR_US
from features.events.simulator import simulate
from serving.asks import Ask, Champions
from serving.hours import send_time
from tests.benchmarks.bench_worlds import ENDS_AT, asked, logged, subscribed, trained

pytestmark = pytest.mark.long  # half a minute and more of a core

N_ITEMS = 12


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Truth, chance, interval and active hours of people whose opens are seen, (n,) each."""
    folder = Path(tmp_path_factory.mktemp("interval"))
    world = simulate(seed=24, n_recipients=500, weeks=18, ends_at=ENDS_AT)
    with EventLog(folder / "events") as events:
        log = logged(world, events, folder)
        model = trained("send_time", log.order(as_of=ENDS_AT), folder / "send_time")
        to = subscribed(world)
        to = to[~world.oracle.world.recipients.is_machine_open[to]]
        keys = world.truth["recipient_key"].to_list()
        asks = [Ask(keys[person], default_at=ENDS_AT + 34 * HOUR_US) for person in to]
        answers = asked(log, Champions({"send_time": model}), asks)
    at = np.full((len(to), 1), ENDS_AT + 34 * HOUR_US)
    oracle = world.oracle
    items = range(len(oracle.world.catalogue.content_ids))[-N_ITEMS:]
    wants = [chance.wants(oracle.world, oracle.moods, to, np.full(len(to), i)) for i in items]
    any_item = np.mean(wants, axis=0) / chance.wants(oracle.world, oracle.moods, to, None)
    truth = oracle.p_opened(to, at)[:, 0] * any_item
    slots = []
    for ask, answer in zip(asks, answers, strict=True):
        window = Ask(ask.recipient_key, window_from=int(at[0, 0]), window_to=int(at[0, 0]))
        slots.append(send_time(window, answer, now=ENDS_AT + DAY_US).slots[0])
    active = np.array([answer.features.get("active_total", 0.0) for answer in answers])
    found = np.array([(slot.p, slot.low, slot.high) for slot in slots])
    return truth, found, active


def test_the_interval_holds_the_true_chance_of_most_people(told):
    truth, (p, low, high), _ = told[0], told[1].T, told[2]
    assert np.mean((low <= truth) & (truth <= high)) > 0.75
    assert p.mean() == pytest.approx(truth.mean(), rel=0.35)


def test_each_interval_is_its_own_persons(told):
    """Dealt out to other people the same intervals hold fewer."""
    truth, (_, low, high), _ = told[0], told[1].T, told[2]
    dealt = np.random.default_rng(1).permutation(len(truth))
    others = (low[dealt] <= truth) & (truth <= high[dealt])
    assert np.mean((low <= truth) & (truth <= high)) > others.mean() + 0.05


def test_it_is_narrower_beside_its_chance_for_who_has_shown_more(told):
    _, (p, low, high), active = told[0], told[1].T, told[2]
    width = (high - low) / p
    assert np.median(width[active >= 11]) < 0.8 * np.median(width[active < 3])
