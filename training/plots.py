"""Pictures for the person who decides: PNG bytes, no window, no style of the machine's own."""

from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.report import Report
from training.learning_curve import Curve

Floats = NDArray[np.float64]
_INK, _GREY, _ACCENT = "#1b1f24", "#9aa4ae", "#0b6e4f"
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def calibration(y: Floats, p: Floats, *, title: str, bins: int = 10) -> bytes:
    """Observed share over predicted probability, in bins of equal mass."""
    parts = [part for part in np.array_split(np.argsort(p, kind="stable"), bins) if len(part)]
    predicted = [float(p[part].mean()) for part in parts]
    observed = [float(y[part].mean()) for part in parts]
    error = [1.96 * float(np.sqrt(max(o * (1 - o), 1e-6) / len(part)))
             for o, part in zip(observed, parts, strict=True)]  # fmt: skip
    figure = Figure(figsize=(5, 4.2), layout="constrained")
    axes = figure.subplots()
    top = max(*predicted, *observed) * 1.1
    axes.plot([0, top], [0, top], color=_GREY, linewidth=1)
    axes.errorbar(predicted, observed, yerr=error, fmt="o", color=_ACCENT, capsize=2)
    axes.set(xlabel="predicted", ylabel="observed", title=title, xlim=(0, top), ylim=(0, None))
    return _png(figure)


def baselines(report: Report, measure: str) -> bytes:
    """One measure of the model and of each baseline, with intervals."""
    rows = [report.row, *report.baselines]
    rows = [row for row in rows if measure in row.measures][::-1]
    figure = Figure(figsize=(6, 0.6 + 0.45 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        m = row.measures[measure]
        color = _ACCENT if row is report.row else _INK
        axes.plot([m.low, m.high], [place, place], color=color, linewidth=2)
        axes.plot([m.value], [place], "o", color=color)
    axes.set_yticks(range(len(rows)), [row.method for row in rows])
    axes.set(xlabel=measure, title=f"{report.model} beside its baselines")
    return _png(figure)


def importance(shares: Mapping[str, float], *, top: int = 15) -> bytes:
    """The inputs that the trees gained most from."""
    return _bars(shares, "share of gain", top)


def contributions(sizes: Mapping[str, float], *, top: int = 15) -> bytes:
    """The inputs that move the answers most."""
    return _bars(sizes, "mean |contribution| to the log odds", top)


def learning_curve(curve: Curve) -> bytes:
    """Loss of the same test over the share of the training recipients, with intervals."""
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    percent = [100 * share for share in curve.shares]
    middle = [point.value for point in curve.points]
    axes.fill_between(
        percent, [point.low for point in curve.points], [point.high for point in curve.points],
        color=_GREY, alpha=0.3, linewidth=0,
    )  # fmt: skip
    axes.plot(percent, middle, "o-", color=_ACCENT)
    axes.set_xscale("log")
    axes.set_xticks(percent, [f"{share:g}" for share in percent])
    axes.minorticks_off()
    axes.set(xlabel="% of the training recipients, cheap settings", ylabel=f"loss, {curve.loss}")
    axes.set_title(curve.meaning.split(":")[0])
    return _png(figure)


def week(activity: Floats, *, title: str) -> bytes:
    """A week's activity as a heat map of 7 days by 24 hours; `activity` has shape (168,)."""
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(activity.reshape(7, 24) * 100, aspect="auto", cmap="Greens")
    axes.set_yticks(range(7), _DAYS)
    axes.set(xlabel="local hour", title=title)
    figure.colorbar(image, ax=axes, label="% of the week")
    return _png(figure)


def course(values: Sequence[float], *, title: str) -> bytes:
    """One number a window, the newest last and marked; gaps where there is none."""
    figure = Figure(figsize=(4.6, 2.2), layout="constrained")
    axes = figure.subplots()
    ago = np.arange(len(values)) - len(values) + 1
    axes.plot(ago, values, "-", color=_GREY, linewidth=1)
    axes.plot(ago, values, "o", color=_INK, markersize=3)
    axes.plot(ago[-1:], values[-1:], "o", color=_ACCENT)
    axes.set_xlabel("window, 0 is the newest")
    axes.set_title(title, fontsize="medium")
    return _png(figure)


def lifts(
    true: Sequence[float], measured: Sequence[tuple[float, float, float] | None], *, title: str
) -> bytes:
    """What is true of each week, and what was measured up to its end (low, value, high)."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    weeks = np.arange(1, len(true) + 1)
    axes.axhline(0.0, color=_GREY, linewidth=1)
    axes.bar(weeks, true, color=_ACCENT, width=0.5, label="true of the week")
    known = [(week, each) for week, each in zip(weeks, measured, strict=True) if each is not None]
    if known:
        places = [week for week, _ in known]
        low, value, high = np.array([each for _, each in known]).T
        axes.errorbar(
            places, value, yerr=[value - low, high - value], fmt="o", color=_INK, capsize=3,
            label="measured by the holdout so far",
        )  # fmt: skip
    axes.set_xticks(weeks)
    axes.set(xlabel="week", title=title)
    axes.legend(frameon=False, fontsize="small")
    return _png(figure)


def indices(sizes: Mapping[str, float], *, matters: float, title: str, top: int = 15) -> bytes:
    """Stability indices of the most drifted columns, and where an index begins to matter."""
    best = list(sizes.items())[:top][::-1]
    figure = Figure(figsize=(6, 1.0 + 0.28 * max(len(best), 1)), layout="constrained")
    axes = figure.subplots()
    axes.barh([name for name, _ in best], [size for _, size in best], color=_ACCENT)
    axes.axvline(matters, color=_INK, linewidth=1)
    axes.set(xlabel="stability index", title=title)
    return _png(figure)


def _bars(sizes: Mapping[str, float], label: str, top: int) -> bytes:
    best = list(sizes.items())[:top][::-1]
    figure = Figure(figsize=(6, 0.8 + 0.28 * max(len(best), 1)), layout="constrained")
    axes = figure.subplots()
    axes.barh([name for name, _ in best], [size for _, size in best], color=_ACCENT)
    axes.set(xlabel=label)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    out = BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
