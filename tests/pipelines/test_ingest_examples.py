"""The mappings under examples/ on the real data they are written for."""

from pathlib import Path

import pytest

from features.events.log import EventLog
from features.events.mapping import load_mapping
from pipelines.ingest import ingest

ROOT = Path(__file__).parents[2]
SHARED = ROOT / "../shared/data"


def imported(tmp_path: Path, file: str, example: str):
    path = SHARED / file
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with EventLog(tmp_path / "log") as log:
        summary = ingest(
            path, log=log, mapping=load_mapping(ROOT / "examples" / example / "mapping.yaml"),
            rejects=tmp_path / "rejects.ndjson", received_at=1_900_000_000_000_000,
            progress=lambda _: None,
        )  # fmt: skip
        return summary, log.scan().collect()


@pytest.mark.shared
def test_the_shop_s_purchases_are_all_in(tmp_path):
    summary, events = imported(tmp_path, "online_retail/online_retail.parquet", "online_retail")
    assert (summary.read, summary.accepted, summary.duplicate) == (541_909, 397_884, 0)
    assert sum(summary.rejected.values()) == 0
    assert sum(summary.skipped.values()) == 541_909 - 397_884
    assert summary.n_recipients == 4_338
    assert events["value"].sum() == pytest.approx(8_911_407.9, abs=0.1)
    assert events["recipient_key"].str.contains(r"^\d{5}$").all()
    assert set(events["utc_offset_min"].unique()) == {0, 60}
    assert (events["received_at"] == events["occurred_at"]).all()


@pytest.mark.shared
def test_the_developers_activity_is_all_in(tmp_path):
    summary, events = imported(tmp_path, "git_activity_dev/events.csv.gz", "developer_activity")
    assert (summary.read, summary.n_recipients) == (119_789, 9_392)
    assert summary.accepted + summary.duplicate == summary.read
    assert summary.accepted == events["event_id"].n_unique() == 118_671
    assert set(events["topics"].explode().unique()) == {"rails", "nova", "neutron"}
