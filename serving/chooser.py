"""Scored asks to decisions: the policy, what was decided before, and hours that are shared."""

import logging
from collections.abc import Sequence
from typing import Final

from serving.asks import Ask
from serving.decider import Scored
from serving.decision import Decision, decide, decide_each, to_keep
from serving.kept import Keeper, Kept
from serving.policy import Policy
from serving.rules import Binding
from serving.throttle import Throttle, decide_all

LOG: Final = logging.getLogger("opportune.chooser")


class Chooser:
    """Decides by one policy.

    Args:
        keeper: Where decisions are kept; None to decide anew each time.
    """

    def __init__(self, policy: Policy, keeper: Keeper | None = None) -> None:
        self._policy = policy
        self._keeper = keeper

    @property
    def is_keeping(self) -> bool:
        """Whether a mail is decided once."""
        return self._keeper is not None

    def id_of(self, ask: Ask) -> str:
        """Of the decision that an ask gets."""
        return self._policy.of(ask).id_of(ask)

    def recalled(self, asks: Sequence[Ask], *, now: int) -> list[Kept | None]:
        """Per ask what was decided before; never an error."""
        if self._keeper is None or not any(is_kept(ask) for ask in asks):
            return [None] * len(asks)
        ids = [self.id_of(ask) if is_kept(ask) else "" for ask in asks]
        try:
            found = self._keeper.recall([one for one in ids if one], now=now)
        except Exception:  # a fault of ours must not cost anybody a mail
            LOG.exception("recalling decisions failed; they are made anew")
            found = {}
        return [found.get(one) for one in ids]

    def together(
        self,
        asks: Sequence[Ask],
        scored: Sequence[Scored],
        kept: Sequence[Kept | None],
        *,
        now: int,
        throttle: Throttle | None = None,
    ) -> Sequence[Decision | None]:
        """Decisions for all, which share the hours where there is a throttle; none after a fault.

        Whoever gets none is to be decided on alone.
        """
        told = [one.prediction for one in scored]
        try:
            if throttle is None:
                return decide_each(asks, told, self._policy, now=now, kept=kept)
            return decide_all(asks, told, self._policy, now=now, throttle=throttle, kept=kept)
        except Exception:  # as above
            LOG.exception(
                "deciding on %d mails together failed; deciding for each alone", len(asks)
            )
            return [None] * len(asks)

    def choose(self, ask: Ask, scored: Scored, kept: Kept | None, *, now: int) -> Decision:
        """One decision by itself."""
        return decide(ask, scored.prediction, self._policy, now=now, kept=kept)

    def holds_out(self, recipient_key: str) -> bool:
        """Whether mails to a recipient get the sender's own hour and order."""
        return self._policy.holds_out(recipient_key)

    def keep(self, ask: Ask, made: Decision, before: Kept | None, *, now: int) -> None:
        """Keep what was decided for the first time, or in place of what is possible no more.

        A mail that may not go out now leaves what was decided before for when it may.
        """
        if self._keeper is None or not is_kept(ask):
            return
        first = to_keep(made, now=now)
        kept: Kept | None = first
        if before is not None:
            is_allowed = made.hours.forbidden_by is Binding.NONE
            kept = first.in_place_of(before) if is_allowed else None
        if kept is not None:
            self._keeper.keep(made.id, kept)


def is_kept(ask: Ask) -> bool:
    """Only a mail that has a name and is to be sent can be rendered twice."""
    return bool(ask.send_id) and ask.explore
