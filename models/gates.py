"""May a candidate be promoted? Pure: reports in, a verdict with its reasons out.

Two routes. A *refresh* (the same spec on newer data) has to be no worse than the champion by
more than a little, because staleness itself costs. A *new spec*, and a first champion, has to
be better: than the champion, where there is one, and than the best simple baseline.

Source: simulated error rates of such gates on churn (four worlds, 200 evaluations each): "the
point estimate is better" promotes an equal model in 36 to 45 % of evaluations, a one-sided
95 % lower bound in 2 to 6 %.
Failure mode: the bounds are those of one test; a candidate tried again on the same test until
it passes has been chosen by luck.
"""

from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Final

from models.bundle import PARITY_LIMIT
from models.report import Measured, Report, Row, Slice

LOG_LOSS: Final = "log loss"
PROOFS: Final = ("max difference", "on thresholds")
_NORMAL: Final = NormalDist()


class Route(StrEnum):
    """What a candidate is held against."""

    REFRESH = "refresh"
    NEW_SPEC = "new-spec"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the gates ask for; the error rates above are those of the defaults.

    Args:
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
        parity: Exported graph against the fitted model.
    """

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


def judge(
    candidate: Report, champion: Report | None, route: Route, limits: Limits | None = None
) -> Verdict:
    """Judge a candidate.

    Args:
        champion: The report of the champion that it would take the place of, None where there
            is none that answers the same question. The comparison itself is the candidate's
            report's: only there stand both on the same rows.
    """
    limits = limits or Limits()
    gates = [_sample(candidate, limits)]
    if champion is not None:
        gates.append(_champion(candidate, route, limits))
    if champion is None or route is Route.NEW_SPEC:
        gates.append(_baseline(candidate, limits))
    gates += [
        *_calibration(candidate, limits),
        _slices(candidate, limits),
        _parity(candidate, limits),
    ]
    return Verdict(route, tuple(gates))


def failing_slices(report: Report, limits: Limits | None = None) -> list[tuple[Slice, float]]:
    """Slices that are worse than allowed beyond chance, and by how much, worst first.

    Held against the champion where it answered, else against the best baseline. One-sided;
    Holm (1979) over the slices judged, which may overlap as they like.
    """
    limits = limits or Limits()
    tested = [(_against(part), part) for part in report.slices]
    judged = []
    for gain, part in tested:
        if gain is None or part.value is None or part.n_recipients < limits.slice_recipients:
            continue
        margin = limits.slice_margin
        if report.gain_of == LOG_LOSS:
            margin = limits.slice_share * (part.value.value + gain.value)
        judged.append((_chance(gain, -margin), gain, margin, part))
    failed = []
    for rank, (chance, gain, margin, part) in enumerate(sorted(judged, key=lambda one: one[0])):
        if chance > limits.alpha / (len(judged) - rank):
            break
        failed.append((part, -gain.value - margin))
    return failed


def _sample(report: Report, limits: Limits) -> Gate:
    sample = report.sample
    if sample is None:
        return Gate("sample", passed=False, said="the report does not say; retrain")
    classes = [n for n in (sample.positives, sample.negatives) if n is not None]
    enough = sample.recipients >= limits.min_recipients
    said = f"{sample.recipients:,} recipients of {limits.min_recipients:,} in the test"
    if classes:
        enough = enough and min(classes) >= limits.min_of_a_class
        said += f", {min(classes):,} rows of the rarer class of {limits.min_of_a_class}"
    return Gate("sample", enough, said)


def _champion(report: Report, route: Route, limits: Limits) -> Gate:
    row = report.champion
    if row is None or row.gain is None:
        said = "it was not measured on the candidate's test rows; retrain while it is champion"
        return Gate("champion", passed=False, said=said)
    if route is Route.NEW_SPEC:
        return _bound("champion", row, 0.0, limits.alpha_better)
    return _bound("champion", row, -_allowed(report, row, limits), limits.alpha)


def _baseline(report: Report, limits: Limits) -> Gate:
    row = report.best_baseline
    if row is None:
        return Gate("baseline", passed=False, said="none was measured; retrain on more history")
    return _bound("baseline", row, limits.baseline_margin, limits.alpha_better)


def _bound(name: str, row: Row, needed: float, alpha: float) -> Gate:
    """One-sided: the lower bound of the gain has to be above what is needed."""
    gain = row.gain
    assert gain is not None  # noqa: S101  both callers looked
    low = gain.value - _NORMAL.inv_cdf(1 - alpha) * gain.se
    said = f"gain over {row.method} {gain.value:+.4f}, at least {low:+.4f}, needed {needed:+.4f}"
    return Gate(name, low > needed, said)


def _allowed(report: Report, row: Row, limits: Limits) -> float:
    if report.gain_of == LOG_LOSS:
        return limits.refresh_share * row.measures[LOG_LOSS].value
    return limits.refresh_margin


def _calibration(report: Report, limits: Limits) -> list[Gate]:
    if report.gain_of != LOG_LOSS:
        return []
    found = report.calibration
    if found is None:
        return [
            Gate("calibration", passed=False, said="it was not measured; retrain on more history")
        ]
    shift, slope, ece = found.shift, found.slope, report.row.measures["ECE"]
    reach = max(abs(shift.low), abs(shift.high))
    most = limits.max_ece + 2 * ece.se
    return [
        Gate(
            "calibration in the large",
            abs(shift.value) < limits.max_shift and reach <= limits.max_shift_reach,
            f"predicted {found.predicted:.1%}, observed {found.observed:.1%}: {shift.value:+.3f} "
            f"[{shift.low:+.3f}, {shift.high:+.3f}] log odds, allowed ±{limits.max_shift} "
            f"within ±{limits.max_shift_reach}",
        ),
        Gate(
            "calibration slope",
            limits.slope_low <= slope.low and slope.high <= limits.slope_high,
            f"{slope.value:.2f} [{slope.low:.2f}, {slope.high:.2f}], allowed "
            f"{limits.slope_low} to {limits.slope_high}",
        ),
        Gate("calibration error", ece.value <= most, f"ECE {ece.value:.3f}, allowed {most:.3f}"),
    ]


def _slices(report: Report, limits: Limits) -> Gate:
    n = sum(1 for part in report.slices if _against(part) is not None
            and part.n_recipients >= limits.slice_recipients)  # fmt: skip
    failed = failing_slices(report, limits)
    if not failed:
        return Gate("slices", passed=True, said=f"none of {n} judged is surely worse")
    told = [f"{part.family} {part.name} by {by:.4f} more than allowed" for part, by in failed]
    return Gate("slices", passed=False, said=f"surely worse: {'; '.join(told)}")


def _parity(report: Report, limits: Limits) -> Gate:
    found = [report.parity[name] for name in PROOFS if name in report.parity]
    worst = max(found, default=float("inf"))
    said = f"graph and fitted model differ by {worst:.1e}, allowed {limits.parity:.0e}"
    return Gate("parity", worst <= limits.parity, said)


def _against(part: Slice) -> Measured | None:
    return part.over_champion or part.gain


def _chance(gain: Measured, at_least: float) -> float:
    """The p-value of "the gain is at least so much"; small when it surely is not."""
    if gain.se == 0:
        return 1.0 if gain.value >= at_least else 0.0
    return _NORMAL.cdf((gain.value - at_least) / gain.se)
