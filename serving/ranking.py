"""In which order to show the candidates, and whose turn the first place is. Pure.

Best first, but for the mails that explore (`exploration`) and for those held out, which get them
as the sender asked.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Final, NamedTuple, TypeVar

import numpy as np

from serving.asks import Ask, Prediction
from serving.exploration import NO_PLACE, FirstPlace, exploration_shares, first_place
from serving.policy import Policy
from serving.slots import rounded

_Told = TypeVar("_Told")


class Ranking(NamedTuple):
    """Candidates in the order to show, each with its chance.

    Args:
        shown: The chances to six digits.
        first: None without candidates.
    """

    ids: Sequence[str]
    chances: Sequence[float]
    shown: Sequence[float]
    first: FirstPlace | None

    @property
    def rows(self) -> list[tuple[str, float]]:
        """Each candidate beside its chance."""
        return list(zip(self.ids, self.chances, strict=True))

    @property
    def shown_first(self) -> FirstPlace:
        """`first`, or that of no candidates."""
        return self.first or NO_PLACE

    def led_by(self, first: FirstPlace) -> "Ranking":
        """The same with one moved to the front."""
        place = self.ids.index(first.content_id)
        if place == 0:
            return Ranking(self.ids, self.chances, self.shown, first)
        return Ranking(
            _to_front(self.ids, place), _to_front(self.chances, place),
            _to_front(self.shown, place), first,
        )  # fmt: skip


_NO_RANKING: Final = Ranking((), (), (), None)


def rankings(
    asks: Sequence[Ask],
    predictions: Sequence[Prediction],
    drawn: Sequence[tuple[Policy, str] | None],
) -> list[Ranking]:
    """Candidates by chance, best first, equal ones as asked; maybe another drawn to the front.

    Those who are asked about the very same candidates one after the other are ranked in one array.

    Args:
        drawn: Per ask the policy and the id of its decision, all that a draw depends on; None for
            who is held out, who gets them as asked.
    """
    found: list[Ranking] = []
    alike = [
        (id(ask.candidates), id(told.delivered))
        for ask, told in zip(asks, predictions, strict=True)
    ]
    for _, group in groupby(range(len(asks)), alike.__getitem__):
        some = list(group)
        candidates = asks[some[0]].candidates
        if not candidates:
            found += [_NO_RANKING] * len(some)
            continue
        ids = [candidate.content_id for candidate in candidates]
        delivered = predictions[some[0]].delivered.tolist()
        shares = exploration_shares(dict(zip(ids, delivered, strict=True)))
        chances = np.concatenate([predictions[row].p_items for row in some]).reshape(len(some), -1)
        orders = np.argsort(-chances, axis=1, kind="stable")
        best_first = chances[np.arange(len(some))[:, None], orders]
        told = zip(
            some, orders.tolist(), best_first.tolist(), rounded(best_first).tolist(), strict=True
        )
        for place, (row, order, ordered, shown) in enumerate(told):
            draw = drawn[row]
            if draw is None:
                as_asked = chances[place]
                first = FirstPlace(ids[0], 1.0, is_explored=False)
                found.append(Ranking(ids, as_asked.tolist(), rounded(as_asked).tolist(), first))
                continue
            policy, named = draw
            first = first_place(named, ids[order[0]], shares, epsilon=policy.epsilon)
            ranked = Ranking([ids[which] for which in order], ordered, shown, first)
            is_best = first.content_id == ranked.ids[0]
            found.append(ranked if is_best else ranked.led_by(first))
    return found


def _to_front(told: Sequence[_Told], place: int) -> Sequence[_Told]:
    return [told[place], *told[:place], *told[place + 1 :]]
