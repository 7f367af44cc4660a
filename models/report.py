"""What was measured on an exported bundle, with its baselines beside it, and what to make of it.

A report reads both ways: JSON in the bundle for gates and machines, Markdown for the person
who decides (`card.py`). It says plainly where a baseline was not beaten, and for whom.
"""

from dataclasses import dataclass, field
from math import isnan
from typing import Any, Final

from pydantic import TypeAdapter

CHAMPION: Final = "champion"  # the method of a row begins so: "champion 3"
ALTERNATIVE: Final = "alternative"  # or so: "alternative: rank_xendcg"
NORMAL_95: Final = 1.959964  # half a 95 % interval in standard errors


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

    @property
    def se(self) -> float:
        """Standard error, as if the interval were a normal one."""
        return (self.high - self.low) / (2 * NORMAL_95)


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
class Slice:
    """Some of the test rows; only their number where they are too few to say anything.

    Args:
        family: What tells the rows apart, such as "tenure".
        name: Which of them these are, such as "under 30 days".
        value: The main measure; mean log loss, or what the gain counts.
        gain: What the model has over the best baseline (paired); more is better.
        over_champion: The same over the champion, where it answered the same rows.
        excess: Predicted less observed share, for probabilities.
    """

    family: str
    name: str
    n_rows: int
    n_recipients: int
    value: Measured | None = None
    gain: Measured | None = None
    over_champion: Measured | None = None
    predicted: float | None = None
    observed: float | None = None
    excess: Measured | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """How probabilities stand to what happened, with intervals over recipients.

    Args:
        shift: Log odds to add so that the mean prediction is the observed share; 0 is right.
        slope: What to multiply the log odds by; below 1 the model is too sure.
    """

    predicted: float
    observed: float
    shift: Measured
    slope: Measured


@dataclass(frozen=True, slots=True)
class Sample:
    """How much the test rests on; positives and negatives for probabilities only."""

    recipients: int
    positives: int | None = None
    negatives: int | None = None


@dataclass(frozen=True, slots=True)
class Decisions:
    """What would be decided otherwise than by the champion.

    Args:
        what: What is decided, in words.
        n: Decisions looked at.
        otherwise: Share of them that change.
        entropy, champion_entropy: Of the hours chosen, nats; None where no hour is.
    """

    what: str
    n: int
    otherwise: Measured
    entropy: float | None = None
    champion_entropy: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """A model beside its baselines on data later than its training.

    Args:
        gain_of: What `gain` counts, such as "log loss" or "nats per event"; more is better.
        facts: Sizes, dates and settings worth reading.
        notes: What the numbers do not say.
        champion: The champion of that day on the same rows, where it answers the same question.
        alternatives: Other ways to fit the same rows, tried each time; no gate asks for them.
        slices: Parts of the test, worst first; empty in reports of earlier versions.
        decisions: None where no champion answered, and in reports of earlier versions.
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
    champion: Row | None = None
    calibration: Calibration | None = None
    sample: Sample | None = None
    slices: list[Slice] = field(default_factory=list)
    alternatives: list[Row] = field(default_factory=list)
    decisions: Decisions | None = None

    @property
    def best_baseline(self) -> Row | None:
        """The baseline that the model has least over."""
        rated = [(row.gain.value, row) for row in self.baselines if row.gain is not None]
        # A gain that is no number is less than any: no baseline hides behind another.
        return min(rated, key=lambda pair: (not isnan(pair[0]), pair[0]))[1] if rated else None

    @property
    def not_beaten(self) -> list[str]:
        """Baselines that the model does not beat with confidence."""
        return [row.method for row in self.baselines if not row.is_beaten]

    @property
    def in_short(self) -> str:
        """The verdict in a word or three."""
        if not self.row.measures:
            return "not measured"
        return "not all beaten" if self.not_beaten else "beats all"

    @property
    def verdict(self) -> str:
        """One line for a table of versions."""
        if not self.row.measures:
            return f"{self.row.method}, not measured"
        best = next(iter(self.row.measures.items()))
        text = f"{best[0]} {best[1].value:.4f}"
        if self.not_beaten:
            return f"{text}; does not beat: {', '.join(self.not_beaten)}"
        return f"{text}; beats all {len(self.baselines)} baselines on {self.gain_of}"

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the verdict spelt out."""
        plain: dict[str, Any] = TypeAdapter(Report).dump_python(self, mode="json")
        return plain | {"verdict": self.verdict, "not_beaten": self.not_beaten}

    def metrics(self) -> dict[str, float]:
        """Flat numbers for a tracking server."""
        flat = {f"parity.{name}": value for name, value in self.parity.items()}
        champion = () if self.champion is None else (self.champion,)
        for row in (self.row, *champion, *self.alternatives, *self.baselines):
            stem = "" if row is self.row else f"baseline.{_slug(row.method)}."
            stem = f"{_slug(row.method)}." if row in self.alternatives else stem
            stem = "champion." if row is self.champion else stem
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
        if self.decisions is not None:
            flat["decisions_otherwise"] = self.decisions.otherwise.value
        return flat | self._of_calibration()

    def _of_calibration(self) -> dict[str, float]:
        told = self.calibration
        if told is None:
            return {}
        return {"calibration.shift": told.shift.value, "calibration.slope": told.slope.value}


def read_report(plain: dict[str, Any]) -> Report:
    """A report from its JSON."""
    kept = {key: value for key, value in plain.items() if key not in {"verdict", "not_beaten"}}
    return TypeAdapter(Report).validate_python(kept)


def _slug(text: str) -> str:
    kept = "".join(c if c.isalnum() else "_" for c in text.lower())
    return "_".join(part for part in kept.split("_") if part)
