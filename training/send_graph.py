"""The send-time chain as one ONNX graph: counts, levels and a flag in, every output of the spec."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from features.evened import toeplitz
from models.spec import HOURS_PER_WEEK
from models.specs.send_time import SPEC
from training.graphs import Nodes, of_nodes
from training.rhythm import MOST, SMOOTH, TEMPER, TO_DAY, TO_HOUR, Rhythm
from training.send_chain import FLAGS, LEVEL_ENDS, SendChain, Side
from training.send_link import EDGE, SendLink
from training.spread import FADE, LEAST, MOST_ALIVE, MOST_GONE, REST, SCALE, TAIL, C

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
    side = _Sides(g, chain, _flag(g, 1))
    logs = [
        g.node("Log", g.node("Add", level, g.constant(s.link.offsets[None, :]))) for s in side.both
    ]
    base = side.each(lambda n, s: _base(g, s.link, logs[n]))
    slope = side.number(lambda s: s.link.slope)
    log_odds = g.node("Add", g.node("Mul", chance, slope), base)
    p = g.node("Sigmoid", log_odds, output=_OUT[0])
    of_level = side.each(lambda n, s: _of_level(g, s.link, logs[n]))
    tilt = side.each(lambda n, s: _tilt(g, s.link, logs[n]))
    tilt = g.node("Add", tilt, g.node("Mul", chance, side.number(lambda s: s.link.parts[1])))
    of_link = g.node("Add", of_level, g.node("Mul", tilt, chance))
    of_rhythm = g.node("Mul", _doubt(g, chain, activity, active), g.node("Mul", slope, slope))
    halved_at = side.number(lambda s: s.spread.halved_at)
    known = g.node("Add", g.node("Div", active, halved_at), g.number(1.0))
    between = g.node("Div", side.number(lambda s: s.spread.level**2), known)
    _interval(g, side, base, p, (between, g.node("Add", of_link, of_rhythm)))
    return of_nodes(g, SPEC)


@dataclass(frozen=True, slots=True)
class _Sides:
    """The two sides of a chain; what differs is chosen row by row, shape (n, 1)."""

    g: Nodes
    chain: SendChain
    is_hidden: str

    @property
    def both(self) -> tuple[Side, Side]:
        return self.chain.hidden, self.chain.seen

    def each(self, make: Callable[[int, Side], str]) -> str:
        made = [make(number, side) for number, side in enumerate(self.both)]
        return self.g.node("Where", self.is_hidden, *made)

    def number(self, get: Callable[[Side], float]) -> str:
        return self.each(lambda _, side: self.g.number(get(side)))


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


def _base(g: Nodes, link: SendLink, logs: str) -> str:
    """Log odds but for the hour."""
    return g.node("Add", g.matmul(logs, link.weights[:, None]), g.number(link.intercept))


def _of_level(g: Nodes, link: SendLink, logs: str) -> str:
    """`SendLink.variance` but for the hour."""
    own = link.parts[0]
    bent = g.node("Add", g.matmul(logs, own[1:, 1:]), g.constant(2.0 * own[:1, 1:]))
    return g.node("Add", g.total(g.node("Mul", bent, logs)), g.number(own[0, 0]))


def _tilt(g: Nodes, link: SendLink, logs: str) -> str:
    """What `SendLink.variance` multiplies the log attention by, once."""
    cross = link.parts[2]
    return g.node("Add", g.matmul(logs, 2.0 * cross[1:, None]), g.number(2.0 * cross[0]))


def _doubt(g: Nodes, chain: SendChain, activity: str, active: str) -> str:
    """`SendChain.doubt`."""
    hours = g.matmul(activity, TO_HOUR)
    mean, square = (g.matmul(hours, moment) for moment in chain.moments)
    ratio = g.node("Div", square, g.node("Mul", mean, mean))
    above = g.node("Max", g.node("Sub", ratio, g.number(1.0)), g.number(0.0))
    worth = g.node("Add", active, g.number(chain.rhythm.by_hour + 1.0))
    return g.matmul(g.node("Div", above, worth), TO_HOUR.T)


def _interval(g: Nodes, side: _Sides, base: str, p: str, between_unsure: tuple[str, str]) -> None:
    """`interval` of `spread`, as two outputs."""
    between, unsure = between_unsure
    one = g.number(1.0)
    fading = g.node("Mul", base, side.number(lambda s: -s.spread.fading))
    at_rest = side.number(lambda s: s.spread.gone + s.spread.fading * REST)
    gone = g.node("Sigmoid", g.node("Add", fading, at_rest))
    gone = g.node("Mul", gone, g.number(MOST_GONE))
    there = g.node("Sub", one, gone)
    alive = g.node("Min", g.node("Div", p, there), g.number(MOST_ALIVE))
    stretch = g.node("Sqrt", g.node("Add", g.node("Mul", between, g.number(C)), one))
    mid = g.node("Mul", _logit(g, alive), stretch)
    sd = g.node("Sqrt", g.node("Add", between, g.node("Max", unsure, g.number(0.0))))
    below, above = (
        g.node("Div", g.node("Sub", g.number(tail), gone), there) for tail in (TAIL, 1.0 - TAIL)
    )
    low, high = (
        g.node("Sigmoid", g.node("Add", mid, g.node("Mul", sd, _quantile(g, share))))
        for share in (below, above)
    )
    fade = g.node("Clip", g.node("Div", below, g.number(FADE)), g.number(0.0), one)
    g.node("Min", g.node("Mul", low, fade), p, output=_OUT[2])
    g.node("Max", high, p, output=_OUT[3])


def _quantile(g: Nodes, share: str) -> str:
    inside = g.node("Clip", share, g.number(LEAST), g.number(1.0 - LEAST))
    return g.node("Mul", _logit(g, inside), g.number(SCALE))


def _logit(g: Nodes, p: str) -> str:
    return g.node("Log", g.node("Div", p, g.node("Sub", g.number(1.0), p)))
