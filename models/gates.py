"""May a candidate be promoted? Pure: reports in, a verdict with its reasons out.

Two routes. A *refresh* (the same spec on newer data) has to be no worse than the champion by
more than a little, because staleness itself costs. A *new spec*, and a first champion, has to
be better: than the champion, where there is one, and than the best simple baseline.

Source: simulated error rates of such gates on churn (four worlds, 200 evaluations each): "the
point estimate is better" promotes an equal model in 36 to 45 % of evaluations, a one-sided
95 % lower bound in 2 to 6 %.
A test that is used again tells less each time: the second candidate judged on it may err half as
often as the first, the third a quarter, so that all of them together err at most twice as often.
"""

from math import inf, isnan, nan
from statistics import NormalDist
from typing import Final

from models.report import Measured, Report, Row, Slice
from models.speed import Speed
from models.verdict import Gate, Limits, Route, Verdict

LOG_LOSS: Final = "log loss"
PROOFS: Final = ("max difference", "on thresholds")
_NORMAL: Final = NormalDist()
_Z: Final = _NORMAL.inv_cdf(0.975)


def judge(
    candidate: Report,
    champion: Report | None,
    route: Route,
    limits: Limits | None = None,
    *,
    tries: int = 1,
    speed: Speed | None = None,
) -> Verdict:
    """Judge a candidate.

    Args:
        champion: The report of the champion that it would take the place of, None where there
            is none that answers the same question. The comparison itself is the candidate's
            report's: only there stand both on the same rows.
        tries: Which of the candidates judged on this test it is, the first being 1.
        speed: How long its graph takes, measured just now; no gate on it when None.
    """
    limits = limits or Limits()
    gates, luck = [_sample(candidate, limits), _tries(tries, limits)], 0.5 ** (tries - 1)
    if champion is not None:
        gates.append(_champion(candidate, route, limits, luck))
    if champion is None or route is Route.NEW_SPEC:
        gates.append(_baseline(candidate, limits, luck))
    gates += [
        *_calibration(candidate, limits),
        _slices(candidate, limits),
        *(_decisions(candidate, route, limits) if champion is not None else []),
        _parity(candidate, limits),
        *([] if speed is None else [_latency(speed, limits)]),
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


def _tries(tries: int, limits: Limits) -> Gate:
    said = f"number {tries} of {limits.max_tries} candidates on one day's test"
    if tries > limits.max_tries:
        said += "; retrain on newer events"
    return Gate("tries", tries <= limits.max_tries, said)


def _champion(report: Report, route: Route, limits: Limits, luck: float) -> Gate:
    row = report.champion
    if row is None or row.gain is None:
        said = "it was not measured on the candidate's test rows; retrain while it is champion"
        return Gate("champion", passed=False, said=said)
    if route is Route.NEW_SPEC:
        return _bound("champion", row, 0.0, luck * limits.alpha_better)
    return _bound("champion", row, -_allowed(report, row, limits), luck * limits.alpha)


def _baseline(report: Report, limits: Limits, luck: float) -> Gate:
    row = report.best_baseline
    if row is None:
        return Gate("baseline", passed=False, said="none was measured; retrain on more history")
    return _bound("baseline", row, limits.baseline_margin, luck * limits.alpha_better)


def _bound(name: str, row: Row, needed: float, alpha: float) -> Gate:
    """One-sided: the lower bound of the gain has to be above what is needed."""
    gain = row.gain
    assert gain is not None  # noqa: S101  both callers looked
    # At 2.5 % exactly the end of the interval, also where that is not symmetric.
    low = gain.low + (1 - _NORMAL.inv_cdf(1 - alpha) / _Z) * (gain.value - gain.low)
    said = f"gain over {row.method} {gain.value:+.4f}, at least {low:+.4f}, needed {needed:+.4f}"
    return Gate(name, low > needed, said)


def _allowed(report: Report, row: Row, limits: Limits) -> float:
    """What a refresh may cost; not a number, which nothing passes, where the champion has none."""
    if report.gain_of != LOG_LOSS:
        return limits.refresh_margin
    loss = row.measures.get(LOG_LOSS)
    return nan if loss is None else limits.refresh_share * loss.value


def _calibration(report: Report, limits: Limits) -> list[Gate]:
    if report.gain_of != LOG_LOSS:
        return []
    found, ece = report.calibration, report.row.measures.get("ECE")
    if found is None or ece is None:
        return [
            Gate("calibration", passed=False, said="it was not measured; retrain on more history")
        ]
    shift, slope, most_reach = found.shift, found.slope, limits.max_shift_reach
    most = limits.max_ece + 2 * ece.se
    return [
        Gate(
            "calibration in the large",
            abs(shift.value) < limits.max_shift
            and -most_reach <= shift.low
            and shift.high <= most_reach,
            f"predicted {found.predicted:.1%}, observed {found.observed:.1%}: {shift.value:+.3f} "
            f"[{shift.low:+.3f}, {shift.high:+.3f}] log odds, allowed ±{limits.max_shift} "
            f"within ±{most_reach}",
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


def _decisions(report: Report, route: Route, limits: Limits) -> list[Gate]:
    """More than a share of decisions changed waits for a person, who may force it."""
    if report.champion is None:
        return []  # the gate of the champion has said so
    found = report.decisions
    if found is None:
        said = "nobody counted what would be decided otherwise; retrain while it is champion"
        return [Gate("decisions", passed=False, said=said)]
    share, n = found.otherwise, found.n
    most = limits.refresh_otherwise if route is Route.REFRESH else limits.spec_otherwise
    said = f"{found.what}: {share.value:.1%} [{share.low:.1%}, {share.high:.1%}] of {n:,}"
    gates = [Gate("decisions", share.value <= most, f"{said}, allowed {most:.0%}")]
    if found.entropy is not None:
        least = limits.entropy_share * found.champion_entropy
        said = f"of the hours chosen: {found.entropy:.2f} nats, at least {least:.2f}"
        gates.append(Gate("spread", found.entropy >= least, said))
    return gates


def _parity(report: Report, limits: Limits) -> Gate:
    missing = [name for name in PROOFS if name not in report.parity]
    if missing:
        said = f"not proven: {', '.join(missing)}; retrain"
        return Gate("parity", passed=False, said=said)
    found = [report.parity[name] for name in PROOFS]
    said = f"graph and fitted model differ by {max(found, key=_badness):.1e}"
    passed = all(value <= limits.parity for value in found)
    return Gate("parity", passed, f"{said}, allowed {limits.parity:.0e}")


def _latency(speed: Speed, limits: Limits) -> Gate:
    most = limits.row_us
    said = f"one row takes {speed.row_us:.0f} µs in the graph"
    if speed.champion_us is not None:
        most = min(most, max(limits.row_free_us, limits.row_share * speed.champion_us))
        said += f", in the champion's {speed.champion_us:.0f}"
    return Gate("latency", speed.row_us <= most, f"{said}, allowed {most:.0f}")


def _badness(difference: float) -> float:
    """What is no number is the worst there is."""
    return inf if isnan(difference) else difference


def _against(part: Slice) -> Measured | None:
    return part.over_champion or part.gain


def _chance(gain: Measured, at_least: float) -> float:
    """The p-value of "the gain is at least so much"; small when it surely is not.

    By the side of the interval that looks at what is asked; no number is surely not enough.
    """
    away = gain.value - at_least
    side = gain.value - gain.low if away >= 0 else gain.high - gain.value
    if isnan(away) or isnan(side):
        return 0.0
    if side <= 0:
        return 1.0 if away >= 0 else 0.0
    return _NORMAL.cdf(_Z * away / side)
