"""What monitoring found, for a page, a table and MLflow."""

from dataclasses import dataclass, field
from typing import Any

from training.monitoring import label_health
from training.monitoring.champions import Watched
from training.monitoring.findings import Judgement, Signal
from training.monitoring.outcomes import Outcomes
from training.monitoring.triggers import Due
from training.monitoring.windows import Windows
from training.recipe import shown_day


@dataclass(slots=True)
class Monitored:
    """What was found in the windows before a moment.

    Args:
        courses: Numbers by window, oldest first, by name; NaN where a window told nothing.
        other_policy: Decisions of dry runs and of other settings: no arm, lift or chance is
            judged by them.
    """

    windows: Windows
    signals: list[Signal] = field(default_factory=list)
    watched: list[Watched] = field(default_factory=list)
    dues: list[Due] = field(default_factory=list)
    courses: dict[str, list[float]] = field(default_factory=dict)
    found: Outcomes | None = None
    other_policy: int = 0

    @property
    def has_alarm(self) -> bool:
        """Whether something is broken."""
        return any(signal.is_alarm for signal in self.signals)

    @property
    def has_sick_labels(self) -> bool:
        """Whether nothing should be learnt from the newest window."""
        sick = [s for s in self.signals if s.name == label_health.NAME and s.is_alarm]
        return bool(sick)

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is no number is null."""
        found = self.found
        return {
            "as_of": shown_day(self.windows.as_of),
            "window_days": self.windows.days,
            "windows": self.windows.n,
            "has_alarm": self.has_alarm,
            "signals": [signal.to_json() for signal in self.signals],
            "retrain": [
                {
                    "model": due.model,
                    "due": due.is_due,
                    "reasons": [{"trigger": t.value, "why": why} for t, why in due.reasons],
                }
                for due in self.dues
            ],
            "learn_from_newest_window": not self.has_sick_labels,
            "champions": {each.model: each.version for each in self.watched},
            "decisions": None if found is None else {
                "decided": found.decided,
                "under_another_policy": self.other_policy,
                "unnamed": found.unnamed,
                "immature": found.immature,
                "joined": len(found.rows),
                "delivered": int(found.rows["delivered"].sum()) if len(found.rows) else 0,
            },
            "courses": {
                name: [None if value != value else value for value in values]  # noqa: PLR0124  NaN
                for name, values in self.courses.items()
            },
        }  # fmt: skip

    def metrics(self) -> dict[str, float]:
        """Flat numbers for a tracking server; what is not judged is left out."""
        told = {
            f"{_slug(s.name)}.{_slug(s.subject)}": s.value
            for s in self.signals
            if s.value is not None and s.judgement is not Judgement.UNJUDGED
        }
        counts = {
            "alarms": sum(s.is_alarm for s in self.signals),
            "due": sum(d.is_due for d in self.dues),
        }
        return {k: float(v) for k, v in (told | counts).items() if v == v}  # noqa: PLR0124  NaN


def _slug(text: str) -> str:
    kept = "".join(c if c.isalnum() else "_" for c in text.lower())
    return "_".join(part for part in kept.split("_") if part)
