"""New items: nothing of what people did with them is left, and topics order them all the same."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from features.definitions.content import VIEW as CONTENT
from features.events.log import EventLog
from features.events.schema import DAY_US, Event, EventType
from features.feast_store import FeastStore
from models.specs.content_preference import SPEC
from training.choices import Choices, choices
from training.dataset import PointInTime
from training.new_items import new_items

T0 = 1_700_000_000_000_000
COLUMN = {name: place for place, name in enumerate(SPEC.inputs)}
TOPICS = [f"topic{n}" for n in range(6)]
ITEMS = {f"item{n:02}": (TOPICS[n % 6],) for n in range(60)}


@pytest.fixture(scope="module")
def bought(tmp_path_factory):
    """Eighty people who each buy of one topic, a few items a week; topic0 is liked by most."""
    rng = np.random.default_rng(2)
    events = []
    for person in range(80):
        taste = 0 if person % 2 else int(rng.integers(6))
        mine = [item for item, topics in ITEMS.items() if topics == (TOPICS[taste],)]
        for week in range(20):
            at = T0 + (7 * week + int(rng.integers(7))) * DAY_US
            for item in rng.choice(mine, 2, replace=False):
                name = f"{person}-{week}-{item}"
                events.append(
                    Event(name, EventType.PURCHASED, f"r{person}", at, at, content_id=str(item),
                          topics=ITEMS[str(item)])
                )  # fmt: skip
    folder = tmp_path_factory.mktemp("bought")
    with EventLog(folder / "log") as log:
        log.append(sorted(events, key=lambda event: event.occurred_at))
        yield PointInTime(log.scan(), FeastStore(folder / "feast", online=folder / "o"))


@pytest.fixture(scope="module")
def made(bought):
    return choices(bought, as_of=T0 + 150 * DAY_US, seed=1)


def test_an_item_taken_out_reads_like_one_that_nobody_ever_met(bought):
    at = T0 + 120 * DAY_US
    out = ["item00", "item06"]
    people = [f"r{n}" for n in range(10)]
    spine = pl.DataFrame({"recipient_key": people, "at": [at] * 10})
    bare = bought.without(out)
    assert set(bare.catalogue_items) == set(ITEMS) - set(out)
    assert bare.catalogue == bought.catalogue
    met = bare.contents_at(pl.DataFrame({"content_id": [*out, "never"], "at": [at] * 3}))
    np.testing.assert_array_equal(met[0], met[2])
    np.testing.assert_array_equal(met[1], met[2])
    taste = bare.affinities_at(spine.with_columns(content_id=pl.lit("item00")))
    before = bought.affinities_at(spine.with_columns(content_id=pl.lit("item00")))
    place = COLUMN["topic_affinity"] - COLUMN["interest"]
    assert (taste[:, place] <= before[:, place]).all()
    assert taste[:, place].max() > 0  # others of the topic are remembered
    assert not taste[:, COLUMN["item_affinity"] - COLUMN["interest"]].any()


def test_no_history_reaches_the_model_and_topics_order_new_items(bought, made):
    seen = []

    def by_topic(rows):
        seen.append(rows)
        return rows[:, COLUMN["topic_affinity_share"]].astype(np.float64)

    found = new_items(bought, made, by_topic, seed=4)
    (rows,) = seen
    assert not rows[:, COLUMN["item_affinity"]].any()
    for name in CONTENT.names:
        if "_hl" in name and "_per_" not in name:
            assert not rows[:, COLUMN[f"content_{name}"]].any(), name
    assert len(rows) == found.n_items * found.n_decisions
    assert found.n_items == 15
    ndcg = {name: measured.value for name, measured in found.ndcg.items()}
    assert ndcg["model"] == ndcg["own share of the topics"]
    assert ndcg["model"] > 1.2 * ndcg["popularity of the topics"] > 1.2 * ndcg["random"]
    assert found.gain["random"].low > 0
    assert "15 items without a history" in found.meaning


def test_a_model_that_says_nothing_is_as_good_as_chance(bought, made):
    found = new_items(bought, made, lambda rows: np.zeros(len(rows)), seed=4)
    assert found.gain["random"].low < 0 < found.gain["random"].high


def test_without_baskets_or_with_few_decisions_nothing_is_claimed(bought, made):
    unused = SimpleNamespace()
    assert new_items(bought, Choices(made.spine, 1.0, "shown"), unused, seed=4) is None
    few = Choices(made.spine, made.kept, made.label, made.baskets.head(20))
    assert new_items(bought, few, unused, seed=4) is None
