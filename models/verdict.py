"""What gates ask for and what they found: routes, limits, outcomes."""

from dataclasses import dataclass
from enum import StrEnum

from models.bundle import PARITY_LIMIT


class Route(StrEnum):
    """What a candidate is held against."""

    REFRESH = "refresh"
    NEW_SPEC = "new-spec"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the gates ask for; the error rates above are those of the defaults.

    Args:
        max_tries: Candidates judged on one test.
        alpha: One-sided error rate of non-inferiority, and of all slices together (Holm).
        alpha_better: The same of "better": the end of the 95 % interval that a report calls a
            baseline beaten by.
        min_recipients: In the test; below, "no difference" only means "not looked".
        min_of_a_class: Positives and negatives in the test, for probabilities.
        refresh_share: How much of the champion's log loss a refresh may cost.
        refresh_margin: The same in the units of NDCG@10 and nats per event.
        baseline_margin: What a new spec has to have over the best baseline.
        max_shift, max_shift_reach: Calibration in the large and the end of its interval, in
            log odds: 0.10 is 0.4 percentage points at 5 %, 2.5 at 50 %.
        slope_low, slope_high: Where the interval of the calibration slope has to lie.
        max_ece: Expected calibration error, over two standard errors.
        slice_share, slice_margin: As `refresh_*`, for one slice.
        slice_recipients: Slices of fewer are shown and not judged.
        refresh_otherwise, spec_otherwise: Share of decisions that a candidate may change, by route;
            more waits for a person.
        entropy_share: How much of the champion's spread of hours has to stay.
        row_us: What one row alone may take in the graph, microseconds; never more than
            `row_share` times the champion's, from `row_free_us` on.
        parity: Exported graph against the fitted model.
    """

    max_tries: int = 5
    alpha: float = 0.05
    alpha_better: float = 0.025
    min_recipients: int = 2_000
    min_of_a_class: int = 200
    refresh_share: float = 0.005
    refresh_margin: float = 0.003
    baseline_margin: float = 0.0
    max_shift: float = 0.10
    max_shift_reach: float = 0.20
    slope_low: float = 0.80
    slope_high: float = 1.25
    max_ece: float = 0.02
    slice_share: float = 0.02
    slice_margin: float = 0.012
    slice_recipients: int = 500
    refresh_otherwise: float = 0.15
    spec_otherwise: float = 0.30
    entropy_share: float = 0.80
    row_us: float = 1_000.0
    row_share: float = 2.0
    row_free_us: float = 150.0
    parity: float = PARITY_LIMIT


@dataclass(frozen=True, slots=True)
class Gate:
    """One rule and its outcome, with what was found beside what is asked for."""

    name: str
    passed: bool
    said: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Every gate's outcome."""

    route: Route
    gates: tuple[Gate, ...]

    @property
    def passed(self) -> bool:
        """Whether all gates are."""
        return all(gate.passed for gate in self.gates)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why not, in words; empty when it passed."""
        return tuple(f"{gate.name}: {gate.said}" for gate in self.gates if not gate.passed)
