"""Looking at one recipient says what the log and the models say, no more; unknown is 404."""

from urllib.parse import quote

import orjson
import pytest

from features.document import page
from features.events.log import EventLog
from features.events.schema import SECOND_US, EventType
from models.registry import ModelFolder
from models.specs import SPECS
from serving.http.looks import LAST


@pytest.fixture
def world(small_world, open_service):
    return open_service(small_world.data_dir)


def look(world, key):
    answer = world.http.get(f"/v1/recipients/{quote(key, safe='')}")
    assert answer.status_code == 200, answer.text
    assert b"null" not in answer.content
    return answer.json()


def test_it_agrees_with_the_score_and_with_the_log(small_world, world):
    for key in small_world.people[:10]:
        told, scored = look(world, key), world.score(key, explain=True)
        assert told["churn"]["p_churn"] == scored["churn"]["p_churn"]
        assert told["churn"]["effects"] == scored["churn"]["effects"]
        assert told["newest_age_s"] == scored["feature_age_s"]
        assert told["fallback"] == scored["fallback"]
        assert told["models"] == scored["models"]
        assert told["tz"] == scored["send_time"]["tz"]
        assert told["tz_source"] == scored["send_time"]["tz_source"]
        with EventLog(small_world.data_dir / "events") as log:
            newest = log.of_recipient(key, limit=LAST)
        assert len(told["events"]) == len(newest) == LAST
        assert [e["type"] for e in told["events"]] == [e.type.value for e in newest]
        assert set(told["events"][0]) == {
            "type", "occurred_at", "actor", "actor_reasons", "content_id", "send_id",
        }  # fmt: skip


def test_every_feature_is_told_with_its_documented_unit_or_as_missing(small_world, world):
    rows = [line.split(" | ") for line in page().splitlines() if line.startswith("| `")]
    documented = {row[0].strip("| `"): row[3] for row in rows if len(row) == 5}
    for key in (small_world.people[0], small_world.people[-1]):
        told = look(world, key)
        for one in told["features"]:
            assert documented[one["name"]] == one["unit"]
        names = [one["name"] for one in told["features"]]
        assert len({*names, *told["missing"]}) == len(names) + len(told["missing"])
        assert "clicked_hl7d" in names


def event(n, kind="clicked", key="somebody/new one", **more):
    return {"event_id": f"i-{n}", "type": kind, "recipient_key": key, **more}


def test_nothing_private_is_told_and_corrections_hold(small_world, tmp_path, open_service):
    world = open_service(tmp_path / "var")
    now = small_world.now // SECOND_US
    secret = {"url": "https://example.org/s3cret", "properties": {"note": "s3cret"}}
    key = "somebody/new one"
    world.events(
        event(1, occurred_at=now - 90, send_id="s", timezone="Asia/Tokyo", **secret),
        event(2, "opened", occurred_at=now - 60, **secret),
        event(
            3, EventType.RELABELLED, occurred_at=now - 30, actor="machine",
            actor_reasons=["by_hand"], properties={"event_id": "i-1"},
        ),
    )  # fmt: skip
    told = look(world, key)
    assert "s3cret" not in orjson.dumps(told).decode()
    assert [e["type"] for e in told["events"]] == ["opened", "clicked"]
    assert told["events"][1]["actor"] == "machine"
    assert told["events"][1]["actor_reasons"] == ["by_hand"]
    assert told["events"][1]["send_id"] == "s"
    assert (told["tz"], told["tz_source"]) == ("Asia/Tokyo", "events")
    assert told["fallback"]["reason"] == "no_model"

    world.events(event(4, "erased", occurred_at=now - 10))
    assert world.http.get(f"/v1/recipients/{quote(key, safe='')}").status_code == 404


@pytest.mark.parametrize(
    "key", ["nobody", "jane.doe@example.org", "%00", "a/b", "", "%F0%9F%90%9F"]
)
def test_a_recipient_nobody_knows_is_404_without_an_echo(world, key):
    answer = world.http.get(f"/v1/recipients/{key}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert "jane" not in answer.text


def test_with_the_store_gone_the_events_are_still_told(small_world, tmp_path, open_service):
    copy = small_world.copy(tmp_path / "var")
    for file in copy.data_dir.glob("online.sqlite-*"):
        file.unlink()
    (copy.data_dir / "online.sqlite").write_bytes(b"garbage " * 4_096)
    told = look(open_service(copy.data_dir), copy.people[0])
    assert told["fallback"]["reason"] == "store_unavailable"
    assert told["features"] == []
    assert len(told["events"]) == LAST


def test_the_models_are_told_as_their_manifests_say(small_world, world):
    found = world.http.get("/v1/models").json()["models"]
    assert [one["name"] for one in found] == [spec.name for spec in SPECS]
    served = world.score("r")["models"]
    for one, spec in zip(found, SPECS, strict=True):
        folder = ModelFolder(small_world.data_dir / "models").folder(spec.name, one["version"])
        manifest = orjson.loads((folder / "manifest.json").read_bytes())
        assert one == {
            "name": spec.name, "version": served[spec.name], "previous": "none",
            "shadow": one["shadow"], "n_erased": 0, "retrain_by": "",
            **{k: manifest[k] for k in ("spec_digest", "as_of", "label", "fingerprint", "basis")},
        }  # fmt: skip


def test_after_a_promotion_the_version_before_is_told(small_world, tmp_path, open_service):
    copy = small_world.copy(tmp_path / "var")
    folder = ModelFolder(copy.data_dir / "models")
    folder.add("churn", "9", folder.folder("churn", "1"))
    folder.point("churn", "9")
    found = {
        m["name"]: m for m in open_service(copy.data_dir).http.get("/v1/models").json()["models"]
    }
    assert (found["churn"]["version"], found["churn"]["previous"]) == ("9", "1")
    empty = open_service(tmp_path / "empty").http.get("/v1/models").json()["models"]
    assert {(m["version"], m["previous"], m["basis"]) for m in empty} == {("none", "none", "prior")}
