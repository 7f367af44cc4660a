"""The world that the simulator lives in: who is there and what can be sent to them.

Failure mode: what agrees with this world may still be wrong about people; it tests whether a
known truth is found, not which truth holds.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from features.events.schema import HOUR_US, SECOND_US
from features.events.world_catalogue import TOPICS, Catalogue, catalogue_of
from features.events.world_clock import WEEK_HOURS, WEEK_US, Array, WorldClock
from features.events.world_parameters import Parameters, Twists

ARCHETYPES: Final = ("early", "commute", "office", "evening", "night", "lunch", "shifts")
ZONES: Final = (
    "America/Los_Angeles", "America/Denver", "America/Chicago", "America/New_York",
    "America/Sao_Paulo", "Europe/London", "Europe/Berlin", "Europe/Athens",
    "Asia/Kolkata", "Asia/Singapore", "Asia/Tokyo", "Australia/Sydney",
)  # fmt: skip

_SENDERS: Final = {  # where the sender sits, and how its recipients spread over ZONES
    "America/New_York": (16, 6, 20, 33, 4, 6, 6, 2, 2, 1, 2, 2),
    "Europe/Berlin": (2, 1, 2, 6, 2, 15, 50, 12, 4, 2, 2, 2),
    "Asia/Singapore": (3, 1, 2, 4, 1, 5, 3, 1, 18, 35, 12, 15),
}
_ARCHETYPE_SHARES: Final = np.array([1.2, 2.0, 1.5, 1.3, 0.5, 1.0, 0.5])


@dataclass(frozen=True, slots=True, eq=False)
class Recipients:
    """Who is mailed, one row each.

    Args:
        zone: Number in `ZONES`.
        archetypes: Shape (n, 7), how much of each daily pattern.
        rhythm: Shape (n, 168), relative attention by local hour of the week, mean 1.
        sweeps: Shape (n, 24), whether the inbox is swept at that hour; all False for who glances
            at it now and then.
        check_rate: Looks at the inbox per hour, on average over the week.
        taste: Shape (n, 12), shares that add up to 1.
        visit_rhythm: Shape (n, 168), like `rhythm`, of visits without a mail.
        is_scanned: Whether a machine follows every link before the mail is delivered.
        signed_up_at: Microseconds; before the simulated span for most.
    """

    zone: Array
    is_zone_known: Array
    archetypes: Array
    rhythm: Array
    visit_rhythm: Array
    sweeps: Array
    check_rate: Array
    open_bias: Array
    click_bias: Array
    taste: Array
    fatigue: Array
    visit_rate: Array
    is_machine_open: Array
    is_scanned: Array
    signed_up_at: Array


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Everything that is fixed before the first mail goes out.

    Args:
        send_days: Days of the week of the sends, Monday is 0.
    """

    parameters: Parameters
    clock: WorldClock
    recipients: Recipients
    catalogue: Catalogue
    sender_zone: int
    send_days: tuple[int, ...]
    currency: str

    @classmethod
    def drawn(
        cls, rng: np.random.Generator, *, n_recipients: int, span: tuple[int, int], twists: Twists
    ) -> Self:
        """A world for a span, in microseconds."""
        begin, end = span
        parameters = Parameters.drawn(rng)
        # A year before for sign-ups, ten weeks after for mails read late and for what is asked.
        clock = WorldClock.spanning(ZONES, begin=begin - 54 * WEEK_US, end=end + 10 * WEEK_US)
        sender = tuple(_SENDERS)[rng.integers(len(_SENDERS))]
        shares = np.array(_SENDERS[sender]) / sum(_SENDERS[sender])
        zone = rng.choice(len(ZONES), n_recipients, p=shares)
        return cls(
            parameters=parameters,
            clock=clock,
            recipients=_recipients(rng, (parameters, twists), clock, zone, span),
            catalogue=catalogue_of(rng, begin, end),
            sender_zone=ZONES.index(sender),
            send_days=(1, 3, 5) if rng.random() < 0.5 else (1, 3),
            currency="EUR" if sender.startswith("Europe") else "USD",
        )

    def sender_hour(self, at: Array) -> Array:
        """Hour of the day on the sender's clock."""
        ahead = self.clock.offsets_at(np.full(len(at), self.sender_zone), at).astype(np.int64)
        return np.asarray((at + ahead * 60 * SECOND_US) // HOUR_US % 24)


def hours_until(weights: Array, thresholds: Array) -> Array:
    """Where the running sum of each row of hourly weights passes its threshold, in hours.

    Infinite where it never does. With exponential thresholds and hazards as weights this is
    the time of the first event; with uniform shares of the row's sum a draw from the row.
    """
    total = np.cumsum(weights, axis=1)
    passed = total > thresholds[:, None]
    hour = np.argmax(passed, axis=1)
    rows = np.arange(len(weights))
    into = 1.0 - (total[rows, hour] - thresholds) / np.maximum(weights[rows, hour], 1e-12)
    return np.where(passed[rows, hour], hour + np.clip(into, 0.0, 1.0), np.inf)


def _recipients(
    rng: np.random.Generator,
    drawn: tuple[Parameters, Twists],
    clock: WorldClock,
    zone: Array,
    span: tuple[int, int],
) -> Recipients:
    (p, twists), n = drawn, len(zone)
    concentration = p.archetype_concentration * _ARCHETYPE_SHARES
    archetypes = rng.dirichlet(concentration, n)
    rhythm = _rhythm(rng, p, archetypes)
    others = rhythm[rng.permutation(n)]
    return Recipients(
        zone=zone,
        is_zone_known=rng.random(n) < p.zone_known,
        archetypes=archetypes,
        rhythm=rhythm,
        visit_rhythm=(1 - twists.visit_mix) * rhythm + twists.visit_mix * others,
        sweeps=_sweeps(rng, rhythm, twists.sweeps),
        check_rate=p.checks_per_day / 24 * np.exp(rng.normal(0, p.checks_sd, n)),
        open_bias=rng.normal(p.open_logit, p.open_sd, n),
        click_bias=rng.normal(p.click_logit, 0.7, n),
        taste=rng.dirichlet(np.full(len(TOPICS), p.topic_concentration), n),
        fatigue=p.fatigue * np.exp(rng.normal(0, 0.5, n)),
        visit_rate=p.visits_per_week * np.exp(rng.normal(0, 0.6, n)),
        is_machine_open=rng.random(n) < p.machine_share,
        is_scanned=rng.random(n) < p.scanner_share,
        signed_up_at=_sign_ups(rng, clock, zone, rhythm, span),
    )


def _sign_ups(
    rng: np.random.Generator, clock: WorldClock, zone: Array, rhythm: Array, span: tuple[int, int]
) -> Array:
    """Most come in the year before the span, a third in its first four fifths."""
    begin, end = span
    n = len(zone)
    during = rng.random(n) < 1 / 3
    week = np.where(
        during,
        begin + rng.random(n) * 0.8 * max(end - begin - WEEK_US, 0),
        begin - WEEK_US - rng.random(n) * 51 * WEEK_US,
    ).astype(np.int64)
    weights = np.take_along_axis(rhythm, clock.slots_from(zone, week, WEEK_HOURS), axis=1)
    hours = hours_until(weights, rng.random(n) * weights.sum(axis=1) * 0.9999)
    return np.asarray(week + (hours * HOUR_US).astype(np.int64))


def _rhythm(rng: np.random.Generator, p: Parameters, archetypes: Array) -> Array:
    n = len(archetypes)
    day = archetypes @ _daily_patterns()
    phase = rng.normal(0, p.phase_sd_h, n)
    scale = p.weekend * np.exp(rng.normal(0, 0.4, n))
    weekday, weekend = _later(day, phase), _later(day, phase + 1.3) * scale[:, None]
    noise = rng.normal(0, 1, (n, WEEK_HOURS))
    noise = (np.roll(noise, 1, axis=1) + 2 * noise + np.roll(noise, -1, axis=1)) / np.sqrt(6)
    week = np.concatenate([weekday] * 5 + [weekend] * 2, axis=1)
    week = week * np.exp(p.rhythm_noise * noise) + 0.01 / 24
    return np.asarray((week / week.mean(axis=1, keepdims=True)).astype(np.float32))


def _sweeps(rng: np.random.Generator, rhythm: Array, share: float) -> Array:
    """Two hours of the day for who sweeps, drawn from their own rhythm."""
    day = rhythm.reshape(len(rhythm), 7, 24).mean(axis=1)
    lots = np.log(day) + rng.gumbel(size=day.shape)
    third = np.sort(lots, axis=1)[:, -3, None]
    return np.asarray((lots > third) & (rng.random((len(rhythm), 1)) < share))


def _later(day: Array, hours: Array) -> Array:
    """Each row of 24 hours turned by a fraction of hours of its own."""
    source = (np.arange(24) - hours[:, None]) % 24
    whole = np.floor(source).astype(np.int64)
    rest = source - whole
    first = np.take_along_axis(day, whole % 24, axis=1)
    second = np.take_along_axis(day, (whole + 1) % 24, axis=1)
    return np.asarray(first * (1 - rest) + second * rest)


def _daily_patterns() -> Array:
    """The archetypes as shares of attention per hour, in the order of their names."""

    def around(hour: float, sharpness: float) -> Array:
        angle = (np.arange(24) + 0.5 - hour) * 2 * np.pi / 24
        bump = np.exp(sharpness * (np.cos(angle) - 1))
        return np.asarray(bump / bump.sum())

    return np.stack([
        around(7, 6),
        0.4 * around(8, 8) + 0.25 * around(12.5, 8) + 0.35 * around(20, 4),
        0.5 * around(10, 4) + 0.5 * around(15, 3),
        around(21, 5),
        around(23.8, 4),
        0.6 * around(12.5, 10) + 0.4 * around(18, 5),
        0.5 * around(16, 5) + 0.5 * around(3, 5),
    ])  # fmt: skip
