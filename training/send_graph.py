"""The send-time chain as one ONNX graph: counts, levels and a flag in, every output of the spec."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.evened import toeplitz
from models.spec import HOURS_PER_WEEK
from models.specs.send_time import SPEC
from training.graphs import Nodes, of_nodes
from training.rhythm import MOST, SMOOTH, TEMPER, TO_DAY, TO_HOUR, Rhythm
from training.send_chain import FLAGS, LEVEL_ENDS, SendChain, Side
from training.send_link import EDGE
from training.spread import FADE, LEAST, MOST_ALIVE, MOST_GONE, REST, SCALE, TAIL, C

Floats = NDArray[np.float64]
_OUT: Final = tuple(output.name for output in SPEC.outputs)


def send_time_graph(chain: SendChain) -> bytes:
    """The graph of a fitted chain; see `SendChain.answers`."""
    g = Nodes()
    counts = g.columns("rows", 0, HOURS_PER_WEEK)
    active = g.total(counts)
    activity = _activity(g, chain.rhythm, counts, active)
    seen = g.matmul(activity, toeplitz(chain.aging) * HOURS_PER_WEEK)
    chance = g.node("Log", g.node("Max", seen, g.number(EDGE)))
    level = g.node("Max", g.columns("rows", HOURS_PER_WEEK, LEVEL_ENDS), g.number(0.0))
    side = _Side(g, chain, _flag(g, 1))
    logs = g.node("Log", g.node("Add", level, side.offsets))
    base, tilt, of_level = side.linear(logs)
    slope = side.numbers["slope"]
    log_odds = g.node("Add", g.node("Mul", chance, slope), base)
    p = g.node("Sigmoid", log_odds, output=_OUT[0])
    tilt = g.node("Add", tilt, g.node("Mul", chance, side.numbers["slope_variance"]))
    of_link = g.node("Add", of_level, g.node("Mul", tilt, chance))
    of_rhythm = g.node("Mul", _doubt(g, chain, activity, active), g.node("Mul", slope, slope))
    known = g.node("Add", g.node("Div", active, side.numbers["halved_at"]), g.number(1.0))
    between = g.node("Div", side.numbers["level_variance"], known)
    _interval(g, side, base, p, (between, g.node("Add", of_link, of_rhythm)))
    return of_nodes(g, SPEC)


class _Side:
    """The side of the chain that a row is on; all that differs is chosen by two nodes.

    Attributes:
        offsets: Of the link, shape (n, m).
        numbers: By name, shape (n, 1) each.
    """

    def __init__(self, g: Nodes, chain: SendChain, is_hidden: str) -> None:
        self._g, self._both, self._is_hidden = g, (chain.hidden, chain.seen), is_hidden
        told = [_numbers(side) for side in self._both]
        links = [side.link for side in self._both]
        rows = [
            np.r_[link.offsets, list(own.values())] for link, own in zip(links, told, strict=True)
        ]
        chosen = g.node("Where", is_hidden, *(g.constant(row[None, :]) for row in rows))
        self._m = len(links[0].offsets)
        self.offsets, *numbers = g.split(chosen, [self._m] + [1] * len(told[0]))
        self.numbers = dict(zip(told[0], numbers, strict=True))

    def linear(self, logs: str) -> tuple[str, str, str]:
        """What is made of the logs of the level features, shape (n, 1) each.

        The log odds but for the hour; what `SendLink.variance` multiplies the log attention by,
        once; and the variance but for the hour.
        """
        g, m = self._g, self._m
        weights, added = (np.hstack(parts) for parts in zip(*map(_linear, self._both), strict=True))
        both = g.node("Add", g.matmul(logs, weights), g.constant(added[None, :]))
        halves = g.split(both, [m + 2] * 2)
        base, tilt, bent = g.split(g.node("Where", self._is_hidden, *halves), [1, 1, m])
        bowed = g.total(g.node("Mul", bent, logs))
        return base, tilt, g.node("Add", bowed, self.numbers["intercept_variance"])


def _numbers(side: Side) -> dict[str, float]:
    link, spread = side.link, side.spread
    own, slope_variance, _ = link.parts
    return {
        "slope": link.slope,
        "slope_variance": slope_variance,
        "intercept_variance": own[0, 0],
        "halved_at": spread.halved_at,
        "level_variance": spread.level**2,
        "fading": -spread.fading,
        "at_rest": spread.gone + spread.fading * REST,
    }


def _linear(side: Side) -> tuple[Floats, Floats]:
    """Weights of the logs and what is added: of the base, the tilt and half of the bow."""
    link = side.link
    own, _, cross = link.parts
    weights = np.column_stack([link.weights, 2.0 * cross[1:], own[1:, 1:]])
    return weights, np.r_[link.intercept, 2.0 * cross[0], 2.0 * own[0, 1:]]


def _flag(g: Nodes, which: int) -> str:
    """One of the flags behind the level features."""
    return g.node("Greater", g.columns("rows", FLAGS[which], FLAGS[which] + 1), g.number(0.5))


def _activity(g: Nodes, rhythm: Rhythm, counts: str, active: str) -> str:
    """`Rhythm.activity` and, as an output, the share of the likeliest cohort."""
    logs = np.log(rhythm.weeks)
    logs -= logs.mean(axis=0)  # the same softmax from small numbers: float32 keeps their digits
    known, unknown = (g.constant(shares[None, :]) for shares in rhythm.log_shares)
    shares = g.node("Where", _flag(g, 0), known, unknown)
    heard = g.node("Div", g.number(MOST), g.node("Max", active, g.number(MOST)))
    logits = g.node("Mul", g.matmul(counts, TEMPER * logs.T), heard)
    cohorts = g.node("Softmax", g.node("Add", logits, shares), axis=1)
    g.node("ReduceMax", cohorts, output=_OUT[4], axes=[1], keepdims=1)
    prior = g.matmul(cohorts, rhythm.weeks)

    smooth = g.matmul(counts, SMOOTH)
    hours = g.matmul(prior, TO_HOUR)
    own = g.shrunk(g.matmul(smooth, TO_HOUR), hours, active, rhythm.by_hour)
    lift = g.matmul(g.node("Div", own, hours), TO_HOUR.T)
    first = g.normal(g.node("Mul", prior, lift))
    days = g.matmul(first, TO_DAY)
    own = g.shrunk(g.matmul(counts, TO_DAY), days, active, rhythm.by_day)
    lift = g.matmul(g.node("Div", own, days), TO_DAY.T)
    second = g.normal(g.node("Mul", first, lift))
    return g.shrunk(smooth, second, active, rhythm.by_slot, output=_OUT[1])


def _doubt(g: Nodes, chain: SendChain, activity: str, active: str) -> str:
    """`SendChain.doubt`."""
    hours = g.matmul(activity, TO_HOUR)
    mean, square = (g.matmul(hours, moment) for moment in chain.moments)
    ratio = g.node("Div", square, g.node("Mul", mean, mean))
    above = g.node("Max", g.node("Sub", ratio, g.number(1.0)), g.number(0.0))
    worth = g.node("Add", active, g.number(chain.rhythm.by_hour + 1.0))
    return g.matmul(g.node("Div", above, worth), TO_HOUR.T)


def _interval(g: Nodes, side: _Side, base: str, p: str, between_unsure: tuple[str, str]) -> None:
    """`interval` of `spread`, as two outputs."""
    between, unsure = between_unsure
    one = g.number(1.0)
    fading = g.node("Mul", base, side.numbers["fading"])
    gone = g.node("Sigmoid", g.node("Add", fading, side.numbers["at_rest"]))
    gone = g.node("Mul", gone, g.number(MOST_GONE))
    there = g.node("Sub", one, gone)
    alive = g.node("Min", g.node("Div", p, there), g.number(MOST_ALIVE))
    stretch = g.node("Sqrt", g.node("Add", g.node("Mul", between, g.number(C)), one))
    mid = g.node("Mul", _logit(g, alive), stretch)
    sd = g.node("Sqrt", g.node("Add", between, g.node("Max", unsure, g.number(0.0))))
    tails = g.constant(np.array([[TAIL, 1.0 - TAIL]]))
    shares = g.node("Div", g.node("Sub", tails, gone), there)
    inside = g.node("Clip", shares, g.number(LEAST), g.number(1.0 - LEAST))
    quantiles = g.node("Mul", _logit(g, inside), g.number(SCALE))
    low, high = (
        g.node("Sigmoid", g.node("Add", mid, g.node("Mul", sd, quantile)))
        for quantile in g.split(quantiles, [1, 1])
    )
    below, _ = g.split(shares, [1, 1])
    fade = g.node("Clip", g.node("Div", below, g.number(FADE)), g.number(0.0), one)
    g.node("Min", g.node("Mul", low, fade), p, output=_OUT[2])
    g.node("Max", high, p, output=_OUT[3])


def _logit(g: Nodes, p: str) -> str:
    return g.node("Log", g.node("Div", p, g.node("Sub", g.number(1.0), p)))
