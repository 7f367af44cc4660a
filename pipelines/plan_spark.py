"""The plan of an audience on Spark: each task hands its recipients to the planner of one machine.

For audiences beyond one machine. States and kept decisions are read where the service reads them:
with more than one machine that is Redis, and the model folder one that all of them see.

Failure mode: Spark runs a task again when its machine is lost, or two at once when one is slow.
What was decided is kept before a row is told, so the second says what the first said; in a dry run
nothing is kept, and it says the same only while no event comes in.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import orjson
import polars as pl
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import from_arrow_schema
from threadpoolctl import threadpool_limits

from features.spark import TableUnusableError
from pipelines.audience import KEY, OWN, audience_of
from pipelines.plan import SCHEMA
from pipelines.plan_chunk import CHUNK, Job, Planner
from serving.http.request_schemas import ScoreRequest

TABLE: Final = Path("audience table")  # what errors call it


def plan_of(audience: DataFrame, job: Job) -> DataFrame:
    """The plan of `opportune score`, a row a recipient, in no order; lazy, as all of Spark.

    Args:
        audience: `recipient_key`, and what else an audience file may say; of rows with the same
            key one is taken, whichever.
        job: Of `plan_run.job_of`; its moment is that of every task.

    Raises:
        TableUnusableError: `recipient_key` is missing, or a column means nothing here.
    """
    unknown = set(audience.columns) - {KEY, *OWN}
    if KEY not in audience.columns or unknown:
        found = ", ".join(sorted(audience.columns))
        remedy = f"select {KEY} and, where there are, {', '.join(OWN)}"
        raise TableUnusableError("audience", f"it has the columns {found}", remedy)
    once = audience.dropDuplicates([KEY])
    return once.mapInArrow(partial(planned, job=job), from_arrow_schema(SCHEMA))


def planned(batches: Iterable[pa.RecordBatch], job: Job) -> Iterator[pa.RecordBatch]:
    """What a task does: rows of the audience to rows of the plan."""
    send = ScoreRequest.model_validate(orjson.loads(job.send))
    planner = None
    with threadpool_limits(1):
        for batch in batches:
            planner = planner or Planner(job)
            rows = pl.DataFrame(pl.from_arrow(batch))
            for chunk in audience_of(rows, send, file=TABLE).chunks(CHUNK):
                yield from planner.plan(chunk).to_batches()
