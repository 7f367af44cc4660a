"""What an import did: counted while it runs, shown when it ends."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.markup import escape
from rich.table import Table

from features.errors import RejectReason
from features.events.log import KEPT_OUT
from features.events.schema import SECOND_US, Event
from pipelines.rejects import Reject, masked

EXAMPLES: Final = 3


@dataclass(frozen=True, slots=True)
class Example:
    """One rejected row of a kind: its number in the file and what is wrong with it."""

    row: int
    field: str
    message: str


@dataclass(slots=True)
class IngestSummary:
    """The counts of one import: `read` is the sum of all the others.

    `skipped` counts by the condition of the mapping that left a row out, `rejected` by reason.
    `first_at` and `last_at` (microseconds) and `n_recipients` are of accepted and duplicate
    rows; an import that found nothing has None and 0.
    """

    file: Path
    rejects: Path
    read: int = 0
    accepted: int = 0
    duplicate: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Example]] = field(default_factory=dict)
    seconds: float = 0.0
    first_at: int | None = None
    last_at: int | None = None
    # Hashes, not keys: a tenth of the memory, and no key outlives its batch.
    _recipients: set[int] = field(default_factory=set, repr=False)

    @property
    def n_recipients(self) -> int:
        """How many different recipients the rows are about."""
        return len(self._recipients)

    @property
    def is_all_rejected(self) -> bool:
        """Whether no row came in, now or at an earlier run, although there were rows."""
        return self.accepted + self.duplicate == 0

    def count_stored(self, events: list[Event], offsets: list[int | None]) -> None:
        """Count a batch that is durable now."""
        if not events:
            return
        duplicate, outside = offsets.count(None), offsets.count(KEPT_OUT)
        self.accepted += len(offsets) - duplicate - outside
        self.duplicate += duplicate
        if outside:  # counted and written nowhere: a rejects file would keep who was erased
            self.rejected[RejectReason.ERASED_RECIPIENT.value] += outside
            events = [e for e, at in zip(events, offsets, strict=True) if at != KEPT_OUT]
        if not events:
            return
        times = [event.occurred_at for event in events]
        self.first_at = min(times) if self.first_at is None else min(self.first_at, *times)
        self.last_at = max(times) if self.last_at is None else max(self.last_at, *times)
        self._recipients.update(hash(event.recipient_key) for event in events)

    def count_rejected(self, reject: Reject) -> None:
        """Count a row that was not accepted and keep the first few of each reason."""
        self.rejected[reject.reason] += 1
        known = self.examples.setdefault(reject.reason, [])
        if len(known) < EXAMPLES:
            known.append(Example(reject.row, masked(reject.field), masked(reject.message)))


def table_of(summary: IngestSummary) -> Table:
    """The summary for a person at a terminal."""
    table = Table(title=f"Import of {escape(summary.file.name)}", title_justify="left")
    table.add_column("rows")
    table.add_column("count", justify="right")
    table.add_column("what", overflow="fold")
    rate = summary.read / summary.seconds if summary.seconds else 0.0
    table.add_row("read", f"{summary.read:,}", f"in {summary.seconds:.1f} s, {rate:,.0f} a second")
    table.add_row("accepted", f"{summary.accepted:,}", "new in the event log", style="green")
    table.add_row("duplicate", f"{summary.duplicate:,}", "their event_id was there already")
    for condition, count in summary.skipped.most_common():
        table.add_row("skipped", f"{count:,}", escape(f"not: {masked(condition)}"), style="dim")
    for reason, count in summary.rejected.most_common():
        shown = (
            f"row {example.row}{', ' + example.field if example.field else ''}: {example.message}"
            for example in summary.examples.get(reason, ())
        )
        table.add_row("rejected", f"{count:,}", escape("\n".join([reason, *shown])), style="red")
    if summary.first_at is not None and summary.last_at is not None:
        what = f"{_day(summary.first_at)} to {_day(summary.last_at)} (UTC)"
        table.add_row("recipients", f"{summary.n_recipients:,}", what)
    return table


def _day(at: int) -> str:
    return datetime.fromtimestamp(at / SECOND_US, UTC).strftime("%Y-%m-%d %H:%M")
