"""What was measured on an exported bundle, with its baselines beside it, and what to make of it.

A report reads both ways: JSON in the bundle for gates and machines, Markdown for the person
who decides. It says plainly where a baseline was not beaten.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True)
class Measured:
    """One number with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"

    @property
    def short(self) -> str:
        """The number and half the interval's width, for narrow tables."""
        return f"{self.value:.3f} ±{(self.high - self.low) / 2:.3f}"


@dataclass(frozen=True, slots=True)
class Row:
    """One method: its measures by name, and how much better the model is (paired)."""

    method: str
    measures: dict[str, Measured]
    gain: Measured | None = None

    @property
    def is_beaten(self) -> bool:
        """Whether the model is better by more than chance: the gain's interval is above zero."""
        return self.gain is not None and self.gain.low > 0


@dataclass(frozen=True, slots=True)
class Report:
    """A model beside its baselines on data later than its training.

    Args:
        gain_of: What `gain` counts, such as "log loss" or "nats per event"; more is better.
        facts: Sizes, dates and settings worth reading.
        notes: What the numbers do not say.
    """

    model: str
    as_of: str
    test: str
    gain_of: str
    row: Row
    baselines: list[Row]
    parity: dict[str, float]
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def not_beaten(self) -> list[str]:
        """Baselines that the model does not beat with confidence."""
        return [row.method for row in self.baselines if not row.is_beaten]

    @property
    def verdict(self) -> str:
        """One line for a table of versions."""
        best = next(iter(self.row.measures.items()))
        text = f"{best[0]} {best[1].value:.4f}"
        if self.not_beaten:
            return f"{text}; does not beat: {', '.join(self.not_beaten)}"
        return f"{text}; beats all {len(self.baselines)} baselines on {self.gain_of}"

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the verdict spelt out."""
        plain: dict[str, Any] = TypeAdapter(Report).dump_python(self, mode="json")
        return plain | {"verdict": self.verdict, "not_beaten": self.not_beaten}

    def to_markdown(self) -> str:
        """The model card: verdict first, then the table, facts and notes."""
        names = list(self.row.measures)
        head = ["method", *names, f"gain over it ({self.gain_of})"]
        lines = [self.verdict, "", f"**{self.model}**, as of {self.as_of}. Test: {self.test}.", ""]
        lines += [_line(head), _line(["---"] * len(head))]
        lines.append(_line([f"**{self.row.method}**", *_cells(self.row, names), ""]))
        for row in self.baselines:
            gain = f"{row.gain}{'' if row.is_beaten else ' (not beaten)'}" if row.gain else ""
            lines.append(_line([row.method, *_cells(row, names), gain]))
        lines += ["", *(f"* {note}" for note in self.notes), ""]
        lines += [f"* {name}: {value}" for name, value in self.facts.items()]
        lines += [
            f"* exported graph against native, {name}: {value:,.0f}"
            if value >= 1
            else f"* exported graph against native, {name}: {value:.1e}"
            for name, value in self.parity.items()
        ]
        return "\n".join(lines) + "\n"

    def metrics(self) -> dict[str, float]:
        """Flat numbers for a tracking server."""
        flat = {f"parity.{name}": value for name, value in self.parity.items()}
        for row in (self.row, *self.baselines):
            stem = "" if row is self.row else f"baseline.{_slug(row.method)}."
            for name, measured in row.measures.items():
                flat[f"{stem}{_slug(name)}"] = measured.value
                if row is self.row:
                    flat |= {
                        f"{_slug(name)}.low": measured.low,
                        f"{_slug(name)}.high": measured.high,
                    }
            if row.gain is not None:
                flat[f"{stem}gain"] = row.gain.value
                flat[f"{stem}gain.low"] = row.gain.low
        return flat


def read_report(plain: dict[str, Any]) -> Report:
    """A report from its JSON."""
    kept = {key: value for key, value in plain.items() if key not in {"verdict", "not_beaten"}}
    return TypeAdapter(Report).validate_python(kept)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cells(row: Row, names: Sequence[str]) -> list[str]:
    return [str(row.measures[name]) if name in row.measures else "" for name in names]


def _slug(text: str) -> str:
    kept = "".join(c if c.isalnum() else "_" for c in text.lower())
    return "_".join(part for part in kept.split("_") if part)
