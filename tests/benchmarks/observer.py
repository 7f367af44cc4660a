"""What the best reader of a log could know of who falls silent: a filter over hidden states.

The oracle of a world knows how everybody is. A sender does not, and no model can know more than
the log tells. This reader is given what no sender has, the parameters of the world and how its
people differ as a whole, and of each person what the log holds: mails, answers and visits by
week. By Bayes' rule it weighs who of the others this person could be like, and whether they are
there, fading or gone (the forward pass of a hidden Markov model). The hours of the day and the
items of the mails are left out.
"""

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.events.schema import DAY_US, EventType
from features.events.simulator import Simulated
from features.events.world_truth import Oracle
from training.evidence import human

ALIKE: Final = 150  # people whom a person could be like
FADING_WEEKS: Final = 8
AT_ONCE: Final = 300
_GONE: Final = 0.01
_VISIT_US: Final = 10 * 60_000_000

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def p_silent(
    world: Simulated, events: pl.LazyFrame, to: Ints, *, at: int, days: float, seed: int
) -> Floats:
    """P(no recorded engagement in some days, or opting out) by what the log tells, shape (n,)."""
    oracle = world.oracle
    p, people = oracle.world.parameters, oracle.world.recipients
    weeks = [week.begin for week in oracle.weeks if week.begin < at]
    now = max((w for w in oracle.weeks if w.begin <= at), key=lambda w: w.begin)
    everybody = np.arange(len(people.zone))
    answers, leaves = oracle._per_mail(everybody, now)
    visits = people.visit_rate
    mails, answered, visited = _by_week(world, events, to, weeks, at)
    n_mails = len(oracle.world.send_days) * p.audience_share * (1 - p.bounce_rate)
    energy = np.r_[1.0, p.fading_per_week ** np.arange(1, FADING_WEEKS + 1), _GONE]
    moves = _moves(oracle)
    rng = np.random.default_rng(seed)
    told = np.empty(len(to))
    for flag in (False, True):
        alike = rng.choice(everybody[people.is_machine_open == flag], ALIKE)
        a, v = answers[alike, None] * energy, visits[alike, None] * energy
        stays = (1 - leaves[alike]) ** (n_mails * days / 7)
        mine = np.flatnonzero(people.is_machine_open[to] == flag)
        for part in np.split(mine, range(AT_ONCE, len(mine), AT_ONCE)):
            belief = _start(oracle, to[part], begin=weeks[0])
            for week in range(len(weeks)):
                n, k, seen = (x[part, week, None, None] for x in (mails, answered, visited))
                log_odds = k * np.log(a) + (n - k) * np.log1p(-a) + seen * np.log(v) - v
                log_odds -= log_odds.max(axis=(1, 2), keepdims=True)
                belief = belief * np.exp(log_odds)
                belief /= belief.sum(axis=(1, 2), keepdims=True)
                belief = belief @ moves
            likely = belief.sum(axis=2)
            for _ in range(round(days / 7)):
                belief = belief * np.exp(n_mails * np.log1p(-a) - v) @ moves
            told[part] = 1 - ((likely - belief.sum(axis=2)) * stays).sum(axis=1)
    return told


def _start(oracle: Oracle, to: Ints, *, begin: int) -> Floats:
    """Nobody knows who is who; of those there from the begin some are asleep."""
    belief = np.zeros((len(to), ALIKE, FADING_WEEKS + 2))
    was_there = oracle.world.recipients.signed_up_at[to] < begin
    asleep = np.where(was_there, oracle.world.parameters.dormant_share, 0.0)[:, None]
    belief[:, :, 0], belief[:, :, -1] = 1 - asleep, asleep
    return belief / ALIKE


def _moves(oracle: Oracle) -> Floats:
    """Chances from there, fading for some weeks and gone, to the same a week later."""
    p, last = oracle.world.parameters, FADING_WEEKS + 1
    moves = np.zeros((last + 1, last + 1))
    moves[0, 1] = p.churn_per_week * (1 - p.return_per_week)
    moves[0, 0] = 1 - moves[0, 1]
    for state in range(1, last + 1):
        moves[state, 0] = p.return_per_week
        moves[state, min(state + 1, last)] = 1 - p.return_per_week
    return moves


def _by_week(
    world: Simulated, events: pl.LazyFrame, to: Ints, weeks: list[int], at: int
) -> tuple[Floats, Floats, Floats]:
    """Mails, those answered and visits without a mail by person and week, (n, n_weeks) each."""
    known = events.filter(pl.col("occurred_at") < at)
    mails = (
        known.filter(pl.col("type") == EventType.DELIVERED.value)
        .select("recipient_key", "occurred_at", "message_key")
        .collect()
    )
    sure = human(known).select("recipient_key", "occurred_at", "type", "content_id", "message_key")
    is_answer = pl.col("type").is_in([EventType.OPENED.value, EventType.CLICKED.value])
    told = sure.filter(is_answer).select("message_key").unique().collect()
    answered = mails.join(told, on="message_key", how="semi")
    pages = sure.filter(
        pl.col("type").is_in([EventType.PAGE_VIEWED.value, EventType.CLICKED.value])
    ).collect()
    pages = pages.sort("recipient_key", "occurred_at")
    since = pl.col("occurred_at") - pl.col("occurred_at").shift(1).over("recipient_key")
    is_new = (since > _VISIT_US).fill_null(value=True)
    front = (pl.col("type") == EventType.PAGE_VIEWED.value) & (pl.col("content_id") == "")
    visited = pages.filter(is_new & front)
    row = {world.truth["recipient_key"][int(person)]: n for n, person in enumerate(to)}
    found = []
    for happened in (mails, answered, visited):
        counts = np.zeros((len(to), len(weeks)))
        mine = happened.filter(pl.col("recipient_key").is_in(list(row)))
        person = np.array([row[key] for key in mine["recipient_key"]], np.int64)
        week = (mine["occurred_at"].to_numpy() - weeks[0]) // (7 * DAY_US)
        np.add.at(counts, (person, np.clip(week, 0, len(weeks) - 1)), 1.0)
        found.append(counts)
    return found[0], np.minimum(found[1], found[0]), found[2]
