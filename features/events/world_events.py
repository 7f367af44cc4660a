"""What happened in a simulated world: collected as numbers, given out as events.

Numbers of recipients, sends and items become the keys of the event schema only at the end,
once for all rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import orjson
import polars as pl

from features.events.database import COLUMNS
from features.events.schema import SCHEMA_VERSION, Actor, EventType
from features.events.schema import EventType as E
from features.events.world import World
from features.events.world_catalogue import TOPICS
from features.events.world_clock import Array

NONE: Final = -1  # in place of a send, item or set of properties that an event does not have
PROVIDER: Final = "simulator"
PROPENSITIES: Final = ("propensity_hour", "propensity_content")

_TYPES: Final = tuple(EventType)
_ACTORS: Final = tuple(Actor)
_MAIL: Final = (
    E.SENT, E.DELIVERED, E.BOUNCED, E.OPENED, E.CLICKED, E.UNSUBSCRIBED, E.COMPLAINED,
)  # fmt: skip
_WITH_URL: Final = (E.CLICKED, E.PAGE_VIEWED, E.PRODUCT_VIEWED)
_REASONS: Final = ('["mail_privacy"]', '["scanner"]')
_SITE: Final = "https://shop.example/"
_DTYPES: Final = {
    "type": np.int8, "recipient": np.int32, "occurred_at": np.int64, "send": np.int32,
    "item": np.int16, "actor": np.int8, "link": np.int8, "value": np.float64,
    "properties": np.int32,
}  # fmt: skip
_ORDER: Final = COLUMNS  # the fields of `Event`


@dataclass(slots=True, eq=False)
class WorldEvents:
    """Events so far, in no order."""

    _parts: list[dict[str, Array]] = field(default_factory=list)
    _properties: list[str] = field(default_factory=list)

    def properties(self, values: Mapping[str, float]) -> int:
        """The number under which events can carry these properties."""
        self._properties.append(orjson.dumps(values).decode())
        return len(self._properties) - 1

    def add(self, kind: EventType, recipient: Array, occurred_at: Array, **columns: Any) -> None:
        """Add one event per recipient.

        Args:
            columns: Any of send, item, actor, link, value and properties, each an array or one
                value for all; an actor is its `actor_number`, link 0 the page of the item.
        """
        given = {
            "send": NONE, "item": NONE, "actor": actor_number(Actor.HUMAN), "value": np.nan,
            "properties": NONE, "link": 0, **columns,
            "type": _TYPES.index(kind), "recipient": recipient, "occurred_at": occurred_at,
        }  # fmt: skip
        n = len(recipient)
        self._parts.append(
            {
                name: np.broadcast_to(np.asarray(given[name]).astype(dtype, copy=False), n)
                for name, dtype in _DTYPES.items()
            }
        )

    def frame(
        self, world: World, keys: Sequence[str], *, stopped_at: Array, ends_at: int, prefix: str
    ) -> pl.DataFrame:
        """All events before `ends_at` by time, under the names and order of `Event`'s fields.

        Args:
            keys: Recipient keys by number.
            stopped_at: When each recipient stopped taking mail; what mail did later is left out.
            prefix: Begins every event id and send id; the place in time follows.
        """
        columns = {name: np.concatenate([part[name] for part in self._parts]) for name in _DTYPES}
        at = columns["occurred_at"]
        is_late = _is_of(columns["type"], _MAIL) & (at > stopped_at[columns["recipient"]])
        kept = np.flatnonzero((at < ends_at) & ~is_late)
        kept = kept[np.argsort(at[kept], kind="stable")]
        columns = {name: column[kept] for name, column in columns.items()}
        return _named(world, columns, keys, self._properties, prefix).select(
            pl.concat_str(
                pl.lit(prefix), pl.int_range(pl.len()).cast(pl.String).str.zfill(9)
            ).alias("event_id"),
            *_ORDER[1:],
        )


def actor_number(actor: Actor) -> int:
    """The number of an actor in `WorldEvents.add`."""
    return _ACTORS.index(actor)


def write_ndjson(events: pl.DataFrame, target: Path | IO[bytes]) -> None:
    """Write one JSON object a line, each of which `parse_event` accepts.

    The offset from UTC is left out: it follows from the zone.
    """
    numbers = pl.Struct(dict.fromkeys(PROPENSITIES, pl.Float64()))
    has_properties = pl.col("properties") != "{}"
    events.drop("utc_offset_min").with_columns(
        *(
            pl.col(name).cast(pl.Datetime("us")).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
            for name in ("occurred_at", "received_at")
        ),
        pl.col("actor_reasons").str.json_decode(pl.List(pl.String)),
        pl.when(has_properties).then(pl.col("properties")).str.json_decode(numbers),
    ).write_ndjson(target)


def _named(
    world: World,
    columns: Mapping[str, Array],
    keys: Sequence[str],
    properties: Sequence[str],
    prefix: str,
) -> pl.DataFrame:
    kind, recipient, item, at = (
        columns[name] for name in ("type", "recipient", "item", "occurred_at")
    )
    zone = world.recipients.zone[recipient]
    is_known = world.recipients.is_zone_known[recipient]
    is_mail = _is_of(kind, _MAIL)
    topics = [[TOPICS[number] for number in np.flatnonzero(row)] for row in world.catalogue.topics]
    n_sends = int(columns["send"].max(initial=NONE)) + 1
    sends = [f"{prefix}send-{number:04}" for number in range(1, n_sends + 1)]
    ids = world.catalogue.content_ids
    pages = [f"{_SITE}items/{content_id}" for content_id in ids]
    link, page = columns["link"], np.where(item == NONE, len(pages), item)
    links = [f"{_SITE}links/{number}" for number in range(1, 1 + int(link.max(initial=0)))]
    page = np.where(link > 0, len(pages) + link, page)
    is_purchase = _is_of(kind, (E.PURCHASED,))
    is_machine = columns["actor"] == actor_number(Actor.MACHINE)
    reason = np.where(is_machine, _is_of(kind, (E.CLICKED,)).astype(np.int64), NONE)
    named = pl.DataFrame(
        {
            "type": _chosen([each.value for each in _TYPES], kind),
            "recipient_key": _chosen(keys, recipient),
            "occurred_at": at,
            "received_at": at,
            "send_id": _chosen(sends, columns["send"]),
            "content_id": _chosen(ids, item),
            "topics": _chosen(topics, item, none=[]),
            "url": _chosen([*pages, _SITE, *links], page),
            "value": pl.Series(columns["value"]).fill_nan(None),
            "currency": _chosen([world.currency], np.where(is_purchase, 0, NONE)),
            "channel": _chosen(["web", "email"], is_mail.astype(np.int64)),
            "utc_offset_min": world.clock.offsets_at(zone, at),
            "timezone": _chosen(world.clock.zones, np.where(is_known, zone, NONE)),
            "actor": _chosen([each.value for each in _ACTORS], columns["actor"]),
            "actor_reasons": _chosen(_REASONS, reason, none="[]"),
            "properties": _chosen(properties, columns["properties"], none="{}"),
            "has_url": _is_of(kind, _WITH_URL),
        }
    )
    return named.with_columns(
        pl.when(pl.col("send_id") == "")
        .then(pl.lit(""))
        .otherwise(pl.concat_str("send_id", "recipient_key", separator="-"))
        .alias("message_key"),
        pl.when("has_url").then("url").otherwise(pl.lit("")),
        pl.when(pl.col("timezone") != "").then("utc_offset_min"),
        device=pl.lit(""),
        provider=pl.lit(PROVIDER),
        schema_version=pl.lit(SCHEMA_VERSION, pl.Int16),
    )


def _chosen(texts: Sequence[Any], numbers: Array, *, none: Any = "") -> pl.Series:
    """Of a list of values the ones with these numbers; `none` in place of NONE."""
    return pl.Series([*texts, none]).gather(np.where(numbers == NONE, len(texts), numbers))


def _is_of(kind: Array, types: Sequence[EventType]) -> Array:
    return np.isin(np.arange(len(_TYPES)), [_TYPES.index(each) for each in types])[kind]
