"""A model beside its baselines: every method measured on the same draws of recipients."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.report import Measured, Row
from training import metrics
from training.resampled import MEASURES, Sorted, draws_of

Floats = NDArray[np.float64]


def of_probabilities(
    y: Floats, methods: Mapping[str, Floats], people: Sequence[str]
) -> tuple[Row, list[Row]]:
    """The first method's row and the others', whose gain is the log loss it saves over them.

    Args:
        y: 0 or 1, shape (n,).
        methods: Probabilities of shape (n,) by method; the model first.
        people: Recipient of each row; whole people are resampled.
    """
    methods_sorted = [Sorted(y, p) for p in methods.values()]
    loss = MEASURES.index("log loss")

    def statistic(counts: NDArray[np.int64]) -> list[float]:
        values = [one.measures(counts) for one in methods_sorted]
        gains = [each[loss] - values[0][loss] for each in values]
        return [value for each in values for value in each] + gains

    found = metrics.intervals(np.array([statistic(counts) for counts in draws_of(people)]))
    width, gains = len(MEASURES), found[len(methods) * len(MEASURES) :]
    blocks = [found[i * width : (i + 1) * width] for i in range(len(methods))]
    named = [dict(zip(MEASURES, block, strict=True)) for block in blocks]
    return _rows(list(methods), named, gains)


def of_values(
    values: Mapping[str, Mapping[str, Floats]], gain: Mapping[str, Floats], people: Sequence[str]
) -> tuple[Row, list[Row]]:
    """The same for measures that are means of a value per row.

    Args:
        values: By measure, by method, shape (n,).
        gain: By method, what the model has over it per row, shape (n,).
    """
    columns = [column for by_method in values.values() for column in by_method.values()]
    columns += list(gain.values())
    found = metrics.mean_by_group(np.stack(columns, axis=1), people)
    n = len(gain)
    named = [{m: found[k * n + i] for k, m in enumerate(values)} for i in range(n)]
    return _rows(list(gain), named, found[len(values) * n :])


def _rows(
    methods: list[str], measures: list[dict[str, Measured]], gains: list[Measured]
) -> tuple[Row, list[Row]]:
    rows = [
        Row(method, measured, None if i == 0 else gain)
        for i, (method, measured, gain) in enumerate(zip(methods, measures, gains, strict=True))
    ]
    return rows[0], rows[1:]
