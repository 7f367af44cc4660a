"""What a plan was made of and how, as `run.json` beside it tells."""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.compute as pc

from features.events.schema import SECOND_US
from pipelines.json_files import json_of, put_json
from serving.throttle import Throttle

COUNTED: Final = ("arm", "hold_reason", "fallback", "binding_constraint", "band")


@dataclass(slots=True)
class Run:
    """A run and what came of it.

    Args:
        inputs: Digest of all that the plan depends on but its moment and the states.
        as_of: The moment, microseconds.
        versions: Of the models that answered; `off` those that were switched off.
        sha256: Of the plan.
        rows: Recipients in it; `scored` those that this run scored itself.
        score_s, merge_s: Seconds.
        counts: How often each value stands in a column.
        hours: Mails that go out by hour, in ISO 8601.
        rounds: Of finding hours with room for each; zero without a throttle.
        n_over: Mails that are too many in their hour, since states changed meanwhile.
        is_new: False where the plan was there already.
    """

    inputs: str
    as_of: int
    send: dict[str, Any]
    versions: dict[str, str]
    off: list[str]
    policy: str
    is_dry: bool
    n_duplicates: int
    workers: int
    sha256: str = ""
    rows: int = 0
    scored: int = 0
    score_s: float = 0.0
    merge_s: float = 0.0
    counts: dict[str, dict[str, int]] = field(default_factory=lambda: {n: {} for n in COUNTED})
    hours: dict[str, int] = field(default_factory=dict)
    rounds: int = 0
    n_over: int = 0
    is_new: bool = True

    def count(self, table: pa.Table) -> None:
        """Take a part of the plan into account."""
        self.rows += len(table)
        for name, counted in self.counts.items():
            _add(counted, table[name])
        sent = table.filter(pc.invert(table["hold_back"]))
        hours = pc.floor_temporal(sent["best_at"], unit="hour")
        _add(self.hours, pc.strftime(hours, format="%Y-%m-%dT%H:%MZ"))

    def judge(self, throttle: Throttle) -> None:
        """Count what is too much in an hour, once all parts are."""
        planned = {_hour_of(at): mails for at, mails in throttle.planned.items()}
        rooms = {hour: max(throttle.per_hour - planned.get(hour, 0), 0) for hour in self.hours}
        self.n_over = sum(max(n - rooms[hour], 0) for hour, n in self.hours.items())

    def write(self, file: Path) -> None:
        """Put it there, all or nothing."""
        put_json(file, asdict(self))

    @classmethod
    def read(cls, file: Path) -> Self | None:
        """None where there is none, or it is of another version."""
        told = json_of(file)
        try:
            return cls(**told) if told else None
        except TypeError:
            return None


def _hour_of(at: int) -> str:
    return datetime.fromtimestamp(at / SECOND_US, UTC).strftime("%Y-%m-%dT%H:00Z")


def _add(counted: dict[str, int], column: pa.ChunkedArray) -> None:
    for found in pc.value_counts(column).to_pylist():
        counted[found["values"]] = counted.get(found["values"], 0) + found["counts"]
