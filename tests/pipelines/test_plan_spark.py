"""On Spark the plan is that of `opportune score`, row for row, and stays it when asked again."""

import re
import shutil
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

pytest.importorskip("pyspark", reason="the extra `spark` is not installed")


from features.spark import TableUnusableError
from pipelines.audience import read_audience
from pipelines.plan_run import Order, job_of, make_plan
from pipelines.plan_spark import plan_of
from pipelines.send_file import read_send
from serving.settings import ServingSettings

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.long  # half a minute and more of a core

SEND = """
send_id: spark
values: {engagement: 1, unsubscribe: 8, complaint: 50}
candidates: [{content_id: item-001, topics: [outdoor]}, {content_id: item-002, topics: [food]}]
"""


@pytest.fixture
def place(small_world, tmp_path):
    """A copy of the world, an audience of some hundred with a key twice, and a send."""
    data_dir = small_world.copy(tmp_path / "data").data_dir
    people = [*small_world.people[:300], small_world.people[0], "stranger"]
    zones = [None, "Europe/Berlin", "America/New_York"]
    columns = {"recipient_key": people, "timezone": [zones[n % 3] for n in range(302)]}
    columns["timezone"][300] = columns["timezone"][0]
    pl.DataFrame(columns).write_parquet(tmp_path / "audience.parquet")
    (tmp_path / "send.yaml").write_text(SEND)
    return data_dir, tmp_path


def settings_of(data_dir):
    return ServingSettings(
        data_dir=data_dir, mlflow_url="", decision_log=False, epsilon=0.3, epsilon_hour=0.3,
        holdout=0.2, holdout_salt="a",
    )  # fmt: skip


def by_key(table):
    return pl.DataFrame(pl.from_arrow(table)).sort("recipient_key")


def test_the_plan_on_spark_is_that_of_one_machine(spark, place, small_world):
    data_dir, folder = place
    settings, send = settings_of(data_dir), read_send(folder / "send.yaml")
    told = spark.read.parquet(str(folder / "audience.parquet")).repartition(3)
    dry = job_of(send, settings, as_of=small_world.now, is_dry=True)
    found = by_key(plan_of(told, dry).toArrow())
    kept = job_of(send, settings, as_of=small_world.now)
    assert by_key(plan_of(told, kept).toArrow()).equals(found)

    audience, out = read_audience(folder / "audience.parquet", send), folder / "plan.parquet"
    order = Order(audience, send, out, now=small_world.now, as_of=small_world.now)
    make_plan(order, settings, progress=lambda *_: None)
    here = by_key(pq.read_table(out))
    assert found.schema == here.schema
    assert len(found) == 301
    assert found["arm"].n_unique() == 2
    for name in found.columns:
        if found[name].dtype == pl.Float64:  # a graph adds rows up in another order
            assert (found[name] - here[name]).abs().max() <= 1.1e-6
        elif name != "p_click":
            assert found[name].equals(here[name], null_equal=True), name


def test_a_column_that_means_nothing_here_is_refused_by_name(spark, place, small_world):
    data_dir, folder = place
    job = job_of(read_send(folder / "send.yaml"), settings_of(data_dir), as_of=small_world.now)
    with pytest.raises(TableUnusableError, match="time_zone"):
        plan_of(spark.createDataFrame([("r", "x")], "recipient_key string, time_zone string"), job)


@pytest.mark.usefixtures("spark")
def test_the_pages_snippet_runs(place, monkeypatch):
    _, folder = place
    (folder / "var").mkdir()
    for file in ("audience.parquet", "send.yaml"):
        shutil.copy(folder / file, folder / "var" / file)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", "data")
    (snippet,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/audience.md").read_text(), re.DOTALL
    )
    # Spark was begun elsewhere, and takes its own relative paths from there.
    for name in ("audience.parquet", "plan-spark"):
        snippet = snippet.replace(f'"var/{name}"', f'"{folder}/var/{name}"')
    exec(compile(snippet, "docs/audience.md", "exec"), {})
    assert len(pl.read_parquet(folder / "var/plan-spark/*.parquet")) == 301
