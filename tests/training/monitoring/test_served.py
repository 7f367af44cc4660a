"""What the real service answers is what its champion says of the log; a skew is an alarm."""

import polars as pl
import pytest
from starlette.testclient import TestClient

from features import decisions
from features.events.log import EventLog
from models.bundle import load_bundle
from models.registry import ModelFolder
from serving.http.app import create_app
from serving.settings import ServingSettings
from training.dataset import PointInTime
from training.monitoring.findings import Judgement
from training.monitoring.served import FEWEST, served_signal


@pytest.fixture(scope="module")
def answered(small_world, tmp_path_factory):
    """Decisions on everybody, the champion behind them, and the log that they are made of."""
    world = small_world.copy(tmp_path_factory.mktemp("served") / "var")
    settings = ServingSettings(data_dir=world.data_dir, deadline_ms=60_000, mlflow_url="")
    now = world.now + 3_600_000_000
    with TestClient(create_app(settings, clock=lambda: now)) as http:
        for begin in range(0, len(world.people), 500):
            some = world.people[begin : begin + 500]
            body = {"requests": [{"recipient_key": key, "send_id": "s"} for key in some]}
            assert http.post("/v1/score:batch", json=body).status_code == 200
    made = decisions.read(world.data_dir / "decisions").collect()
    folder = ModelFolder(world.data_dir / "models")
    version = made["churn_version"][0]
    champion = version, load_bundle(folder.folder("churn", version), name="churn")
    with EventLog(world.data_dir / "events") as log:
        data = PointInTime(log.scan(as_of=now).cache(), None)
    return made, champion, data


def test_the_service_and_the_log_agree(answered):
    made, champion, data = answered
    told = served_signal(made, champion, data)
    assert told.judgement is Judgement.FINE, told.said
    assert told.value == 0.0


def test_answers_of_other_features_are_an_alarm(answered):
    made, champion, data = answered
    stale = made.with_columns(pl.col("at") - 21 * 86_400_000_000)  # states three weeks too new
    told = served_signal(stale, champion, data)
    assert told.judgement is Judgement.ALARM
    assert "materialize" in told.remedy
    few = pl.when(pl.int_range(pl.len()) % 200 == 0).then(pl.lit(0.5)).otherwise("p_churn")
    once = served_signal(made.sort("decision_id").with_columns(p_churn=few), champion, data)
    assert (once.judgement, once.value > 0) == (Judgement.FINE, True)


def test_without_answers_of_this_champion_nothing_is_judged(answered):
    made, champion, data = answered
    for some, of in (
        (made.head(FEWEST - 1), champion),
        (made.with_columns(churn_version=pl.lit("another")), champion),
        (made.with_columns(fallback=pl.lit("no_evidence")), champion),
        (made, None),
    ):
        assert served_signal(some, of, data).judgement is Judgement.UNJUDGED
