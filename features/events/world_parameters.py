"""What differs between simulated worlds: every number is drawn per world from a range.

So there is no one seed to tune to. The ranges are those of published e-mail statistics where
there are any (time to open, opens with and without machines, clicks, opt-outs); the rest are
assumptions.
"""

from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np


def _between(low: float, high: float) -> Any:
    return field(metadata={"range": (low, high)})


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is true of one world as a whole, each drawn uniformly from its range."""

    # attention
    open_logit: float = _between(-1.5, -0.6)
    open_sd: float = _between(0.9, 1.5)
    click_logit: float = _between(-2.7, -2.0)
    click_gain: float = _between(0.6, 1.0)
    topic_gain: float = _between(0.3, 0.7)
    topic_concentration: float = _between(0.2, 0.5)
    checks_per_day: float = _between(2.0, 4.0)
    checks_sd: float = _between(0.6, 1.0)
    # how fast a mail sinks in the inbox, in hours
    fresh: float = _between(1.2, 2.0)
    sink_fast_h: float = _between(4.0, 10.0)
    sink_slow_h: float = _between(60.0, 120.0)
    slow_share: float = _between(0.15, 0.35)
    # rhythm of the week
    archetype_concentration: float = _between(0.10, 0.40)
    phase_sd_h: float = _between(0.5, 1.2)
    rhythm_noise: float = _between(0.2, 0.5)
    weekend: float = _between(0.5, 1.2)
    # mail clients that open everything
    machine_share: float = _between(0.35, 0.60)
    machine_fires: float = _between(0.85, 0.98)
    machine_detected: float = _between(0.90, 0.99)
    # security scanners that follow every link
    scanner_share: float = _between(0.02, 0.20)
    scanner_fires: float = _between(0.20, 0.50)
    scanner_detected: float = _between(0.50, 0.95)
    # wearing out and leaving
    fatigue: float = _between(0.05, 0.20)
    dormant_share: float = _between(0.10, 0.30)
    churn_per_week: float = _between(0.005, 0.015)
    return_per_week: float = _between(0.003, 0.02)
    fading_per_week: float = _between(0.45, 0.65)
    p_unsubscribe: float = _between(0.0010, 0.0030)
    p_complain: float = _between(0.00003, 0.0003)
    # the site
    visits_per_week: float = _between(0.1, 0.6)
    cart_logit: float = _between(-2.6, -1.8)
    # people change
    taste_drift: float = _between(0.0, 0.06)
    new_rhythm_per_quarter: float = _between(0.0, 0.04)
    # the sender
    zone_known: float = _between(0.4, 0.9)
    audience_share: float = _between(0.8, 1.0)
    quiet_audience_share: float = _between(0.5, 0.9)
    random_hour_share: float = _between(0.03, 0.08)
    legacy_hour_share: float = _between(0.05, 0.20)
    bounce_rate: float = _between(0.005, 0.015)

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Self:
        """One world's parameters."""
        return cls(**{each.name: rng.uniform(*each.metadata["range"]) for each in fields(cls)})


@dataclass(frozen=True, slots=True)
class Twists:
    """How a world departs from what the models assume; a plain world has none.

    Args:
        sweeps: Share of people who read their whole inbox at two fixed times of the day, however
            old a mail is.
        visit_mix: Share of each person's visits that follow somebody else's rhythm.
    """

    sweeps: float = 0.0
    visit_mix: float = 0.0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{each.name} is a share: {value:g} is not between 0 and 1")

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Self:
        """A world that is twisted in both ways."""
        return cls(sweeps=rng.uniform(0.2, 0.5), visit_mix=rng.uniform(0.2, 0.6))
