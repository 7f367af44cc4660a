"""What asks for a retrain: time, volume, drift, quality, erasure; one model at a time, by rules."""

from collections.abc import Sequence
from dataclasses import dataclass

from training.monitoring.calibrated import NAME as CALIBRATION
from training.monitoring.findings import Judgement, Signal, Trigger


@dataclass(frozen=True, slots=True)
class Limits:
    """When a champion has served long enough.

    Args:
        days: Of its age.
        growth: Events since it was trained, as a share of those before.
    """

    days: float = 28.0
    growth: float = 0.5


@dataclass(frozen=True, slots=True)
class Age:
    """How old a champion is, and what has come since.

    Args:
        days: Since its `as_of`; None without a champion.
        growth: Events since then, as a share of those it was trained on.
    """

    days: float | None
    growth: float = 0.0


@dataclass(frozen=True, slots=True)
class Due:
    """Whether one model should be trained again, and why."""

    model: str
    reasons: tuple[tuple[Trigger, str], ...]

    @property
    def is_due(self) -> bool:
        """Whether anything asks for it."""
        return bool(self.reasons)

    @property
    def is_shift_only(self) -> bool:
        """Whether nothing but a shifted calibration asks: the intercept is all that is wrong."""
        return self.is_due and all(why.startswith(f"{CALIBRATION}: ") for _, why in self.reasons)


def due_of(
    model: str, age: Age, signals: Sequence[Signal], limits: Limits, *, erased: str = ""
) -> Due:
    """What asks for a retrain of one model.

    Args:
        erased: Whom the champion has learnt from although they were erased since, and by when it
            must not any more; empty for nobody.
    """
    if age.days is None:
        return Due(model, ((Trigger.TIME, "there is no champion"),))
    reasons = []
    if age.days >= limits.days:
        why = f"the champion is {age.days:.0f} days old, {limits.days:g} are allowed"
        reasons.append((Trigger.TIME, why))
    if age.growth >= limits.growth:
        why = (
            f"{age.growth:.0%} more events than it was trained on, {limits.growth:.0%} are allowed"
        )
        reasons.append((Trigger.VOLUME, why))
    reasons += [
        (signal.asks, f"{signal.name}: {signal.said}")
        for signal in signals
        if signal.subject == model and signal.asks is not None
        and signal.judgement in {Judgement.ALARM, Judgement.NOTICE}
    ]  # fmt: skip
    if erased:
        reasons.append((Trigger.ERASURE, erased))
    return Due(model, tuple(reasons))
