"""Where the time of a scoring call goes: a few looks at the clock, none for each recipient."""

import time
from collections.abc import Iterator
from enum import StrEnum


class Stage(StrEnum):
    """What a scoring call does one after the other, once its body is understood."""

    READ = "read"  # the online store, and unpacking what it holds
    SCORE = "score"  # features at the moment asked for, and the models
    DECIDE = "decide"  # what was decided before, the policy, the answer, its line in the log
    WRITE = "write"  # the answer to bytes


class Laps:
    """The stages of one call, each from the end of the one before it.

    A batch reads and scores by turns, so that a stage may be there more than once. What is
    answered by the priors has neither of the two.
    """

    __slots__ = ("_began", "_ends")

    def __init__(self) -> None:
        self._began = time.perf_counter_ns()
        self._ends: list[tuple[Stage, int]] = []

    def end(self, stage: Stage) -> None:
        """A stage is over, and the next begins."""
        self._ends.append((stage, time.perf_counter_ns()))

    def parts(self) -> Iterator[tuple[Stage, int, int]]:
        """Stage, beginning and end in their order; nanoseconds of `perf_counter`."""
        began = self._began
        for stage, ended in self._ends:
            yield stage, began, ended
            began = ended

    def seconds(self) -> dict[Stage, float]:
        """How long each stage took, all its turns together."""
        spent: dict[Stage, float] = {}
        for stage, began, ended in self.parts():
            spent[stage] = spent.get(stage, 0.0) + (ended - began) / 1e9
        return spent
