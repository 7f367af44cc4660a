"""Opportune in Dagster: its commands as assets by day, schedules, and a sensor of what is due.

    dagster dev -m pipelines.orchestration

Nothing is computed here that a command does not compute: an asset calls it as the command line
does, for the end of its day (UTC), and everything that holds for commands holds here: runs are on
record, the same order is not trained twice, a file that was imported adds nothing. What is imported
lies in `inbox/` in the data directory, in files whose names begin with a day (2026-11-21-shop.csv);
`inbox/mapping.yaml` says how their columns become events. A back-fill is a range of days.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import dagster as dg
import orjson
import polars as pl
import typer

from features.events.log import EventLog
from features.events.schema import DAY_US, SECOND_US
from models.specs import SPECS
from pipelines.cli import ingest_file
from pipelines.console import REFUSED, UNUSABLE
from pipelines.feature_commands import materialize_command
from pipelines.model_commands import promote_command
from pipelines.monitor_commands import monitor_command
from pipelines.monitor_page import PLAIN
from pipelines.retrain_commands import retrain_command
from pipelines.settings import Settings
from serving.clock import system_clock

SUFFIXES: Final = (".csv", ".csv.gz", ".ndjson", ".ndjson.gz", ".parquet")
MODELS: Final = tuple(spec.name for spec in SPECS)
CHECK: Final = "no_alarm"


def _first_day(settings: Settings) -> str:
    """The day of the oldest event, or of the oldest file that waits."""
    found = [file.name[:10] for file in sorted((settings.data_dir / "inbox").glob("20??-??-??*"))]
    with EventLog(settings.events_dir) as log:
        at = log.scan().select(pl.col("occurred_at").min()).collect().item()
    if at is not None:
        found.append(datetime.fromtimestamp(at / SECOND_US, UTC).date().isoformat())
    yesterday = datetime.fromtimestamp(system_clock() / SECOND_US, UTC) - timedelta(days=1)
    return min(found, default=yesterday.date().isoformat())


DAYS: Final = dg.DailyPartitionsDefinition(start_date=_first_day(Settings()))


def _ended(command: Callable[..., None], *arguments: Any, **options: Any) -> int:
    """Call what the command line calls; its exit code, where it is no failure."""
    try:
        command(*arguments, **options)
    except typer.Exit as ended:
        if ended.exit_code == UNUSABLE:
            raise dg.Failure(f"{command.__name__} could not: see its error above") from None
        return ended.exit_code
    return 0


def _end_of(context: dg.AssetExecutionContext) -> datetime:
    end: datetime = context.partition_time_window.end
    return end.astimezone(UTC)


@dg.asset(partitions_def=DAYS, group_name="data", kinds={"sqlite", "parquet"})
def events(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    """A day's files of the inbox in the event log; a day without any is as the webhooks left it."""
    settings, day = Settings(), context.partition_key
    inbox = settings.data_dir / "inbox"
    mapping = inbox / "mapping.yaml"
    files = [file for file in sorted(inbox.glob(f"{day}*")) if file.name.endswith(SUFFIXES)]
    for file in files:
        _ended(ingest_file, file, mapping=mapping if mapping.exists() else None)
    begin = round(context.partition_time_window.start.timestamp()) * SECOND_US
    of_day = pl.col("occurred_at").is_between(begin, begin + DAY_US, closed="left")
    with EventLog(settings.events_dir) as log:
        n = log.scan().filter(of_day).select(pl.len()).collect().item()
    return dg.MaterializeResult(metadata={"files": len(files), "events_of_the_day": n})


@dg.asset(deps=[events], group_name="data", kinds={"feast"})
def features() -> None:
    """Every state online and behind Feast's views, as of now."""
    _ended(materialize_command)


@dg.asset(
    deps=[events],
    partitions_def=DAYS,
    group_name="data",
    check_specs=[dg.AssetCheckSpec(CHECK, asset="monitoring")],
)
def monitoring(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """The page of the monitor for the window that ends with the day."""
    has_alarm = bool(_ended(monitor_command, as_of=_end_of(context)))
    page = Settings().data_dir / "monitor" / "monitor.html"
    return dg.MaterializeResult(
        metadata={"page": dg.MetadataValue.path(page)},
        check_results=[dg.AssetCheckResult(passed=not has_alarm, check_name=CHECK)],
    )


def _model_assets(model: str) -> Iterator[dg.AssetsDefinition]:
    @dg.asset(
        name=f"{model}_candidate", deps=[events], partitions_def=DAYS, group_name=model,
        kinds={"mlflow", "onnx"}, description=f"A version of {model} from what the day knew.",
    )  # fmt: skip
    def candidate(context: dg.AssetExecutionContext) -> None:
        _ended(retrain_command, [model], as_of=_end_of(context))

    @dg.asset(
        name=f"{model}_champion", deps=[candidate], partitions_def=DAYS, group_name=model,
        description="The candidate where the gates pass it and OPPORTUNE_AUTO_PROMOTE allows it; "
        "else it waits for a person.",
    )  # fmt: skip
    def champion() -> dg.MaterializeResult[None]:
        if not Settings().auto_promote:
            return dg.MaterializeResult(metadata={"promoted": False, "why": "a person decides"})
        code = _ended(promote_command, model, "candidate")
        why = "a gate refused it" if code == REFUSED else "the gates passed it"
        return dg.MaterializeResult(metadata={"promoted": code == 0, "why": why})

    yield candidate
    yield champion


ASSETS: Final = [events, features, monitoring, *(a for m in MODELS for a in _model_assets(m))]
NIGHT: Final = dg.define_asset_job("night", selection=[events, monitoring])
ONLINE: Final = dg.define_asset_job("online", selection=[features])
TRAINING: Final = dg.define_asset_job(
    "training",
    selection=[f"{model}_{part}" for model in MODELS for part in ("candidate", "champion")],
)


@dg.sensor(job=TRAINING, minimum_interval_seconds=3_600)
def what_is_due(_: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Trains what the newest page of the monitor finds due, once for each day that asks."""
    file = Settings().data_dir / "monitor" / PLAIN
    if not file.exists():
        yield dg.SkipReason("nothing was monitored yet")
        return
    told = orjson.loads(file.read_bytes())
    day = told["as_of"][:10]
    due = [each["model"] for each in told["retrain"] if each["due"]]
    if not due:
        yield dg.SkipReason(f"no model is due as of {day}")
    for model in due:
        yield dg.RunRequest(
            run_key=f"{model} {day}",
            partition_key=DAYS.get_last_partition_key(),
            asset_selection=[dg.AssetKey(f"{model}_{part}") for part in ("candidate", "champion")],
        )


defs = dg.Definitions(
    assets=ASSETS,
    jobs=[NIGHT, ONLINE, TRAINING],
    schedules=[
        dg.build_schedule_from_partitioned_job(NIGHT, hour_of_day=2, minute_of_hour=15),
        dg.ScheduleDefinition(job=ONLINE, cron_schedule="45 2 * * *"),
    ],
    sensors=[what_is_due],
    executor=dg.in_process_executor,  # one log, one registry: steps come one after the other
)
