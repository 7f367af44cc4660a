"""The demo's smallest world teaches every model, whatever the day it is played on."""

import pytest

from features.consent import consenting
from features.events.log import EventLog
from features.events.schema import DAY_US
from features.events.world_clock import WEEK_US
from features.events.world_events import write_ndjson
from features.events.world_life import Life
from pipelines.demo_weeks import WEEKS
from pipelines.ingest import ingest
from pipelines.settings import Settings
from training.choices import choices
from training.dataset import PointInTime
from training.pointwise import require
from training.recipes.content_preference import MIN_POSITIVES, MIN_ROWS

SMALLEST = {"n_recipients": 1_200, "weeks": 24}  # what `opportune demo` does not refuse


@pytest.mark.parametrize("day", [20_781, 20_841])
def test_there_are_clicks_enough_on_any_day(day, tmp_path):
    """Ingest takes a third of the clicks for machines': the least there is of anything here."""
    since = day * DAY_US - WEEKS * WEEK_US
    life = Life.begun(
        seed=Settings().seed, ends_at=day * DAY_US,
        **SMALLEST | {"weeks": SMALLEST["weeks"] + WEEKS},
    )  # fmt: skip
    while life.at < since:
        life.live_a_week()
    write_ndjson(life.events(before=since), tmp_path / "world.ndjson")
    with EventLog(tmp_path / "events") as log:
        ingest(
            tmp_path / "world.ndjson", log=log, mapping=None, rejects=tmp_path / "rejects",
            received_at=day * DAY_US, progress=lambda _: None,
        )  # fmt: skip
        data = PointInTime(consenting(log.scan(as_of=since)), None)
        made = choices(data, as_of=since, seed=Settings().seed)
    assert made.is_shown
    y, is_test = made.spine["y"].to_numpy(), made.spine["is_test"].to_numpy()
    require("content_preference", y, is_test, rows=MIN_ROWS, rarer=MIN_POSITIVES)
