"""What a model's inputs and answers looked like when it was made: what drift is measured from.

Of every input and of the score the deciles, and the share of rows between them; missing values
are a bin of their own. It stands in the manifest: the monitor reads it, no score ever does.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

BINS: Final = 10
SCORE: Final = "score"

Floats = NDArray[np.float64]


class Histogram(BaseModel):
    """Shares of rows between edges that stay where they were.

    Args:
        edges: Rising; a value at an edge belongs below it. Fewer than nine where values repeat.
        shares: One more than edges, and then the share that is missing.
        n: Independent units behind the rows, such as recipients.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    n: int


class Reference(BaseModel):
    """Histograms by input, and of the score."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    as_of: str
    histograms: dict[str, Histogram]


def deciles(values: Floats, *, n: int) -> Histogram:
    """The histogram of a column between its own deciles.

    Args:
        values: Shape (rows,), NaN where missing.
        n: Independent units behind the rows.

    >>> deciles(np.array([0.0, 0.0, 0.0, 1.0]), n=4).edges
    (0.0,)
    """
    known = values[np.isfinite(values)]
    edges: tuple[float, ...] = ()
    if len(known):
        found = np.quantile(known, np.arange(1, BINS) / BINS, method="lower")
        edges = tuple(float(edge) for edge in np.unique(found.astype(np.float32)))
    return Histogram(edges=edges, shares=shares_between(edges, values), n=n)


def shares_between(edges: tuple[float, ...], values: Floats) -> tuple[float, ...]:
    """Shares of a column between given edges, and last of what is missing; they sum to one."""
    is_known = np.isfinite(values)
    # Edges are kept as float32, as the inputs of a graph are.
    place = np.searchsorted(np.array(edges), values[is_known].astype(np.float32), side="left")
    counts = np.append(np.bincount(place, minlength=len(edges) + 1), (~is_known).sum())
    return tuple(float(round(share, 6)) for share in counts / max(len(values), 1))


def reference_of(columns: Mapping[str, Floats], units: Mapping[str, int], as_of: str) -> Reference:
    """The reference of named columns.

    Args:
        units: By column, how many independent units are behind its rows.
    """
    made = {name: deciles(column, n=units[name]) for name, column in columns.items()}
    return Reference(as_of=as_of, histograms=made)
