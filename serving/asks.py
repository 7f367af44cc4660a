"""What is asked about one recipient, and what the models said: values without HTTP.

What is made once for each recipient, here and in a decision, is a named tuple: a frozen dataclass
takes two to four times as long to make.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.candidates import Candidate
from models.bundle import Bundle
from serving.churn_reasons import Effect
from serving.fallback import FallbackReason
from serving.holding import AS_USUAL, Risks, Values
from serving.rules import FREE, Rules

Floats = NDArray[np.float32]


class Ask(NamedTuple):
    """One recipient of one send. Times in microseconds; zero means not given.

    Args:
        explore: Whether this mail is to be sent; a dry run draws nothing.
        is_test: Whether the recipient is a test; the answer is the same, nothing is learnt of it.
        slot: The place in the mail that is decided on, where a mail has several.
        values: What an answer is worth to the sender, and what leaving costs.
    """

    recipient_key: str
    send_id: str = ""
    timezone: str = ""
    window_from: int = 0
    window_to: int = 0
    default_at: int = 0
    previous_band: str = ""
    explain: bool = False
    candidates: tuple[Candidate, ...] = ()
    explore: bool = True
    is_test: bool = False
    slot: str = ""
    rules: Rules = FREE
    values: Values = AS_USUAL


@dataclass(frozen=True, slots=True)
class Loaded:
    """A champion ready to score."""

    bundle: Bundle
    version: str


@dataclass(frozen=True, slots=True)
class Champions:
    """The models that answer together; replaced whole, so no answer mixes two sets.

    Args:
        off: Those that a person has switched off.
    """

    by_name: Mapping[str, Loaded] = field(default_factory=dict)
    off: frozenset[str] = frozenset()

    def why_not(self, name: str) -> FallbackReason:
        """Why a model that does not answer does not."""
        return FallbackReason.SWITCHED_OFF if name in self.off else FallbackReason.NO_MODEL

    def version(self, name: str) -> str:
        """A champion's version, `none` without one."""
        loaded = self.by_name.get(name)
        return "none" if loaded is None else loaded.version


class Weeks(NamedTuple):
    """What is said of the hours of the week, of all that were scored together: each (n, 168).

    On the clock that `serving.zones` reads: the recipient's own where the ask or the events tell
    it, or else that of UTC.

    Args:
        p_engage: The chance that a mail sent then is engaged with.
        p_low, p_high: The ends of a 90 % interval on it.
        activity: Each row sums to one.
        rhythm: The persons' own active hours, evened, as the model reads them.
    """

    p_engage: Floats
    p_low: Floats
    p_high: Floats
    activity: Floats
    rhythm: Floats


class Prediction(NamedTuple):
    """What the models say of one ask.

    Args:
        weeks: Of all that were scored together.
        row: The ask's among them.
        concentration: How likely the likeliest cohort is the recipient's; zero without a model.
        active_hours: In which the person has been active, decayed; zero without a state.
        p_items: Shape (n_candidates,).
        effects: What moves p_churn, strongest first; empty where nobody asked.
        delivered: Shape (n_candidates,), decayed deliveries of each.
        default_hour: Hour of the week that suits most people, on the same clock.
        features: The recipient's features by name; empty without a state.
        zone, zone_offset_min: The newest zone of the recipient's events; "" for none.
        has_offset: Whether any event told the local clock.
        newest_at: When the newest event in the features happened; zero for none.
        reasons: Why a part is not the model's own word, by model name.
    """

    weeks: Weeks
    row: int
    concentration: float
    active_hours: float
    p_churn: float
    risks: Risks
    effects: Sequence[Effect]
    horizon_days: float
    p_items: Floats
    delivered: Floats
    default_hour: int
    features: Mapping[str, float]
    zone: str
    zone_offset_min: int
    has_offset: bool
    newest_at: int
    reasons: Mapping[str, FallbackReason]

    @property
    def p_engage(self) -> Floats:
        """The ask's own of `weeks`, shape (168,)."""
        return np.asarray(self.weeks.p_engage[self.row])

    @property
    def activity(self) -> Floats:
        """The ask's own of `weeks`, shape (168,)."""
        return np.asarray(self.weeks.activity[self.row])

    @property
    def rhythm(self) -> Floats:
        """The ask's own of `weeks`, shape (168,)."""
        return np.asarray(self.weeks.rhythm[self.row])
