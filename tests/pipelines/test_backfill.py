"""Laws of backfill: midnights hold what was known then, are made once, and Feast joins them."""

from datetime import date

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from features import feast_history
from features.definitions.content import VIEW as CONTENT
from features.definitions.recipient import VIEW as RECIPIENT
from features.events.log import EventLog
from features.events.schema import DAY_US, HOUR_US, Event, EventType
from features.feast_store import FeastStore
from features.history import rows_at
from pipelines.backfill import backfill, midnights
from pipelines.cli import app
from pipelines.errors import DayAheadError
from training.dataset import PointInTime

DAYS = midnights(date(2026, 1, 1), date(2026, 1, 29), every_days=7)
KINDS = (EventType.DELIVERED, EventType.CLICKED, EventType.PRODUCT_VIEWED)


def events():
    """A month of 11 people and 5 items, every seventh event learnt of three days late."""
    for n in range(700):
        at = DAYS[0] - 2 * DAY_US + n * HOUR_US
        yield Event(
            f"e{n}", KINDS[n % 3], f"r{n % 11}", at, at + 3 * DAY_US * (n % 7 == 0),
            content_id=f"c{n % 5}", topics=(f"t{n % 3}",), properties={"country": "DE"},
        )  # fmt: skip


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    with EventLog(tmp_path_factory.mktemp("log")) as log:
        log.append(list(events()))
        yield log


@pytest.fixture
def feast(tmp_path):
    return FeastStore(tmp_path / "feast", online=tmp_path / "online.sqlite")


def made(log, feast, step=lambda _: None):
    return backfill(log=log, feast=feast, moments=DAYS, now=DAYS[-1], step=step)


def files(feast):
    found = sorted(feast.folder.glob("*_history/20*.parquet"))
    return {str(file.relative_to(feast.folder)): file.read_bytes() for file in found}


@pytest.mark.parametrize("view", [RECIPIENT, CONTENT])
def test_a_midnight_knows_nothing_of_what_was_learnt_after_it(log, tmp_path, view):
    for moment, rows in rows_at(log.scan(), view, DAYS):
        known = [e for e in events() if max(e.occurred_at, e.received_at) < moment]
        with EventLog(tmp_path / str(moment)) as then:
            then.append(known)
            ((_, expected),) = rows_at(then.scan(), view, [moment])
        assert rows.equals(expected, null_equal=True)
        assert len(rows) == len({getattr(e, rows.columns[0]) for e in known})


def test_feast_joins_the_newest_midnight_and_its_numbers_are_those_of_training(log, feast):
    made(log, feast)
    names = ["delivered_hl30d", "clicked_hl7d"]
    keys = [f"r{n}" for n in range(11)]
    asked = pl.DataFrame({"recipient_key": keys, "at": [DAYS[2] + 5 * HOUR_US] * len(keys)})
    joined = feast.training_frame(asked, [f"recipient_history:{name}" for name in names])
    midnight = asked.with_columns(at=pl.lit(DAYS[2]))
    trained = PointInTime(log.scan(), feast).recipient(midnight, names)
    assert np.unique(trained).size > 5
    np.testing.assert_array_equal(joined.select(names).to_numpy(), trained)

    late = asked.with_columns(at=pl.lit(DAYS[-1] + 32 * DAY_US))
    gone = feast.training_frame(late, [f"recipient_history:{name}" for name in names])
    assert gone.select(names).null_count().row(0) == (11, 11)  # no midnight within a month


def test_a_second_call_makes_nothing_and_one_that_was_ended_is_finished_to_the_byte(
    log, feast, tmp_path
):
    class EndedError(Exception):
        pass

    def end_at_the_fourth_day(said):
        if len(files(feast)) == 3:
            raise EndedError(said)

    with pytest.raises(EndedError):
        made(log, feast, end_at_the_fourth_day)
    assert len(files(feast)) == 3
    found = made(log, feast)
    assert [(each.there, each.made) for each in found] == [(3, 2), (0, 5), (0, 5)]

    whole = FeastStore(tmp_path / "whole", online=tmp_path / "whole.sqlite")
    assert {each.view: each.made for each in made(log, whole)} == {
        "recipient_history": 5, "content_history": 5, "cohort_history": 5,
    }  # fmt: skip
    assert files(whole) == files(feast)
    assert [(each.there, each.made, each.rows) for each in made(log, whole)] == [(5, 0, 0)] * 3


def test_a_midnight_that_is_yet_to_come_is_refused_and_nothing_is_made(log, feast):
    told = {"log": log, "feast": feast, "moments": DAYS, "step": lambda _: None}
    with pytest.raises(DayAheadError, match=r"2026-01-29 is yet .* newest possible is 2026-01-28"):
        backfill(now=DAYS[-1] - 1, **told)
    assert files(feast) == {}


def test_days_of_other_definitions_are_made_anew(log, feast, monkeypatch):
    made(log, feast)
    monkeypatch.setattr(feast_history, "_definitions", lambda _: "others")
    assert [each.made for each in made(log, feast)] == [5, 5, 5]


def test_rows_are_the_same_however_many_days_are_computed_at_once(log, monkeypatch):
    at_once = list(rows_at(log.scan(), RECIPIENT, DAYS))
    monkeypatch.setattr("features.history.AT_ONCE", 12)
    for (moment, rows), (then, expected) in zip(
        rows_at(log.scan(), RECIPIENT, DAYS), at_once, strict=True
    ):
        assert moment == then
        assert rows.equals(expected, null_equal=True)


def test_the_command_shows_what_it_made_and_refuses_days_in_the_wrong_order(tmp_path):
    with EventLog(tmp_path / "events") as log:
        log.append(list(events()))
    told = {"OPPORTUNE_DATA_DIR": str(tmp_path)}
    words = ["backfill", "--from", "2026-01-05", "--to", "2026-01-06"]
    done = CliRunner().invoke(app, words, env=told)
    assert done.exit_code == 0, done.output
    assert "recipient_history" in done.output
    assert (tmp_path / "feast/recipient_history/2026-01-06.parquet").exists()

    words[-1] = "2999-01-01"
    ahead = CliRunner().invoke(app, words, env=told)
    assert ahead.exit_code == 2
    assert "the midnight of 2999-01-01 is yet to come" in " ".join(ahead.stderr.split())

    words[-1] = "2026-01-04"
    wrong = CliRunner().invoke(app, words, env=told)
    assert wrong.exit_code == 2
    assert "2026-01-05 to 2026-01-04 holds no day" in wrong.output
