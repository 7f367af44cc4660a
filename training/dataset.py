"""Point-in-time inputs of labelled rows, joined by Feast, with a fingerprint.

The kernel computes each row's features at the row's own moment; they become Feast's sources,
and Feast joins them to the labels, so what is trained on is what the feature store answers.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features import batch
from features.assemble import rhythm
from features.candidates import affinity_matrix, cohort_matrix, is_cold
from features.cohorts import cohort_events
from features.definitions import AFFINITY
from features.definitions.affinity import FEATURES as AFFINITY_FEATURES
from features.definitions.cohort import FEATURES as COHORT_FEATURES
from features.definitions.cohort import TASTES
from features.definitions.cohort import VIEW as COHORT
from features.definitions.content import VIEW as CONTENT
from features.definitions.recipient import VIEW as RECIPIENT
from features.events.schema import COUNTRY
from features.feast_objects import AFFINITY_VIEW, COHORT_VIEW, RHYTHM_VIEW
from features.feast_store import FeastStore
from features.history import features_of
from features.layout import POOL, layout_of
from features.spec import FeatureView, key_hash
from features.state import TOTAL_KEY
from features.tastes import affinity_at, affinity_events
from training.words import words_at

Rows = NDArray[np.float32]
RECIPIENT_LAYOUT = layout_of(RECIPIENT)
CONTENT_LAYOUT = layout_of(CONTENT)
COHORT_LAYOUT = layout_of(COHORT)


@dataclass(frozen=True)
class PointInTime:
    """Inputs over one log and one Feast repository.

    Args:
        told: Topics of items that the events do not tell of.
    """

    events: pl.LazyFrame
    feast: FeastStore
    told: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def recipient(self, spine: pl.DataFrame, names: Sequence[str]) -> Rows:
        """Recipient features by name, shape (n, len(names)), in spine order.

        Args:
            spine: Columns recipient_key and at (microseconds).
        """
        self._write(RECIPIENT, "recipient_key", self._recipients, spine)
        return self._joined(spine, [f"{RECIPIENT.name}:{name}" for name in names], names)

    def recipients_at(self, spine: pl.DataFrame, names: Sequence[str]) -> Rows:
        """Recipient features straight from the kernel, for telling slices of a test apart.

        The numbers of `recipient` without Feast's join, which would cost more than the slices.
        """
        keys = ["recipient_key", "at"]
        asked = spine.select(keys).unique(maintain_order=True)
        rows = features_of(self._recipients, asked.rename({"recipient_key": "key"}), RECIPIENT)
        places = asked.with_row_index("place")
        joined = spine.select(keys).join(places, on=keys, how="left", maintain_order="left")
        columns = [RECIPIENT.names.index(name) for name in names]
        return np.asarray(rows[joined["place"].to_numpy()][:, columns])

    def rhythm(self, spine: pl.DataFrame) -> Rows:
        """Hour-of-week activity, shape (n, 168), in spine order."""
        asked = spine.select("recipient_key", "at").unique(maintain_order=True)
        weeks = self.rhythm_at(asked)
        kept = asked.with_columns(pl.Series("rhythm", weeks, dtype=pl.Array(pl.Float32, 168)))
        self.feast.write_rows(RHYTHM_VIEW, kept.cast({"rhythm": pl.List(pl.Float32)}))
        frame = self.feast.training_frame(
            spine.select("recipient_key", "at"), [f"{RHYTHM_VIEW}:rhythm"]
        )
        return np.stack(frame["rhythm"].to_list()).astype(np.float32)

    def rhythm_at(self, spine: pl.DataFrame) -> Rows:
        """The same straight from the kernel."""
        asked = spine.select(pl.col("recipient_key").alias("key"), "at")
        return rhythm(batch.read_at(self._recipients, asked, RECIPIENT_LAYOUT), RECIPIENT_LAYOUT)

    def content(self, spine: pl.DataFrame) -> Rows:
        """Content features, shape (n, n_features); `spine` holds content_id and at."""
        self._write(CONTENT, "content_id", self._contents, spine)
        names = CONTENT.names
        return self._joined(spine, [f"{CONTENT.name}:{name}" for name in names], names)

    def affinity(self, spine: pl.DataFrame) -> Rows:
        """Affinity features of (recipient_key, content_id, at), shape (n, n_features)."""
        keys = ["recipient_key", "content_id", "at"]
        asked = spine.select(keys).unique(maintain_order=True)
        names = [name for name, _ in AFFINITY_FEATURES]
        computed = pl.DataFrame(self.affinities_at(asked), schema=names)
        self.feast.write_rows(AFFINITY_VIEW, asked.hstack(computed))
        return self._joined(spine, [f"{AFFINITY_VIEW}:{name}" for name in names], names)

    def contents_at(self, spine: pl.DataFrame) -> Rows:
        """Content features straight from the kernel, for choosing candidates."""
        return features_of(self._contents, spine.rename({"content_id": "key"}), CONTENT)

    def affinities_at(self, spine: pl.DataFrame) -> Rows:
        """Affinity features straight from the kernel; columns as `affinity` asks for."""
        return self._affinities(
            self._added, spine.rename({"recipient_key": "key"}), half_life=AFFINITY.half_life
        )

    def cohort(self, spine: pl.DataFrame, affinities: Rows) -> Rows:
        """Features of the recipient's cohort at a moment, shape (n, 2), in spine order.

        Missing for who has interests or no known country: serving does not look there either.

        Args:
            spine: Columns recipient_key, content_id and at.
            affinities: Of the same rows.
        """
        out = np.full((len(spine), len(COHORT_FEATURES)), np.nan, np.float32)
        about, is_asked = self._in_cohorts(spine, affinities)
        if len(about):
            asked = about.unique(maintain_order=True)
            names = [name for name, _ in COHORT_FEATURES]
            computed = pl.DataFrame(self._of_cohorts(asked), schema=names)
            self.feast.write_rows(COHORT_VIEW, asked.hstack(computed))
            out[is_asked] = self._joined(about, [f"{COHORT_VIEW}:{name}" for name in names], names)
        return out

    def cohorts_at(self, spine: pl.DataFrame, affinities: Rows) -> Rows:
        """The same straight from the kernel."""
        out = np.full((len(spine), len(COHORT_FEATURES)), np.nan, np.float32)
        about, is_asked = self._in_cohorts(spine, affinities)
        if len(about):
            out[is_asked] = self._of_cohorts(about)
        return out

    def candidates_at(self, spine: pl.DataFrame) -> Rows:
        """Affinity, cohort and content features side by side, straight from the kernel."""
        affinities = self.affinities_at(spine)
        items = self.contents_at(spine.select("content_id", "at"))
        return np.concatenate([affinities, self.cohorts_at(spine, affinities), items], axis=1)

    @cached_property
    def catalogue(self) -> dict[str, tuple[str, ...]]:
        """The topics of every content item, as they stood when it was first seen with any."""
        known = (
            self.events.filter(pl.col("content_id") != "", pl.col("topics").list.len() > 0)
            .sort("offset")
            .group_by("content_id")
            .agg(pl.col("topics").first())
            .collect()
        )
        return {**self.told, **{item: tuple(topics) for item, topics in known.iter_rows()}}

    def without(self, items: Sequence[str]) -> "PointInTime":
        """The same log as if nobody had met these items yet; their topics stay known."""
        met = self.events.filter(~pl.col("content_id").is_in(list(items)))
        return PointInTime(met.cache(), self.feast, self.catalogue)

    @property
    def catalogue_items(self) -> list[str]:
        """Every content id of the log."""
        return [item for item in self._contents.keys if item != POOL]

    @cached_property
    def _recipients(self) -> batch.EventTable:
        return batch.event_table(self.events, key="recipient_key", layout=RECIPIENT_LAYOUT)

    @cached_property
    def _contents(self) -> batch.EventTable:
        return batch.event_table(self.events, key="content_id", layout=CONTENT_LAYOUT)

    @cached_property
    def _added(self) -> pl.DataFrame:
        return affinity_events(self.events, layout=RECIPIENT_LAYOUT, affinity=AFFINITY)

    @cached_property
    def _told_of_cohorts(self) -> pl.DataFrame:
        events = cohort_events(self.events)
        return affinity_events(events, key="cohort", layout=COHORT_LAYOUT, affinity=TASTES)

    def _affinities(self, added: pl.DataFrame, spine: pl.DataFrame, *, half_life: float) -> Rows:
        """Affinity features of (key, content_id, at), shape (n, 6)."""

        def interest(rows: pl.DataFrame) -> NDArray[np.float64]:
            return affinity_at(added, rows.select("key", "entry", "at"), half_life=half_life)

        topics = [self.catalogue.get(item, ()) for item in spine["content_id"].to_list()]
        width = max((len(some) for some in topics), default=0)
        entries = {t: key_hash("topic", t) for some in topics for t in some}
        rows = spine.with_row_index("row")
        total = interest(rows.with_columns(entry=pl.lit(TOTAL_KEY, pl.Int64)))
        items = [key_hash("content", item) for item in spine["content_id"].to_list()]
        item = interest(rows.with_columns(pl.Series("entry", items, pl.Int64)))
        by_topic = np.full((len(spine), max(width, 1)), np.nan)
        places = [(r, c, entries[t]) for r, some in enumerate(topics) for c, t in enumerate(some)]
        if places:
            where = pl.DataFrame(places, schema=["row", "column", "entry"], orient="row")
            long = where.join(rows.cast({"row": pl.Int64}), on="row", how="left")
            values = interest(long)
            by_topic[long["row"].to_numpy(), long["column"].to_numpy()] = values
        return affinity_matrix(total, by_topic, item)

    def _in_cohorts(
        self, spine: pl.DataFrame, affinities: Rows
    ) -> tuple[pl.DataFrame, NDArray[np.bool_]]:
        """The rows that are asked of cohorts (cohort, content_id, at), and which they are."""
        told = words_at(self.events, spine, COUNTRY)
        about = spine.select(pl.Series("cohort", told, pl.String), "content_id", "at")
        is_asked = is_cold(affinities) & (told != "")
        return about.filter(pl.Series(is_asked)), is_asked

    def _of_cohorts(self, about: pl.DataFrame) -> Rows:
        keyed = about.rename({"cohort": "key"})
        return cohort_matrix(
            self._affinities(self._told_of_cohorts, keyed, half_life=TASTES.half_life)
        )

    def _write(
        self, view: FeatureView, key: str, table: batch.EventTable, spine: pl.DataFrame
    ) -> None:
        asked = spine.select(key, "at").unique(maintain_order=True)
        rows = features_of(table, asked.rename({key: "key"}), view)
        computed = pl.DataFrame(rows, schema=list(view.names))
        self.feast.write_rows(view.name, asked.hstack(computed))

    def _joined(self, spine: pl.DataFrame, references: Sequence[str], names: Sequence[str]) -> Rows:
        named = ("recipient_key", "cohort", "content_id", "at")
        keys = [name for name in named if name in spine.columns]
        frame = self.feast.training_frame(spine.select(keys), references)
        return np.ascontiguousarray(frame.select(names).to_numpy(), dtype=np.float32)


def fingerprint(spine: pl.DataFrame, rows: Rows, y: NDArray[np.float64]) -> str:
    """A hash of who, when, inputs and labels: the same data gives the same sixteen digits."""
    digest = hashlib.sha256()
    digest.update(spine.write_csv().encode())
    digest.update(np.nan_to_num(rows, nan=-1.0).tobytes())
    digest.update(y.tobytes())
    return digest.hexdigest()[:16]
