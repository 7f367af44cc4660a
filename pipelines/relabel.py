"""Labels of who acted, brought up to date: by the rules over the whole log, or by a person.

Nothing is rewritten: what was wrong is corrected by `relabelled` events at the end of the log.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import polars as pl

from features.events.actor_rules import by_recipient, findings
from features.events.actors import LABELLED, ActorReason, Finding, corrected, relabelled, standing
from features.events.actors import Standing as Now
from features.events.database import texts_of
from features.events.intake import MAIL, Intake, Revision
from features.events.log import EventLog
from features.events.schema import ACTORS, TYPES, Event
from pipelines.verdicts import Verdict

BUCKET_ROWS: Final = 200_000  # mail events in memory at a time, about 300 MB
BATCH: Final = 10_000
_SEED: Final = 5
_FIELDS: Final = (
    "event_id", "type", "recipient_key", "occurred_at", "received_at", "send_id", "message_key",
    "content_id", "url", "device", "actor", "actor_reasons", "properties",
)  # fmt: skip

Change = tuple[str, str, str]
"""The reasons that are new, the actor before, the actor after."""


@dataclass(slots=True)
class Relabelling:
    """What a run found: opens and clicks looked at, and how many labels change, by `Change`.

    `unknown` are ids that no open or click in the log has.
    """

    looked_at: int = 0
    changes: Counter[Change] = field(default_factory=Counter)
    unknown: list[str] = field(default_factory=list)

    @property
    def n_changed(self) -> int:
        """How many labels change."""
        return self.changes.total()

    def count(self, revisions: Sequence[Revision]) -> None:
        """Count what was, or would be, corrected."""
        for event, before, after in revisions:
            del event
            new = [reason for reason in after.actor_reasons if reason not in before.reasons]
            kinds = ", ".join(_known(new)) or "other"
            self.changes[kinds, before.actor.value, after.actor.value] += 1


def relabel(log: EventLog, *, is_dry: bool, step: Callable[[str], None]) -> Relabelling:
    """Run the rules over every open and click and correct the labels that differ.

    A correction is dated when its evidence was complete, so that models can be trained as of
    any moment since; a label that a person gave stays. Running it again changes nothing.

    Args:
        is_dry: Only count; the Parquet copy of the log is brought up to date even so.

    Raises:
        StoreUnavailableError: The log refuses a batch; the corrections before it are stored.
    """
    done, intake = Relabelling(), Intake(log)
    log.compact()
    mail = log.scan().filter(pl.col("type").is_in([kind.value for kind in MAIL]))
    n_rows = mail.select(pl.len()).collect().item()
    n_buckets = -(-n_rows // BUCKET_ROWS)
    for bucket in range(n_buckets):
        step(f"part {bucket + 1} of {n_buckets}, {done.n_changed:,} labels differ so far")
        rows = mail.filter(pl.col("recipient_key").hash(_SEED) % n_buckets == bucket)
        found: dict[str, list[Finding]] = defaultdict(list)
        targets: list[Event] = []
        for events in by_recipient(_events(rows, concerned=mail)).values():
            done.looked_at += sum(event.type in LABELLED for event in events)
            for finding in findings(events):
                found[finding.event_id].append(finding)
            # Most labels are right as they were stored: only the others are looked up again.
            targets += [e for e in events if corrected(e, standing(e, ()), found[e.event_id])]

        def by_the_rules(
            event: Event, now: Now, found: dict[str, list[Finding]] = found
        ) -> Event | None:
            return corrected(event, now, found[event.event_id])

        _revise(intake, targets, by_the_rules, done, is_dry=is_dry)
    return done


def relabel_by_hand(
    log: EventLog, verdicts: Sequence[Verdict], *, decided_at: int, is_dry: bool
) -> Relabelling:
    """Correct labels as a person says; no rule touches them from then on.

    Args:
        verdicts: Of several about one event the last counts.
        decided_at: The moment of the decision in microseconds.

    Raises:
        StoreUnavailableError: The log refuses a batch; the corrections before it are stored.
    """
    wanted = {verdict.event_id: verdict.label for verdict in verdicts}
    log.compact()
    kinds = [kind.value for kind in LABELLED]
    rows = log.scan().filter(pl.col("type").is_in(kinds), pl.col("event_id").is_in(list(wanted)))
    targets = list(_events(rows))
    there = {event.event_id for event in targets}
    done = Relabelling(looked_at=len(targets))
    done.unknown = [event_id for event_id in wanted if event_id not in there]

    def by_hand(event: Event, now: Now) -> Event | None:
        label = wanted[event.event_id]
        if now.label == label:
            return None
        at = max(decided_at, now.since, event.received_at)
        return relabelled(event, label, decided_at=at, previous=now.previous)

    _revise(Intake(log), targets, by_hand, done, is_dry=is_dry)
    return done


def _revise(
    intake: Intake,
    targets: Sequence[Event],
    decide: Callable[[Event, Now], Event | None],
    done: Relabelling,
    *,
    is_dry: bool,
) -> None:
    revise = intake.would_revise if is_dry else intake.revise
    for first in range(0, len(targets), BATCH):
        done.count(revise(targets[first : first + BATCH], decide))


def _events(rows: pl.LazyFrame, *, concerned: pl.LazyFrame | None = None) -> Iterator[Event]:
    """Rows as events, with the fields that labels need; only of recipients who ever acted."""
    if concerned is not None:
        acted = concerned.filter(pl.col("type").is_in([kind.value for kind in LABELLED]))
        rows = rows.join(acted.select("recipient_key").unique(), on="recipient_key", how="semi")
    for row in rows.select(_FIELDS).collect().iter_rows(named=True):
        yield _event(row)


def _event(row: dict[str, Any]) -> Event:
    row["type"], row["actor"] = TYPES[row["type"]], ACTORS[row["actor"]]
    properties = row["properties"]
    row["actor_reasons"] = texts_of(row["actor_reasons"])
    row["properties"] = {} if properties == "{}" else orjson.loads(properties)
    return Event(**row)


def _known(reasons: Sequence[str]) -> list[str]:
    """Those of the closed set: what a person wrote is no kind of change."""
    ours = {reason.value for reason in ActorReason}
    return [reason for reason in reasons if reason in ours]
