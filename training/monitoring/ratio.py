"""Are there as many of a kind as there should be? Asked again and again without asking too often.

A chi-square test at p < 0.001, looked at each week, errs more the longer one looks. Here the
evidence is a Bayes factor of a Beta mixture against the share that was meant: under that share
it exceeds 1 / alpha at any time at all, over all looks together, with chance at most alpha.

Source: Ville's inequality; Lindon and Malek 2020 (arXiv 2011.03567), sample-ratio mismatch.
Failure mode: units have to be independent; count recipients or draws, never their rows. After
many good units a fault needs the more bad ones to show, so the monitor asks of its windows only.
"""

from math import inf, log
from typing import Final

from scipy.special import betaln

ALPHA_EVER: Final = 0.001
WEIGHT: Final = 100.0  # how near to the share that was meant another one is looked for


def evidence(hits: int, n: int, *, share: float) -> float:
    """The log Bayes factor against `share`; above `log(1 / ALPHA_EVER)` it is refuted.

    Args:
        hits: Of `n` independent units those of the kind.
        share: What was meant, in [0, 1].
    """
    if share <= 0.0 or share >= 1.0:
        wrong = hits if share <= 0.0 else n - hits
        return inf if wrong else 0.0
    a, b = WEIGHT * share, WEIGHT * (1 - share)
    mixed = betaln(a + hits, b + n - hits) - betaln(a, b)
    return float(mixed - hits * log(share) - (n - hits) * log(1 - share))


def is_refuted(hits: int, n: int, *, share: float) -> bool:
    """Whether the share that was meant is surely not the one."""
    return evidence(hits, n, share=share) > log(1 / ALPHA_EVER)
