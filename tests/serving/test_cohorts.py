"""Who has shown no interest is ranked by their country's, as training saw it; others are not."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from features.candidates import COLD, Candidate
from features.definitions.cohort import VIEW as COHORT
from features.errors import StoreUnavailableError
from features.events.log import EventLog
from features.events.schema import DAY_US, HOUR_US, Actor, Event, EventType
from features.feast_store import FeastStore
from features.packed import PackedStore
from features.packed_rows import head_of
from features.stream import Stream
from models.bundle import load_bundle
from models.specs.content_preference import (
    AFFINITY_INPUTS,
    COHORT_INPUTS,
    CONTENT_INPUTS,
    RECIPIENT_INPUTS,
)
from serving.asks import Ask, Champions, Loaded
from serving.decider import MANY, Decider, Fixed
from training.dataset import PointInTime

AT = 1_770_000_000_000_000
ITEMS = tuple(Candidate(f"i{n}", (f"t{n % 2}",)) for n in range(4))
BUYERS = {f"buyer {n}": ("DE", "IS")[n % 2] for n in range(8)}
NEW = {"new in DE": "DE", "new in IS": "IS", "new in XX": "XX"}
PEOPLE = [*BUYERS, *NEW, "told nothing", "nobody"]
_FIRST = len(RECIPIENT_INPUTS)
TASTES = slice(_FIRST, _FIRST + len(AFFINITY_INPUTS))
COHORTS = slice(TASTES.stop, TASTES.stop + len(COHORT_INPUTS))


def happened():
    """Germans buy the first items, Icelanders the last; the new ones have only signed up."""
    for n in range(64):
        who = f"buyer {n % 8}"
        item = ITEMS[(n % 3) // 2 + 2 * (BUYERS[who] == "IS")]
        at = AT - (70 - n) * 9 * HOUR_US
        actor = Actor.MACHINE if n % 11 == 0 else Actor.HUMAN
        yield Event(f"e{n}", EventType.CLICKED, who, at, at, content_id=item.content_id,
                    topics=item.topics, actor=actor,
                    properties={"country": BUYERS[who]})  # fmt: skip
    for n, (who, country) in enumerate({**NEW, "told nothing": ""}.items()):
        at = AT - DAY_US - n
        told = {"country": country} if country else {}
        yield Event(f"s{n}", EventType.SIGNED_UP, who, at, at, properties=told)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("cohorts")
    with EventLog(root / "log") as log, PackedStore(root / "online.sqlite") as store:
        log.append([*happened()])
        Stream(log, store).catch_up()
        yield log, store, root


class Recording:
    """The model's session, and what it was asked."""

    def __init__(self, session):
        self._session, self.inputs = session, []

    def run(self, inputs):
        self.inputs.append(inputs)
        return self._session.run(inputs)


def asked(store, bundle_folders, people):
    """The inputs of the content model, (n people, n items, n inputs), and the chances."""
    bundle = load_bundle(bundle_folders["content_preference"])
    recording = Recording(bundle.session)
    champions = Champions({"content_preference": Loaded(replace(bundle, session=recording), "v")})
    asks = [Ask(who, candidates=ITEMS) for who in people]
    scored = Decider(store, Fixed(champions), chunk=MANY).score(asks, now=AT)
    rows = np.concatenate(recording.inputs).reshape(len(people), len(ITEMS), -1)
    return rows, [one.prediction.p_items for one in scored]


@pytest.mark.parametrize("times", [1, MANY], ids=["one by one", "read at once"])
def test_the_model_is_given_what_training_gives_it_of_the_same_moment(place, bundle_folders, times):
    log, store, root = place
    rows, _ = asked(store, bundle_folders, PEOPLE * times)
    past = PointInTime(log.scan(), FeastStore(root / "feast", online=root / "online.sqlite"))
    pairs = [(who, item.content_id, AT) for who in PEOPLE for item in ITEMS]
    spine = pl.DataFrame(pairs, schema=["recipient_key", "content_id", "at"], orient="row")
    tastes = past.affinities_at(spine)
    expected = past.cohorts_at(spine, tastes).reshape(len(PEOPLE), len(ITEMS), -1)
    found = rows[: len(PEOPLE), :, COHORTS]
    np.testing.assert_allclose(found, expected, 1e-5, 1e-9)
    np.testing.assert_array_equal(rows[-len(PEOPLE) :, :, COHORTS], found)

    is_given = ~np.isnan(found).any(axis=(1, 2))
    assert [who for who, given in zip(PEOPLE, is_given, strict=True) if given] == list(NEW)
    assert (rows[: len(BUYERS), :, TASTES.start] >= COLD).all()
    german, icelandic, elsewhere = found[len(BUYERS) : len(BUYERS) + len(NEW), :, 1]
    assert german[:2].min() > 0.05 > german[2:].max()
    assert icelandic[2:].min() > 0.05 > icelandic[:2].max()
    assert (elsewhere == 0.0).all()


class WithoutCohorts:
    """A store whose cohorts cannot be read."""

    def __init__(self, store):
        self._store = store

    def get(self, entity, keys, *, now=None):
        if entity == COHORT.entity:
            raise StoreUnavailableError("the store", "it is down", "start it")
        return self._store.get(entity, keys, now=now)


def test_without_cohorts_everybody_is_served_by_what_is_popular(place, bundle_folders):
    _, store, _ = place
    rows, chances = asked(WithoutCohorts(store), bundle_folders, PEOPLE)
    assert np.isnan(rows[:, :, COHORTS]).all()
    everybody = CONTENT_INPUTS.index("content_chosen_hl30d") - len(CONTENT_INPUTS)
    assert (rows[:, :, everybody].max(axis=1) > 0).all()
    assert all(np.isfinite(p).all() and len(p) == len(ITEMS) for p in chances)


def test_a_cohort_that_cannot_be_read_costs_nobody_else_theirs(place, bundle_folders, tmp_path):
    log, _, _ = place
    with PackedStore(tmp_path / "online.sqlite") as store:
        Stream(log, store).catch_up()
        (blob,) = store.get(COHORT.entity, ["DE"])
        seen, newest = head_of(blob)
        store.put(COHORT.entity, [("DE", seen + 1, newest, b"\x00" * len(blob))])
        rows, _ = asked(store, bundle_folders, list(NEW))
    assert np.isnan(rows[0, :, COHORTS]).all()
    assert not np.isnan(rows[1, :, COHORTS]).any()
