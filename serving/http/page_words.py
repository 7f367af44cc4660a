"""What closed sets mean, said to a person; a test proves that none is missing."""

from typing import Final

from models.specs.churn import Theme
from serving.fallback import FallbackReason as Why
from serving.holding import HoldReason
from serving.policy import ReasonCode
from serving.rules import Binding
from serving.zones import ZoneSource

BINDING: Final = {
    Binding.NONE: "the best of the allowed hours",
    Binding.WINDOW: "a better hour lies outside the window",
    Binding.WINDOW_PASSED: "the window has passed, so now",
    Binding.QUIET_HOURS: "quiet hours forbid it",
    Binding.BLACKOUT: "a blackout forbids it",
    Binding.EXPIRY: "the mail will have expired",
    Binding.FREQUENCY_CAP: "the cap on mails forbids it",
    Binding.THROTTLE: "the hour is full",
    Binding.HOLDOUT: "held out: the sender's own hour stays",
    Binding.LITTLE_EVIDENCE: "too little evidence to move the sender's own hour",
    Binding.LITTLE_GAIN: "too little gain to move the sender's own hour",
}
HOLD: Final = {
    HoldReason.NONE: "send it",
    HoldReason.NO_ALLOWED_HOUR: "wait for the next allowed hour",
    HoldReason.NEVER_ALLOWED: "no hour of the next month is allowed",
    HoldReason.NOT_WORTH_IT: "hold it: not worth what it risks",
}
FALLBACK: Final = {
    Why.NONE: "the models' own word",
    Why.NO_EVIDENCE: "known, but never engaged as a human: what is said of people alike",
    Why.UNKNOWN_RECIPIENT: "the online store knows nothing of them: what is said of anybody",
    Why.STATE_UNREADABLE: "the stored state is damaged or of other definitions; materialize again",
    Why.STORE_UNAVAILABLE: "the online store cannot be read now: no features, what is said of "
    "anybody; the events below are from the log",
    Why.NO_MODEL: "no champion is loaded: the prior",
    Why.SWITCHED_OFF: "a person has switched a model off: the prior",
    Why.BAD_SCORE: "a model gave no finite number: the prior",
    Why.NO_CONSENT: "consent to profiling is withdrawn: what is said of anybody",
    Why.RATE_LIMITED: "the caller was over its limit: the prior",
    Why.OVERLOADED: "there were more calls than could be scored in time: the prior",
    Why.DEADLINE: "the time was over: the prior",
    Why.INTERNAL: "a fault of ours: the prior",
}
REASON: Final = {
    ReasonCode.CADENCE_RISING: "active more often than before",
    ReasonCode.CADENCE_SLOWING: "active less often than before",
    ReasonCode.CART_PENDING: "an open cart",
    ReasonCode.LONG_SILENCE: "silent for over 60 days",
    ReasonCode.NEW_RECIPIENT: "new: first seen in the last 30 days",
    ReasonCode.OPTED_OUT: "has opted out",
}
ZONE: Final = {
    ZoneSource.REQUEST: "told by the call",
    ZoneSource.EVENTS: "told by their events",
    ZoneSource.OFFSET: "an offset told by their events",
    ZoneSource.UNKNOWN: "unknown, so UTC",
}
THEME: Final = {
    Theme.ENGAGEMENT: "Engagement",
    Theme.RECENCY: "Recency",
    Theme.INTENT: "Intent",
    Theme.MAIL_PRESSURE: "Mail pressure",
    Theme.READING: "Reading and machines",
}
