"""The model card: a report as Markdown for the person who decides.

Verdict first, because the list of versions shows one line; then the table, for whom it is
worse, and what would change the verdict.
"""

from collections.abc import Sequence
from math import ceil

from models.gates import failing_slices
from models.report import NORMAL_95, Report, Row, Slice
from models.verdict import Limits


def card_of(report: Report) -> str:
    """The whole card."""
    lines = [
        report.verdict, "", f"**{report.model}**, as of {report.as_of}. Test: {report.test}.", "",
        *_methods(report), "",
        "## What would change the verdict", "", *_missed(report), "",
    ]  # fmt: skip
    if report.calibration is not None:
        told = report.calibration
        lines += [
            f"Predicted {told.predicted:.1%}, observed {told.observed:.1%}: shift "
            f"{told.shift} log odds, slope {told.slope}.",
            "",
        ]
    if report.decisions is not None:
        told_of = report.decisions
        lines += [
            f"Decided otherwise than by the champion: {told_of.otherwise.value:.1%} of "
            f"{told_of.n:,} ({told_of.what}; near equals are no change).",
            "",
        ]
    if report.slices:
        lines += ["## For whom worse", "", *_worse(report), "", *_slices(report), ""]
    lines += [*(f"* {note}" for note in report.notes), ""]
    lines += [f"* {name}: {value}" for name, value in report.facts.items()]
    lines += [
        f"* exported graph against native, {name}: {value:,.0f}"
        if value >= 1
        else f"* exported graph against native, {name}: {value:.1e}"
        for name, value in report.parity.items()
    ]
    return "\n".join(lines) + "\n"


def _methods(report: Report) -> list[str]:
    names = list(report.row.measures)
    head = ["method", *names, f"gain over it ({report.gain_of})"]
    lines = [_line(head), _line(["---"] * len(head))]
    lines.append(_line([f"**{report.row.method}**", *_cells(report.row, names), ""]))
    champion = [] if report.champion is None else [report.champion]
    for row in (*champion, *report.alternatives, *report.baselines):
        is_missed = row in report.baselines and not row.is_beaten
        gain = f"{row.gain}{' (not beaten)' if is_missed else ''}" if row.gain else ""
        lines.append(_line([row.method, *_cells(row, names), gain]))
    return lines


def _missed(report: Report) -> list[str]:
    """By how much each baseline is missed and each slice fails."""
    if not report.row.measures:
        return ["* Nothing was measured; more history will tell."]
    lines = []
    for row in report.baselines:
        gain = row.gain
        if row.is_beaten or gain is None:
            continue
        text = f"* {row.method} is not beaten: the gain {gain} is {-gain.low:.4f} short"
        if gain.value > 0:
            times = (NORMAL_95 * gain.se / gain.value) ** 2
            text += f"; were it real, {ceil(10 * times) / 10:g} times the recipients would show it"
        lines.append(f"{text}.")
    lines += [
        f"* {part.family} {part.name}: worse by {by:.4f} more than allowed, beyond chance."
        for part, by in failing_slices(report)
    ]
    return lines or ["* Every baseline is beaten and no slice fails."]


def _worse(report: Report) -> list[str]:
    """Slices where the best baseline did better, told apart by whether that may be chance."""
    told = [part for part in report.slices if part.gain is not None and part.gain.value < 0]
    if not told:
        return ["Nowhere is the best baseline ahead."]
    surely = [_named(part) for part in told if part.gain is not None and part.gain.high < 0]
    maybe = [_named(part) for part in told if part.gain is not None and part.gain.high >= 0]
    lines = [f"* The best baseline is ahead: {', '.join(surely)}."] if surely else []
    return lines + ([f"* It may be, or it is chance: {', '.join(maybe)}."] if maybe else [])


def _slices(report: Report) -> list[str]:
    has_champion = any(part.over_champion for part in report.slices)
    has_chances = any(part.excess for part in report.slices)
    best = "" if report.best_baseline is None else f" over {report.best_baseline.method}"
    measure = report.gain_of if has_chances else next(iter(report.row.measures))
    head = ["slice", "recipients", "rows", measure, f"gain{best}"]
    head += ["gain over champion"] * has_champion
    head += ["predicted", "observed", "predicted less observed"] * has_chances
    lines = [_line(head), _line(["---"] * len(head))]
    for part in report.slices:
        cells = [_named(part), f"{part.n_recipients:,}", f"{part.n_rows:,}"]
        if part.value is None:
            lines.append(_line([*cells, "too small to say", *[""] * (len(head) - 4)]))
            continue
        cells += [str(part.value), str(part.gain or "")]
        cells += [str(part.over_champion or "")] * has_champion
        if part.predicted is not None and part.observed is not None:
            cells += [f"{part.predicted:.1%}", f"{part.observed:.1%}", str(part.excess or "")]
        lines.append(_line(cells))
    few = Limits().slice_recipients
    return [*lines, "", f"Slices of fewer than {few} recipients are shown and not judged."]


def _named(part: Slice) -> str:
    return f"{part.family}: {part.name}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def _cells(row: Row, names: Sequence[str]) -> list[str]:
    return [str(row.measures[name]) if name in row.measures else "" for name in names]
