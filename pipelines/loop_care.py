"""What is done about models between two weeks of a loop: look, train what is due, let gates judge.

The functions of `opportune monitor`, `retrain --if-due`, `evaluate` and `promote`, one after the
other, as a scheduler would call them every week. Only what the gates pass takes a champion's place.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from features.events.log import EventLog
from features.feast_store import FeastStore
from models.mlflow_registry import MlflowRegistry
from models.registry import ModelFolder
from models.verdict import Verdict
from pipelines.monitor_commands import monitored
from pipelines.monitored import Monitored
from pipelines.promote import promote
from pipelines.retrain import order_for, retrain
from pipelines.review import review
from pipelines.settings import Settings
from serving.settings import ServingSettings


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything lies that is looked after."""

    settings: Settings
    serving: ServingSettings
    log: EventLog
    feast: FeastStore
    registry: MlflowRegistry
    folder: ModelFolder


@dataclass(slots=True)
class Care:
    """What was found at a moment (microseconds), and done.

    Args:
        verdicts: Of the models that were due and trained.
        promoted: Versions that took a champion's place, by model.
    """

    at: int
    monitored: Monitored
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    promoted: dict[str, str] = field(default_factory=dict)


def look_after(places: Places, *, at: int, step: Callable[[str], None]) -> Care:
    """Monitor at a moment, train what is due from what was known then, promote what passes."""
    step("monitor: judging events, decisions and champions")
    settings = places.settings
    told = monitored(
        settings, log=places.log, feast=places.feast, registry=places.registry, as_of=at,
        service=places.serving,
    )  # fmt: skip
    care = Care(at, told)
    due = [each for each in told.dues if each.is_due]
    if not due:
        return care
    order = order_for(
        places.log,
        places.feast,
        as_of=told.windows.newest if told.has_sick_labels else at,
        seed=settings.seed,
        horizon_days=None,
        step=step,
    )
    if order is None:
        return care
    for each in due:
        step(f"train {each.model}")
        made = retrain(
            each.model, order=order, registry=places.registry, intercept_only=each.is_shift_only
        )
        verdict = review(made.version, registry=places.registry)
        if verdict is None:
            continue
        care.verdicts[each.model] = verdict
        if verdict.passed:
            version = made.version.version
            promote(each.model, version, registry=places.registry, folder=places.folder)
            care.promoted[each.model] = version
    return care
