"""Items nobody has met: how well are they ordered by their topics alone?

Some items are taken out of all histories, as if the service had heard of them this minute. Each
test decision in which one of them was chosen then ranks all of them, among themselves, and each
method is judged by where the chosen ones come.

The model was fitted with the histories in place: it knows no item by name, but a share of its
training rows is about these items. Popularity is that of an item's topics: choices per item that
carries the topic, before the test, averaged over the topics.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.report import Measured
from models.specs.content_preference import AFFINITY_INPUTS, RECIPIENT_INPUTS
from training import metrics
from training.choices import CHOSEN_TYPES, Choices
from training.dataset import PointInTime, Rows

N_ITEMS: Final = 200
MAX_SHARE: Final = 0.25  # of the items with topics
MAX_DECISIONS: Final = 400
MIN_DECISIONS: Final = 50
_SHARE: Final = len(RECIPIENT_INPUTS) + AFFINITY_INPUTS.index("topic_affinity_share")

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class NewItems:
    """NDCG@10 of new items among themselves, by method, and what the model has over each."""

    n_items: int
    n_decisions: int
    ndcg: Mapping[str, Measured]
    gain: Mapping[str, Measured]

    @property
    def meaning(self) -> str:
        """The line for a report."""
        own, *others = self.ndcg
        told = f"{self.n_items} items without a history, ranked among themselves in "
        told += f"{self.n_decisions} decisions, NDCG@10: {own} {self.ndcg[own]}"
        for name in others:
            told += f"; {name} {self.ndcg[name]} (gain over it {self.gain[name]})"
        return told


def new_items(
    data: PointInTime, made: Choices, score: Callable[[Rows], Floats], *, seed: int
) -> NewItems | None:
    """Take items out of all histories and rank them; None where too few were chosen.

    Args:
        score: The exported graph: rows to scores.
    """
    if made.baskets is None:
        return None
    rng = np.random.default_rng(seed)
    named = np.array(sorted(data.catalogue))
    taken = rng.permutation(named)[: min(N_ITEMS, round(MAX_SHARE * len(named)))]
    items = sorted(map(str, taken))
    chosen = made.baskets.explode("content_id", empty_as_null=True, keep_nulls=True).filter(
        pl.col("content_id").is_in(items)
    )
    decisions = chosen["decision"].unique().sort()
    if len(decisions) < MIN_DECISIONS:
        return None
    some = rng.permutation(len(decisions))[:MAX_DECISIONS]
    about = made.baskets.drop("content_id").filter(
        pl.col("decision").is_in(decisions[np.sort(some)].implode())
    )
    spine = about.join(pl.DataFrame({"content_id": items}), how="cross")
    hits = chosen.select("decision", "content_id", pl.lit(1.0).alias("y"))
    keys = ["decision", "content_id"]
    y = spine.join(hits, on=keys, how="left", maintain_order="left")["y"].fill_null(0.0)
    bare = data.without(items)
    people = bare.recipients_at(spine, RECIPIENT_INPUTS)
    rows = np.ascontiguousarray(np.concatenate([people, bare.candidates_at(spine)], axis=1))
    before = made.baskets["at"].min()
    popular = _popularity(bare, items, before=int(before))  # type: ignore[arg-type]
    share = rows[:, _SHARE].astype(np.float64)
    n = len(about)
    methods = {
        "model": score(rows),
        "own share of the topics x their popularity": share * np.tile(popular, n),
        "own share of the topics": share,
        "popularity of the topics": np.tile(popular, n),
        "random": rng.random(len(rows)),
    }
    return _measured(y.to_numpy(), methods, about["recipient_key"].to_list(), len(items))


def _popularity(data: PointInTime, items: list[str], *, before: int) -> Floats:
    """Choices per item of each topic, averaged over the topics of each item; shape (n_items,)."""
    counted = (
        data.events.filter(
            pl.col("type").is_in(CHOSEN_TYPES),
            pl.col("occurred_at") < before,
            pl.col("content_id") != "",
        )
        .group_by("content_id")
        .len()
        .collect()
    )
    catalogue = data.catalogue
    sums: dict[str, list[float]] = {}
    for item, times in counted.iter_rows():
        for topic in catalogue.get(item, ()):
            sums.setdefault(topic, []).append(times)
    mean = {topic: float(np.mean(times)) for topic, times in sums.items()}
    return np.array([np.mean([mean.get(t, 0.0) for t in catalogue[i]]) for i in items])


def _measured(
    y: Floats, methods: Mapping[str, Floats], people: list[str], n_items: int
) -> NewItems:
    """NDCG of every decision by method; ties fall by chance, the same for all methods."""
    gains = y.reshape(-1, n_items)
    chance = np.random.default_rng(0).random(y.shape).reshape(gains.shape)
    values = []
    for score in methods.values():
        table = score.reshape(gains.shape)
        order = np.lexsort((chance, table), axis=-1).argsort(axis=-1).astype(np.float64)
        values.append([metrics.ndcg(g, s) for g, s in zip(gains, order, strict=True)])
    columns = np.array(values).T
    found = metrics.mean_by_group(np.hstack([columns, columns[:, :1] - columns]), people)
    k = len(methods)
    named = dict(zip(methods, found[:k], strict=True))
    gain = dict(zip(methods, found[k:], strict=True))
    return NewItems(n_items, len(gains), named, gain)
