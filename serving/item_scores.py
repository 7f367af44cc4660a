"""The chance of every candidate of every ask, by one run of the content model. Pure."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.candidates import Candidate, affinities_of
from features.definitions.content import VIEW as CONTENT
from features.definitions.content import exposed
from features.interests import Interests
from features.kinds import DAY, Decayed
from models.specs import content_preference
from models.specs.content_preference import RECIPIENT_INPUTS
from serving.asks import Ask, Champions
from serving.cohorts import cohort_rows
from serving.fallback import FallbackReason as Why
from serving.fallback import of_scores
from serving.known import PLACE, Known

_TASTE: Final = np.array([PLACE[name] for name in RECIPIENT_INPUTS])
_DELIVERED: Final = CONTENT.names.index(Decayed(exposed, 91 * DAY).name)

Rows = NDArray[np.float32]


def item_scores(
    asks: Sequence[Ask], known: Known, rows: Rows, at: int, champions: Champions
) -> tuple[list[Rows], list[Rows], list[Why]]:
    """Per ask the chance of every candidate and how often it was delivered."""
    counts = [len(ask.candidates) for ask in asks]
    total = sum(counts)
    prior = np.full(total, content_preference.SPEC.prior, np.float32)
    model = champions.by_name.get("content_preference")
    why = champions.why_not("content_preference") if model is None else Why.NONE
    if total == 0:
        return [prior] * len(asks), [prior] * len(asks), [why] * len(asks)
    alike = _alike(asks)
    is_shared = len(alike) == 1 and len(asks) == len(*alike.values())
    if is_shared:
        items = known.items.features(next(iter(alike)), at)
        delivered = [items[:, _DELIVERED]] * len(asks)
    else:
        items = known.items.features([c for ask in asks for c in ask.candidates], at)
        delivered = _parts(items[:, _DELIVERED], counts)
    if model is None:
        return _parts(prior, counts), delivered, [why] * len(asks)
    tastes = _tastes(alike, known.interests, at, is_shared=is_shared)
    cohorts = cohort_rows(asks, known.people, known.cohorts, tastes, at)
    people = np.repeat(rows[:, _TASTE], counts, axis=0)
    inputs = np.empty((total, len(content_preference.SPEC.inputs)), np.float32)
    n_own = inputs.shape[1] - items.shape[1]
    np.concatenate([people, tastes, cohorts], axis=1, out=inputs[:, :n_own])
    # Where they are shared, the same few rows again and again.
    inputs.reshape(-1, len(items), inputs.shape[1])[:, :, n_own:] = items
    scores = model.bundle.session.run(inputs)["p_click"][:, 0]
    if np.isfinite(scores).all():
        return _parts(scores, counts), delivered, [Why.NONE] * len(asks)
    is_sound = np.array([bool(np.isfinite(part).all()) for part in _parts(scores, counts)])
    scores = np.where(np.repeat(is_sound, counts), scores, prior)
    return _parts(scores, counts), delivered, of_scores(is_sound)


def _parts(values: Rows, counts: Sequence[int]) -> list[Rows]:
    """Each ask's own of all candidates' values; `numpy.split` takes several times as long."""
    ends = accumulate(counts)
    return [values[end - count : end] for count, end in zip(counts, ends, strict=True)]


def _alike(asks: Sequence[Ask]) -> dict[tuple[Candidate, ...], list[int]]:
    """The rows that ask for the same candidates; those that ask for none are left out."""
    found: dict[tuple[Candidate, ...], list[int]] = {}
    last: tuple[Candidate, ...] = ()
    rows: list[int] = []
    for row, ask in enumerate(asks):
        if not ask.candidates:
            continue
        if ask.candidates is not last:  # to hash them takes long
            last = ask.candidates
            rows = found.setdefault(last, [])
        rows.append(row)
    return found


def _tastes(
    alike: Mapping[tuple[Candidate, ...], list[int]],
    interests: Interests,
    at: int,
    *,
    is_shared: bool,
) -> Rows:
    """The affinity features of all candidates of all asks, one after the other."""
    found: dict[int, Rows] = {}
    for candidates, some in alike.items():
        told = affinities_of(interests if is_shared else interests.some(some), candidates, at)
        if len(alike) == 1:
            return np.asarray(told.reshape(-1, told.shape[-1]))
        found |= zip(some, told, strict=True)
    return np.concatenate([found[row] for row in sorted(found)])
