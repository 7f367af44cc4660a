"""Why a churn risk is what it is: what the score would be if one theme were as usual.

Faithful by making: each effect is the difference of two scores of the serving model itself, the
recipient's and the one with all inputs of a theme at the training's medians. Effects need not add
up, and say what moves the score, not what would move the person.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.specs.churn import SPEC, Theme, theme_of

SMALLEST: Final = 0.01  # effects below a point are left out
_THEMES: Final = {
    theme: np.array([theme_of(name) is theme for name in SPEC.inputs]) for theme in Theme
}

Rows = NDArray[np.float32]


class Effect(NamedTuple):
    """How much a theme adds to the risk, or takes from it."""

    theme: Theme
    effect: float


def effects(rows: Rows, bundle: Bundle) -> list[list[Effect]]:
    """Per recipient the themes that move the score, strongest first.

    Args:
        rows: Inputs of the churn model, shape (n, n_inputs).
        bundle: The champion; one without typical values explains nothing.
    """
    typical = np.array(bundle.manifest.typical, np.float32)
    if len(typical) != rows.shape[1] or not len(rows):
        return [[] for _ in range(len(rows))]
    changed = [rows, *(np.where(of_theme, typical, rows) for of_theme in _THEMES.values())]
    scores = bundle.session.run(np.ascontiguousarray(np.concatenate(changed)))["p_churn"][:, 0]
    mine, *others = scores.astype(np.float64).reshape(len(changed), len(rows))
    moved = mine - np.array(others)
    return [_strongest(column) for column in moved.T]


def _strongest(moved: Sequence[float] | NDArray[np.float64]) -> list[Effect]:
    found = [Effect(theme, float(by)) for theme, by in zip(_THEMES, moved, strict=True)]
    kept = [one for one in found if abs(one.effect) >= SMALLEST]
    return sorted(kept, key=lambda one: -abs(one.effect))
