"""What a model promises: its inputs in order, its output, its answer when nothing is known."""

import hashlib
from dataclasses import dataclass
from typing import Final

HOURS_PER_WEEK: Final = 168
RHYTHM_NAMES: Final = tuple(f"rhythm_{hour:03d}" for hour in range(HOURS_PER_WEEK))


@dataclass(frozen=True, slots=True)
class Output:
    """One output tensor of the graph: shape (n, width), each number in [low, high]."""

    name: str
    unit: str
    width: int = 1
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model as both sides know it.

    Args:
        name: In the registry and in answers.
        entity: What one row is about: `recipient` or `candidate` (a recipient and an item).
        inputs: Names of the float32 columns, in order.
        outputs: The graph's outputs, in order; the first is the score.
        horizon_days: How far ahead the score looks.
        prior: The score when no model or no features are at hand, marked as a fallback.
        meaning: One sentence for people.
    """

    name: str
    entity: str
    inputs: tuple[str, ...]
    outputs: tuple[Output, ...]
    horizon_days: float
    prior: float
    meaning: str

    @property
    def digest(self) -> str:
        """A short hash of everything that a bundle must agree with."""
        text = "|".join((self.name, *self.inputs, *(f"{o.name}:{o.width}" for o in self.outputs)))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
