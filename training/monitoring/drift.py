"""Drift: inputs and scores of today against those the champion was made from.

The population stability index of ten bins, fixed on the deciles of the reference. Its folklore
bounds (0.1, 0.25) ignore the sample: of two samples of a thousand each, chance alone reaches
0.056. So both are asked: an index above 0.10, which matters, and above what chance reaches.

An alarm is a score beyond that, or an input beyond 0.25. An input between the two asks for a
retrain: where nothing but time passes, inputs wander there as people come and go (up to 0.18 in
fourteen weeks of simulated worlds), and the score does not.

Source: Yurdakul 2018 (the index is asymptotically (1/N + 1/M) x chi2 of bins - 1).
Failure mode: rows of one recipient or item are alike, and N and M count these, not rows; where
both are few, only a large drift is seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from models.reference import SCORE, Histogram, Reference, shares_between
from training.monitoring.findings import ALPHA, Judgement, Signal, Trigger, judged, unjudged

MATTERS: Final = 0.10
PLAIN: Final = 0.25  # of an input: it has plainly changed
NAME: Final = "drift"
SHOWN: Final = 5  # inputs that a verdict names

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Drift:
    """One column's index beside what chance reaches."""

    column: str
    psi: float
    noise: float

    @property
    def has_drifted(self) -> bool:
        """Whether it matters and is no chance."""
        return self.psi > MATTERS and self.psi > self.noise

    @property
    def is_plain(self) -> bool:
        """Whether it is an incident rather than the course of time."""
        return self.has_drifted and (self.column == SCORE or self.psi > PLAIN)


def psi(then: Histogram, values: Floats, *, n: int) -> float:
    """The population stability index of a column; empty bins count as half a unit.

    Args:
        n: Independent units behind the values.
    """
    now = shares_between(then.edges, values)
    bins = len(then.shares)
    before, after = (
        (np.array(shares) * units + 0.5) / (units + 0.5 * bins)
        for shares, units in ((then.shares, then.n), (now, n))
    )
    return float(np.sum((after - before) * np.log(after / before)))


def noise_bound(n: int, m: int, *, bins: int, alpha: float) -> float:
    """What the index of two samples of one distribution exceeds with chance `alpha`."""
    return float((1 / n + 1 / m) * chi2.ppf(1 - alpha, max(bins - 1, 1)))


def drifts(
    reference: Reference, columns: Mapping[str, Floats], units: Mapping[str, int]
) -> list[Drift]:
    """Every column that both sides know, the most drifted first.

    Args:
        columns: Shape (rows,) each.
        units: By column, how many independent units are behind its rows.
    """
    known = [name for name in columns if name in reference.histograms and units[name] > 0]
    found = []
    for name in known:
        then = reference.histograms[name]
        filled = sum(share > 0 for share in then.shares)
        bound = noise_bound(
            max(then.n, 1), units[name], bins=max(filled, 2), alpha=ALPHA / len(known)
        )
        found.append(Drift(name, psi(then, columns[name], n=units[name]), bound))
    return sorted(found, key=lambda each: (not each.has_drifted, -each.psi))


def drift_signal(model: str, found: list[Drift], *, filling: int = 0) -> Signal:
    """What the indices of a model say together.

    Args:
        filling: How many columns were not asked, because they still fill with the log.
    """
    if not found:
        return unjudged(NAME, model, "no column that both the reference and today's rows have")
    drifted = [each for each in found if each.has_drifted]
    judgement = judged(any(each.is_plain for each in found))
    if drifted and judgement is Judgement.FINE:
        judgement = Judgement.NOTICE
    worst = found[0]
    named = ", ".join(f"{d.column} {d.psi:.2f}" for d in (drifted or found)[:SHOWN])
    if len(drifted) > SHOWN:
        named += f" and {len(drifted) - SHOWN} more"
    rest = f"; {filling} not asked, they fill with the log" if filling else ""
    said = f"{len(drifted)} of {len(found)} columns have drifted; index of {named}{rest}"
    return Signal(
        NAME, model, worst.psi,
        f"> {MATTERS:.2f} (score) or {PLAIN:.2f} (input), and > {worst.noise:.2f} (chance)",
        judgement, said,
        "look at what changed at the source; then `opportune retrain`" if drifted else "",
        Trigger.DRIFT if drifted else None,
    )  # fmt: skip
