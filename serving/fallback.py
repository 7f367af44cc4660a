"""Why an answer, or a part of it, is not the model's own word on this recipient."""

from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


class FallbackReason(StrEnum):
    """A closed set, ordered from harmless to worst; it labels metrics and answers."""

    __hash__ = str.__hash__  # that of `Enum` is a call of Python, some of them a score

    NONE = "none"
    NO_EVIDENCE = "no_evidence"  # known, but without a human engagement: the cohort's answer
    UNKNOWN_RECIPIENT = "unknown_recipient"  # no event yet: the answer for anybody
    STATE_UNREADABLE = "state_unreadable"  # stored under other definitions or damaged
    STORE_UNAVAILABLE = "store_unavailable"  # the online store could not be read
    NO_MODEL = "no_model"  # no champion is loaded: the spec's prior
    SWITCHED_OFF = "switched_off"  # a person has switched the model off: the spec's prior
    BAD_SCORE = "bad_score"  # the model gave no finite number: the spec's prior
    NO_CONSENT = "no_consent"  # the person must not be profiled: the answer for anybody
    RATE_LIMITED = "rate_limited"  # the caller's key is over its limit: the spec's prior
    OVERLOADED = "overloaded"  # more calls than can be scored in time: the spec's prior
    DEADLINE = "deadline"  # the caller's time was over before we knew: the spec's prior
    INTERNAL = "internal"  # a fault of ours: the spec's prior


_ORDER = {reason: place for place, reason in enumerate(FallbackReason)}


@lru_cache(maxsize=4_096)  # asked several times a score about the same few
def worst(*reasons: FallbackReason) -> FallbackReason:
    """The one to report when there are several.

    >>> worst(FallbackReason.NONE, FallbackReason.NO_MODEL).value
    'no_model'
    """
    return max(reasons, key=_ORDER.__getitem__, default=FallbackReason.NONE)


def of_scores(is_sound: NDArray[np.bool_]) -> list[FallbackReason]:
    """`BAD_SCORE` where a model's numbers are none."""
    usual, bad = FallbackReason.NONE, FallbackReason.BAD_SCORE
    return [usual if sound else bad for sound in is_sound.tolist()]
