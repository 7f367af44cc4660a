"""The mappings under examples/ on the real data they are written for."""

from pathlib import Path

import polars as pl
import pytest

from features.events.log import EventLog
from features.events.mapping import load_mapping
from pipelines.ingest import ingest

ROOT = Path(__file__).parents[2]
SHARED = ROOT / "../shared/data"


def imported(tmp_path: Path, path: Path, example: str):
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with EventLog(tmp_path / "log") as log:
        summary = ingest(
            path, log=log, mapping=load_mapping(ROOT / "examples" / example / "mapping.yaml"),
            rejects=tmp_path / "rejects.ndjson", received_at=1_900_000_000_000_000,
            progress=lambda _: None,
        )  # fmt: skip
        return summary, log.scan().collect()


@pytest.mark.long
@pytest.mark.shared
def test_the_shop_s_purchases_are_all_in(tmp_path):
    """Of some months; the example's own test takes in the whole year."""
    whole = SHARED / "online_retail/online_retail.parquet"
    if not whole.exists():
        pytest.skip(f"{whole} is not there")
    lines = pl.read_parquet(whole).slice(100_000, 100_000)  # over a change of clocks
    lines.write_parquet(tmp_path / "lines.parquet")
    sold = lines.filter(
        pl.col("CustomerID").is_not_null(), pl.col("Quantity") > 0, pl.col("UnitPrice") > 0
    )
    summary, events = imported(tmp_path, tmp_path / "lines.parquet", "online_retail")
    assert (summary.read, summary.accepted, summary.duplicate) == (len(lines), len(sold), 0)
    assert sum(summary.rejected.values()) == 0
    assert sum(summary.skipped.values()) == len(lines) - len(sold)
    assert summary.n_recipients == sold["CustomerID"].n_unique()
    revenue = (sold["Quantity"] * sold["UnitPrice"]).sum()
    assert events["value"].sum() == pytest.approx(revenue, abs=0.1)
    assert events["recipient_key"].str.contains(r"^\d{5}$").all()
    assert set(events["utc_offset_min"].unique()) == {0, 60}
    assert (events["received_at"] == events["occurred_at"]).all()


@pytest.mark.long
@pytest.mark.shared
def test_the_developers_activity_is_all_in(tmp_path):
    summary, events = imported(
        tmp_path, SHARED / "git_activity_dev/events.csv.gz", "developer_activity"
    )
    assert (summary.read, summary.n_recipients) == (119_789, 9_392)
    assert summary.accepted + summary.duplicate == summary.read
    assert summary.accepted == events["event_id"].n_unique() == 118_671
    assert set(events["topics"].explode().unique()) == {"rails", "nova", "neutron"}
