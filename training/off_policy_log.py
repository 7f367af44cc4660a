"""What was logged of decisions, and what another policy would have done: checked once, here.

A row is one decision: the action taken, its reward, and the chance with which it was taken.
Everything after this module may trust the numbers.
"""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SUM_TOLERANCE = 1e-6


class PolicyLogError(TrainingError):
    """A log or a target policy cannot be judged; the error names the row, value and remedy."""

    def __init__(self, column: str, problem: str, remedy: str) -> None:
        self.column = column
        super().__init__(f"{column}: {problem}; {remedy}")


@dataclass(frozen=True, slots=True, eq=False)
class Logged:
    """A log of decisions, one row each.

    Args:
        action: Shape (n,), number of the action taken, from 0.
        reward: Shape (n,), finite, in any unit; more is better.
        propensity: Shape (n,), chance in (0, 1] with which the action was taken *there*: given
            the context and, where several places are filled at once, the slot.
        group: Shape (n,), recipient of each row; one recipient's rows are never independent.
        slot: Shape (n,), the place that was filled, if there are several. Without it, one place.

    Raises:
        PolicyLogError: Shapes differ, a value is out of range, or there are fewer than 2 groups.
    """

    action: Ints
    reward: Floats
    propensity: Floats
    group: NDArray[np.generic]
    slot: NDArray[np.generic] | None = None
    codes: Ints = field(init=False, repr=False)
    n_groups: int = field(init=False)

    def __post_init__(self) -> None:
        keep = object.__setattr__
        keep(self, "action", _whole("action", self.action))
        n = len(self.action)
        keep(self, "reward", _column("reward", self.reward, n))
        keep(self, "propensity", _column("propensity", self.propensity, n))
        _refuse(
            "propensity",
            self.propensity,
            (self.propensity <= 0) | (self.propensity > 1),
            "log the chance of the action taken, above 0 and at most 1",
        )
        if self.slot is not None:
            _refuse_length("slot", len(self.slot), n)
        _refuse_length("group", len(self.group), n)
        found, codes = np.unique(np.asarray(self.group), return_inverse=True)
        if len(found) < 2:
            problem = f"{len(found)} recipients in {n} rows"
            raise PolicyLogError("group", problem, "intervals need 2 or more; log more recipients")
        keep(self, "codes", codes.reshape(-1).astype(np.int64))
        keep(self, "n_groups", len(found))

    def __len__(self) -> int:
        return len(self.action)


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What the policy under judgement would have done in the logged rows.

    Args:
        p_logged: Shape (n,), its chance of the action that was taken.
        q_logged: Shape (n,), a reward model's value of the action taken, fitted without the
            row's own recipient; None where there is no model.
        q_target: Shape (n,), the model's value of the policy: sum over actions of chance x value.

    Raises:
        PolicyLogError: Shapes differ, a value is out of range, or one of two columns is missing.
    """

    p_logged: Floats
    q_logged: Floats | None = None
    q_target: Floats | None = None

    def __post_init__(self) -> None:
        keep = object.__setattr__
        keep(self, "p_logged", _column("target", self.p_logged, np.size(self.p_logged)))
        n = len(self.p_logged)
        _refuse(
            "target",
            self.p_logged,
            (self.p_logged < 0) | (self.p_logged > 1 + SUM_TOLERANCE),
            "give the chance of the logged action, from 0 to 1",
        )
        if (self.q_logged is None) != (self.q_target is None):
            missing = "q_logged" if self.q_logged is None else "q_target"
            raise PolicyLogError(missing, "missing", "give both values of the model or neither")
        for name in ("q_logged", "q_target"):
            if (values := getattr(self, name)) is not None:
                keep(self, name, _column(name, values, n))

    @classmethod
    def of(cls, logged: Logged, probabilities: Floats, q: Floats | None = None) -> Self:
        """The target of full tables.

        Args:
            probabilities: Shape (n, k), chance of every action; rows add up to 1 within 1e-6.
            q: Shape (n, k), a model's reward of every action, see `off_policy_model`.

        Raises:
            PolicyLogError: A row is no distribution, a shape differs, or an action has no column.
        """
        table = _table("probabilities", probabilities, len(logged))
        k = table.shape[1]
        _refuse(
            "action", logged.action, logged.action >= k, f"number the {k} actions from 0 to {k - 1}"
        )
        _refuse("probabilities", table.min(axis=1), table.min(axis=1) < 0, "no chance is below 0")
        total = table.sum(axis=1)
        off = np.abs(total - 1) > SUM_TOLERANCE
        _refuse("probabilities, row sum", total, off, "divide each row by its sum")
        rows = np.arange(len(logged))
        if q is None:
            return cls(table[rows, logged.action])
        values = _table("q", q, len(logged))
        if values.shape != table.shape:
            problem = f"shape {values.shape}, probabilities have {table.shape}"
            raise PolicyLogError("q", problem, "give one column an action")
        value = np.einsum("ij,ij->i", table, values)
        return cls(table[rows, logged.action], values[rows, logged.action], value)


def weights(logged: Logged, target: Target) -> Floats:
    """How much likelier the target takes each logged action than the log did; shape (n,).

    Raises:
        PolicyLogError: The two have different numbers of rows.
    """
    _refuse_length("target", len(target.p_logged), len(logged))
    return target.p_logged / logged.propensity


def _whole(name: str, values: Ints) -> Ints:
    array = np.asarray(values)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        problem = f"shape {array.shape} of {array.dtype}"
        raise PolicyLogError(name, problem, "number the actions from 0, one a row")
    _refuse(name, array, array < 0, "number the actions from 0")
    return array.astype(np.int64, copy=False)


def _column(name: str, values: Floats, n: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise PolicyLogError(name, f"shape {array.shape}", "give one number a row")
    _refuse_length(name, len(array), n)
    _refuse(name, array, ~np.isfinite(array), "leave rows out whose value is not known")
    return array


def _table(name: str, values: Floats, n: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2:
        raise PolicyLogError(name, f"shape {array.shape}", "give one column an action")
    _refuse_length(name, len(array), n)
    worst = array.sum(axis=1)
    _refuse(name, worst, ~np.isfinite(worst), "give a finite number for every action")
    return array


def _refuse_length(name: str, found: int, n: int) -> None:
    if found != n:
        raise PolicyLogError(name, f"{found} rows, the log has {n}", "give one value a row")


def _refuse(name: str, values: NDArray[np.generic], bad: NDArray[np.bool_], remedy: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        raise PolicyLogError(name, f"row {row} is {values[row]!s}", remedy)
