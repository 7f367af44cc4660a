"""Finds the hours that have no room for each mail of an audience, in rounds over its chunks.

In the first round everybody is scored, in the later ones those who were turned away; nothing is
kept. The plan is then made with these hours full for them. Rounds are parts like those of the plan:
there whole or not at all, and gone on with after any kind of end.

Failure mode: states that change between the rounds and the plan may put a few mails too many into
an hour; the record of the run says how many.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.audience import Audience
from pipelines.plan_chunk import Job
from pipelines.plan_parts import missing_of
from pipelines.plan_pool import written
from pipelines.plan_wishes import Wishes
from serving.throttle import Throttle

FOLDER: Final = "wishes"  # in that of the parts


@dataclass(frozen=True, slots=True)
class Rounds:
    """How rounds are played.

    Args:
        named: A part's place, by the digest of its chunk.
        progress: Told how many of how many recipients of a round are done.
    """

    job: Job
    named: Callable[[str], Path]
    workers: int
    chunk: int
    out: Path
    progress: Callable[[int, int], None]

    def play(self, audience: Audience) -> pa.Table:
        """The wishes of some, in their order.

        Raises:
            PlanUnfinishedError: A part could not be written; those that were are there.
        """
        parts = [self.named(one.digest) for one in audience.chunks(self.chunk)]
        missing, done = missing_of(audience, self.chunk, parts)
        n_all, few = len(audience.rows), sum(not part.exists() for part in parts)
        self.progress(done, n_all)
        # Each process takes seconds to begin, so no more of them than chunks.
        some = written(self.job, missing, workers=min(self.workers, few), out=self.out)
        for n in some if few else ():
            done += n
            self.progress(done, n_all)
        return pa.concat_tables([pq.read_table(part) for part in parts])


def fitted(audience: Audience, throttle: Throttle, rounds: Rounds) -> tuple[Audience, int]:
    """The audience with the hours that are full for each, and how many rounds it took.

    Raises:
        PlanUnfinishedError: As `Rounds.play`.
    """
    nobodys: list[list[int]] = [[]] * len(audience.rows)
    if not nobodys:
        return audience, 0
    wishes = Wishes.of(rounds.play(audience.avoiding(nobodys)))
    n_rounds = 1
    while places := wishes.turned_away(throttle):
        told = audience.some(places).avoiding([sorted(wishes.full[place]) for place in places])
        wishes.change(places, rounds.play(told))
        n_rounds += 1
    full = [sorted(wishes.full.get(place, ())) for place in range(len(nobodys))]
    return audience.avoiding(full), n_rounds
