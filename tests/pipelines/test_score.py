"""`opportune score`: the plan says what the API says, whatever ends the run on its way."""

import gc
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import polars as pl
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient
from typer.testing import CliRunner

from features.definitions.content import VIEW as CONTENT
from features.definitions.recipient import VIEW as RECIPIENT
from features.errors import FileUnusableError
from features.events.schema import HOUR_US, SECOND_US
from features.layout import POOL
from features.online import open_store
from features.packed_rows import head_of
from models.registry import ModelFolder
from pipelines import plan_parts
from pipelines.audience import read_audience
from pipelines.cli import app
from pipelines.errors import NoChampionError, PlanBusyError, PlanUnfinishedError
from pipelines.plan_chunk import Planner
from pipelines.plan_run import Order, job_of, make_plan, record_of
from pipelines.send_file import ANYBODY, read_send
from serving.http.app import create_app
from serving.kept import ENTITY, lives_of, recalled
from serving.settings import ServingSettings

SHARES = {"epsilon": 0.3, "epsilon_hour": 0.3, "holdout": 0.2, "holdout_salt": "a", "poll_s": 60.0}
ZONES = ["Europe/Berlin", "America/New_York", None]
NUMBERS = {
    "p_engage", "p_low", "p_high", "p_engage_default", "value", "p_churn", "unsubscribe",
    "complaint", "p_click",
}  # fmt: skip
SEND = """
send_id: spring-24
slot: top
rules:
  quiet_hours: {start: 21:00, end: 08:00}
  cap: {most: 1, days: 0.5}
values: {engagement: 1, unsubscribe: 8, complaint: 50}
candidates:
"""


def settings_of(data_dir, **more) -> ServingSettings:
    told = {"data_dir": data_dir, "mlflow_url": "", "decision_log": False, "deadline_ms": 30_000}
    return ServingSettings(**(told | SHARES | more))


@pytest.fixture(scope="module")
def world(small_world, tmp_path_factory):
    """The states and champions of the small world, in a place to write to."""
    place = tmp_path_factory.mktemp("score") / "data"
    place.mkdir()
    shutil.copytree(small_world.data_dir / "models", place / "models")
    with open_store(small_world.data_dir / "online.sqlite") as store, store.writing():
        pass  # what is in its log of changes is in the file now
    shutil.copy(small_world.data_dir / "online.sqlite", place)
    return replace(small_world, data_dir=place)


@pytest.fixture
def asked(world, tmp_path):
    """A hundred people and a stranger on their own clocks, and what is asked about them."""
    rng = random.Random(3)
    keys = [*rng.sample(world.people, 100), "stranger"]
    bands = ["low", "high", None, "medium", None]
    hour = datetime.fromtimestamp(world.now / SECOND_US, UTC).replace(hour=17)
    columns = {
        "recipient_key": keys,
        "timezone": [ZONES[i % 3] for i in range(101)],
        "previous_band": [bands[i % 5] for i in range(101)],
        "default_at": [hour if i % 2 else None for i in range(101)],
        "test": [i % 20 == 7 for i in range(101)],
    }
    audience, send = tmp_path / "audience.parquet", tmp_path / "send.yaml"
    pl.DataFrame(columns).write_parquet(audience)
    items = [f"  - {json.dumps(item)}" for item in world.candidates]
    send.write_text(SEND + "\n".join(items))
    return audience, send


@pytest.fixture
def order(world, asked, tmp_path):
    audience, send = asked
    told = read_send(send)
    return Order(
        read_audience(audience, told), told, tmp_path / "plan.parquet", now=world.now + 7, chunk=20
    )


def made(order, settings):
    return make_plan(order, settings, progress=lambda *_: None)


def rows_of(out):
    return pq.read_table(out).to_pylist()


def body_of(row, send) -> dict:
    """The score request for a row of an audience."""
    own = {name: value for name, value in row.items() if value is not None}
    own |= {"default_at": row["default_at"].isoformat()} if row.get("default_at") else {}
    return {**send.model_dump(mode="json", exclude_unset=True), **own}


def answers_of(settings, asked, *, now):
    """What the API says to everybody of the audience."""
    audience, send = asked
    told = read_send(send)
    with TestClient(create_app(settings, clock=lambda: now)) as http:
        bodies = [body_of(row, told) for row in pl.read_parquet(audience).to_dicts()]
        return [http.post("/v1/score", json=body).json() for body in bodies]


def expected(answer, slot) -> dict:
    """An answer in the columns of the plan."""
    hour, hold, churn = answer["send_time"], answer["hold"], answer["churn"]
    content, models = answer["content"], answer["models"]

    def at(epoch):
        return datetime.fromtimestamp(epoch, UTC) if epoch else None

    same = ("recipient_key", "send_id", "decision_id", "arm", "policy")
    hours = ("p_engage", "p_low", "p_high", "p_engage_default", "binding_constraint")
    return {
        **{name: answer[name] for name in same},
        **{name: hour[name] for name in hours},
        "slot": slot,
        "best_at": at(hour["best_at_epoch"]),
        "default_at": at(hour["default_at_epoch"]),
        "propensity_hour": hour["propensity"],
        "explored_hour": hour["explored"],
        "hold_back": hold["hold_back"],
        "hold_reason": hold["reason"],
        "hold_until": at(hold["until_epoch"]),
        "value": hold["value"],
        "propensity_hold": hold["propensity"],
        "explored_hold": hold["explored"],
        "p_churn": churn["p_churn"],
        "band": churn["band"],
        **churn["risks"],
        "variant": content["variant"],
        "ranking": [one["content_id"] for one in content["ranking"]],
        "p_click": [one["p_click"] for one in content["ranking"]],
        "propensity": content["propensity"],
        "explored": content["explored"],
        "fallback": answer["fallback"]["reason"],
        **{f"{name}_version": version for name, version in models.items()},
        "as_of": datetime.fromisoformat(answer["as_of"]),
    }


def is_same(row, answer) -> bool:
    """All of it; of numbers the last of six digits may differ.

    A graph adds up 500 rows at once in another order than one alone, and so does a batch.
    """
    same = {name: pytest.approx(v, abs=1.1e-6) for name, v in answer.items() if name in NUMBERS}
    return row == {**answer, **same}


def test_the_plan_says_what_the_api_says_and_what_it_says_later(world, asked, order):
    run = made(order, settings_of(world.data_dir))
    rows = rows_of(order.out)
    fresh = answers_of(settings_of(world.data_dir, sticky_days=0.0), asked, now=world.now)
    assert [row["recipient_key"] for row in rows] == order.audience.rows["recipient_key"].to_list()
    for row, answer in zip(rows, fresh, strict=True):
        assert is_same(row, expected(answer, "top"))
    for name in ("arm", "hold_reason", "fallback", "binding_constraint", "band"):
        assert len(run.counts[name]) > 1, "the audience does not try this"
    assert {row["explored"] for row in rows} == {True, False} == {r["explored_hour"] for r in rows}

    models = ModelFolder(world.data_dir / "models")
    models.point("churn", "2") if models.has("churn", "2") else models.switch_off("churn", "try")
    later = answers_of(settings_of(world.data_dir), asked, now=world.now + HOUR_US)
    models.switch_on("churn")
    models.point("churn", "1")
    changed = 0
    for row, answer in zip(rows, later, strict=True):
        now = expected(answer, "top")
        changed += row["p_churn"] != now["p_churn"]
        for name in ("decision_id", "variant", "propensity", "explored"):
            assert row[name] == now[name]
        if row["best_at"] >= now["as_of"] and row["hold_until"] is None:
            assert (row["best_at"], row["hold_reason"]) == (now["best_at"], now["hold_reason"])
            assert row["propensity_hour"] == now["propensity_hour"]
    assert changed > 50, "the models do not differ, so that nothing was tried"


def test_what_was_decided_before_stands_in_the_plan(world, asked, order):
    settings = settings_of(world.data_dir)
    order = replace(order, send=order.send.model_copy(update={"send_id": "before"}))
    answers = {}
    with TestClient(create_app(settings, clock=lambda: world.now - HOUR_US)) as http:
        for row in pl.read_parquet(asked[0]).to_dicts()[:30]:
            said = http.post("/v1/score", json=body_of(row, order.send)).json()
            answers[said["recipient_key"]] = said
    made(order, settings)
    rows = {row["recipient_key"]: row for row in rows_of(order.out)}
    for key, said in answers.items():
        assert rows[key]["variant"] == said["content"]["variant"]
        assert rows[key]["decision_id"] == said["decision_id"]
        if said["send_time"]["best_at_epoch"] * SECOND_US >= world.now:
            best = rows[key]["best_at"].timestamp()
            assert best == said["send_time"]["best_at_epoch"] or rows[key]["hold_until"]


def test_a_decision_that_another_process_keeps_meanwhile_wins(world, order):
    """As if it had come between the look and the writing."""
    settings = settings_of(world.data_dir)
    order = replace(order, send=order.send.model_copy(update={"send_id": "race"}))
    planner = planner_of(order, settings)
    (chunk, *_) = order.audience.chunks(20)
    rows = planner.plan(chunk).to_pylist()
    ids = [row["decision_id"] for row in rows]
    days = settings.sticky_days
    with open_store(settings.kept_address, lives_s=lives_of(days)) as store:
        kept = recalled(store, ids, now=world.now, days=days)
        assert set(kept) == set(ids)
        first = kept[ids[0]]._replace(at=world.now - 1, variant=rows[0]["ranking"][-1])
        store.put(ENTITY, [first.row(ids[0])])
    won = planner._won(kept)
    assert won == {ids[0]: first}
    again = planner.plan(chunk).to_pylist()
    assert again[0]["variant"] == first.variant
    assert again[1:] == rows[1:]


def planner_of(order, settings):
    return Planner(job_of(order.send, settings, as_of=order.now // SECOND_US * SECOND_US))


CHILD = """
import sys
from pathlib import Path
from dataclasses import replace
from pipelines.audience import read_audience
from pipelines.plan_chunk import Planner
from pipelines.plan_run import Order, make_plan
from pipelines.send_file import read_send
from serving.settings import ServingSettings
data, audience, send, out = map(Path, sys.argv[1:5])
asked = read_send(send)
now, workers = map(int, sys.argv[5:])
order = Order(read_audience(audience, asked), asked, out, now=now, workers=workers, chunk=3)
settings = ServingSettings(data_dir=data, epsilon=0.3, epsilon_hour=0.3, holdout=0.2)
make_plan(order, settings, progress=lambda *at: print(*at, flush=True))
"""


def test_kill_9_at_random_points_gives_the_same_bytes(world, asked, tmp_path):
    """The child is another hour late each time; the moment of the first one holds."""
    data = tmp_path / "data"
    shutil.copytree(world.data_dir, data, ignore=shutil.ignore_patterns("kept.*"))
    out, rng = tmp_path / "killed.parquet", random.Random(11)
    reached = 0
    for kill in range(3):
        how = [str(world.now + kill * HOUR_US), str(1 + kill % 2)]
        command = [sys.executable, "-c", CHILD, data, *asked, out, *how]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            first = int(child.stdout.readline().split()[0])
            assert first >= reached, "a part that was there is made again"
            for _ in range(rng.randint(1, 9)):
                reached = int(child.stdout.readline().split()[0])
            time.sleep(rng.uniform(0, 0.03))  # only chooses the point within the next part
            child.kill()
        assert child.returncode == -signal.SIGKILL
        assert not out.exists()
    assert 0 < reached < 101
    audience, send = asked
    told = read_send(send)
    order = Order(read_audience(audience, told), told, out, now=world.now + 9 * HOUR_US, chunk=3)
    settings = settings_of(data, holdout_salt="")
    run = made(order, settings)
    assert run.is_new
    assert run.scored <= 101 - reached
    assert sorted(path.name for path in tmp_path.glob("*killed*")) == [
        "killed.parquet", "killed.run.json",
    ]  # fmt: skip

    (data / "kept.sqlite").unlink()
    calm = replace(order, out=tmp_path / "calm.parquet", as_of=world.now)
    assert made(calm, settings).scored == 101
    assert calm.out.read_bytes() == out.read_bytes()
    calm.out.unlink()
    assert made(calm, settings).scored == 101  # from what is kept
    assert calm.out.read_bytes() == out.read_bytes()

    again = made(order, settings)  # hours later, and nothing to do
    assert (again.is_new, again.sha256, again.as_of) == (False, run.sha256, world.now)
    out.write_bytes(b"spoilt")
    assert made(order, settings).is_new
    assert calm.out.read_bytes() == out.read_bytes()


def test_processes_write_the_same_as_one(world, order, tmp_path):
    settings = settings_of(world.data_dir, sticky_days=0.0)
    made(order, settings)
    many = replace(order, out=tmp_path / "many.parquet", workers=2)
    assert made(many, settings).workers == 2
    assert many.out.read_bytes() == order.out.read_bytes()
    # One process sweeps by hand while it is at it, and leaves this one as it was.
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


@pytest.fixture
def throttled(asked, order):
    """Hours that take three mails, and one that has taken two; people are moved, some beyond."""
    busy = (order.now // HOUR_US + 3) * HOUR_US // SECOND_US
    file = asked[1]
    file.write_text(f"{file.read_text()}\nthrottle: {{per_hour: 3, planned: {{{busy}: 2}}}}")
    return replace(order, send=read_send(file))


def test_a_throttled_plan_says_what_a_throttled_batch_says(world, asked, throttled):
    settings = settings_of(world.data_dir, sticky_days=0.0)
    run = made(throttled, settings)
    told = throttled.send.throttle.model_dump(mode="json")
    bodies = [body_of(row, throttled.send) for row in pl.read_parquet(asked[0]).to_dicts()]
    bodies = [{k: v for k, v in body.items() if k != "throttle"} for body in bodies]
    with TestClient(create_app(settings, clock=lambda: world.now)) as http:
        asking = {"requests": bodies, "throttle": told}
        batch = http.post("/v1/score:batch", json=asking).json()["results"]
    rows = rows_of(throttled.out)
    for row, answer in zip(rows, batch, strict=True):
        assert is_same(row, expected(answer, "top"))
    assert run.rounds > 2
    assert run.n_over == 0
    assert max(run.hours.values()) == 3
    assert run.counts["binding_constraint"]["throttle"] > 10


@pytest.mark.long
def test_a_throttled_plan_goes_on_and_needs_no_certain_number_of_processes(
    world, throttled, tmp_path
):
    settings = settings_of(world.data_dir, sticky_days=0.0)
    run = made(throttled, settings)
    ended = replace(throttled, out=tmp_path / "ended.parquet")
    n_ended = 0
    while not ended.out.exists():
        seen = iter(range(2 + 2 * n_ended))  # further each time: rounds that are there count too

        def progress(*_, seen=seen):
            if next(seen, None) is None:
                raise KeyboardInterrupt

        with suppress(KeyboardInterrupt):
            last = make_plan(ended, settings, progress=progress)
            break
        n_ended += 1
    assert n_ended > 3
    assert last.scored < run.scored
    assert ended.out.read_bytes() == throttled.out.read_bytes()
    many = replace(throttled, out=tmp_path / "many.parquet", workers=2)
    made(many, settings)
    assert many.out.read_bytes() == throttled.out.read_bytes()


def test_a_plan_over_redis_is_the_same(world, order, redis_url, tmp_path):
    settings = settings_of(world.data_dir, sticky_days=0.0)
    made(order, settings)
    keys = order.audience.rows["recipient_key"].to_list()
    items = [one.content_id for one in order.send.candidates]
    asked = {RECIPIENT.entity: keys, CONTENT.entity: [*items, POOL]}
    with open_store(settings.online_address) as here, open_store(redis_url) as there:
        for entity, names in asked.items():
            found = zip(names, here.get(entity, names), strict=True)
            there.put(entity, [(key, *head_of(blob), blob) for key, blob in found if blob])
    over = settings_of(world.data_dir, online_store=SecretStr(redis_url))
    order = replace(order, out=tmp_path / "redis.parquet")
    first = made(order, over)
    assert order.out.read_bytes() == (tmp_path / "plan.parquet").read_bytes()
    order.out.unlink()
    assert made(order, over).sha256 == first.sha256  # from what is kept


def test_a_dry_run_keeps_nothing_and_other_inputs_make_another_plan(world, order):
    settings = settings_of(world.data_dir)
    order = replace(order, send=order.send.model_copy(update={"send_id": "dry"}), is_dry=True)
    assert made(order, settings).is_new
    assert not made(order, settings).is_new
    dry = rows_of(order.out)
    with open_store(settings.kept_address) as store:
        ids = [row["decision_id"] for row in dry]
        assert not any(store.get(ENTITY, ids))
    real = replace(order, is_dry=False)
    assert made(real, settings).is_new
    assert rows_of(order.out) == dry
    for other in (
        replace(real, as_of=world.now + HOUR_US),
        replace(real, send=real.send.model_copy(update={"slot": "below"})),
    ):
        assert made(other, settings).is_new
    off = ModelFolder(world.data_dir / "models")
    off.switch_off("send_time", "scores everybody 0.9")
    assert made(real, settings).counts["fallback"] == {"switched_off": 101}
    off.switch_on("send_time")


def test_one_process_at_a_time_makes_a_plan(order, world):
    settings = settings_of(world.data_dir)
    with (
        plan_parts.alone(order.out.with_name("plan.parquet.parts"), order.out),
        pytest.raises(PlanBusyError, match="another process"),
    ):
        made(order, settings)


@pytest.mark.parametrize("away", ["online.sqlite", "kept.sqlite"])
def test_a_store_that_is_away_is_no_plan_of_priors(order, world, tmp_path, away):
    data = tmp_path / "data"
    shutil.copytree(world.data_dir, data, ignore=shutil.ignore_patterns("kept.*", away))
    (data / away).mkdir()
    with pytest.raises(PlanUnfinishedError, match=r"(store|sqlite).* run the same command again"):
        made(order, settings_of(data))
    assert not order.out.exists()
    parts = order.out.with_name("plan.parquet.parts")
    assert sorted(part.name for part in parts.iterdir()) == ["begun.json", "lock"]
    (data / away).rmdir()
    if away == "online.sqlite":
        shutil.copy(world.data_dir / away, data)
    assert made(order, settings_of(data)).counts["fallback"]["none"] > 90


def test_the_command_says_what_it_did(world, asked, tmp_path, monkeypatch):
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(world.data_dir))
    csv, out = tmp_path / "audience.csv", tmp_path / "new" / "plan.parquet"
    keys = [world.people[0], "007", world.people[0]]
    pl.DataFrame({"recipient_key": keys, "timezone": ["", "Asia/Tokyo", None]}).write_csv(csv)
    words = ["--audience", csv, "--send", asked[1], "--out", out, "--workers", "1"]
    told = CliRunner().invoke(app, ["score", *map(str, words), "--as-of", "2025-11-08T06:00:00"])
    assert told.exit_code == 0, told.output
    assert "1 rows named a recipient again" in told.stdout
    assert "unknown_recipient" in told.stdout
    rows = rows_of(out)
    assert [row["recipient_key"] for row in rows] == [world.people[0], "007"]
    assert rows[0]["as_of"] == datetime(2025, 11, 8, 6, tzinfo=UTC)
    run = json.loads((tmp_path / "new" / "plan.run.json").read_bytes())
    assert (run["rows"], run["n_duplicates"], run["scored"]) == (2, 1, 2)
    assert sum(run["hours"].values()) == sum(not row["hold_back"] for row in rows)
    bad = CliRunner().invoke(app, ["score", *map(str, words[:2]), "--send", str(csv), "--out", "x"])
    assert bad.exit_code == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("send_id: a\nrulse: {}", "no field rulse"),
        ("slot: a", "no send_id"),
        ("send_id: a\nthrottle: {per_hour: 0}", "throttle.per_hour"),
        ("send_id: a\nthrottle: {per_hour: 5, planned: {noon: 3}}", "seconds since 1970"),
        ("send_id: a\nthrottle: {per_hour: 5, planned: {3600: -3}}", "3600 has -3 mails"),
        ("send_id: null", "no send_id"),
        ("send_id: ~", "no send_id"),
        ("send_id: a\nsend_id: b", "send_id stands twice"),
        ("send_id: a\nvalues: {complaint: 1, complaint: 2}", "complaint stands twice"),
        ("send_id: a\nexplain: true", "no field explain"),
        ("send_id: a\nrules: {quiet_hours: {start: 25:00, end: 08:00}}", "rules.quiet_hours.start"),
        ("send_id: a\nvalues: {engagement: -1}", "values.engagement"),
        ("send_id: a\ntimezone: Mars/Phobos", "IANA name"),
        ("send_id: a\nwindow_from: 2026-01-02\nwindow_to: 2026-01-01", "before window_from"),
        ("- send_id", "not fields"),
        ("send_id: [", "write YAML"),
    ],
)
def test_a_mistake_in_the_send_is_named_with_its_remedy(tmp_path, text, said):
    file = tmp_path / "send.yaml"
    file.write_text(text)
    with pytest.raises(FileUnusableError, match=said):
        read_send(file)


@pytest.mark.parametrize("nothing", ["null", "~", ""])
def test_a_field_without_a_value_is_not_given(tmp_path, nothing):
    file = tmp_path / "send.yaml"
    fields = [f"{name}: {nothing}" for name in ("slot", "timezone", "window_from", "throttle")]
    file.write_text("\n".join(["send_id: a", *fields, f"rules: {{expires_at: {nothing}}}"]))
    assert read_send(file).model_fields_set == {"send_id", "rules", "recipient_key"}
    file.write_text("send_id: nullable\nslot: 'null'")
    assert (read_send(file).send_id, read_send(file).slot) == ("nullable", "null")


def test_no_two_plans_of_a_folder_share_a_record(tmp_path):
    names = ["plan.parquet", "plan.v1", "plan.v2", "plan.csv"]
    records = [record_of(tmp_path / name) for name in names]
    assert len(set(records)) == len(names)
    assert records[0] == tmp_path / "plan.run.json"


@pytest.mark.parametrize("which", ["--audience", "--send"])
@pytest.mark.parametrize("link", [None, "symlink_to", "hardlink_to"])
def test_a_plan_never_takes_the_place_of_what_it_is_made_from(
    world, asked, tmp_path, monkeypatch, which, link
):
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(world.data_dir))
    out = source = asked[which == "--send"]
    if link:
        out = tmp_path / "link"
        getattr(out, link)(source)
    before = [file.read_bytes() for file in asked]
    words = ["score", "--audience", asked[0], "--send", asked[1], "--out", out, "--dry-run"]
    told = CliRunner().invoke(app, [str(word) for word in words])
    assert told.exit_code == 2
    assert f"is what {which} names, to be read; name another file" in " ".join(told.stderr.split())
    assert [file.read_bytes() for file in asked] == before


def test_a_plan_named_like_a_folder_is_refused_before_anybody_is_scored(
    world, asked, tmp_path, monkeypatch
):
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(world.data_dir))
    words = ["score", "--audience", asked[0], "--send", asked[1], "--out", tmp_path]
    told = CliRunner().invoke(app, [str(word) for word in words])
    assert told.exit_code == 2
    assert "is a folder; name a file in it" in told.stderr
    assert not tmp_path.with_name(f"{tmp_path.name}.parts").exists()


def test_without_any_champion_there_is_no_plan_of_priors(order, world, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(world.data_dir, data, ignore=shutil.ignore_patterns("kept.*", "models"))
    with pytest.raises(NoChampionError, match="worse than none; `opportune promote`"):
        made(order, settings_of(data))
    assert not order.out.exists()
    bundle = ModelFolder(world.data_dir / "models").folder("churn", "1")
    ModelFolder(data / "models").add("churn", "1", bundle)
    ModelFolder(data / "models").point("churn", "1")
    assert made(order, settings_of(data)).versions == {"churn": "1"}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"key": ["a"]}, "no column recipient_key"),
        ({"recipient_key": ["a"], "time_zone": ["UTC"], "age": [3]}, "time_zone, age mean nothing"),
        ({"recipient_key": ["a", None]}, "in row 1"),
        ({"recipient_key": ["a", ""]}, "in row 1"),
        ({"recipient_key": [1.5]}, "write it as text"),
        ({"recipient_key": ["a", "b"], "timezone": ["UTC", "Mars"]}, "row 1: timezone = 'Mars'"),
        ({"recipient_key": ["a"], "previous_band": ["huge"]}, "row 0: previous_band = 'huge'"),
        ({"recipient_key": ["a"], "default_at": ["soon"]}, "row 0: default_at"),
    ],
)
def test_a_mistake_in_the_audience_is_named_with_its_remedy(tmp_path, columns, said):
    file = tmp_path / "audience.parquet"
    pl.DataFrame(columns).write_parquet(file)
    send = tmp_path / "send.yaml"
    send.write_text("send_id: a")
    with pytest.raises(FileUnusableError, match=said):
        read_audience(file, read_send(send))


def test_what_an_audience_says_of_one_goes_before_what_the_send_says_of_all(tmp_path):
    file, send = tmp_path / "audience.csv", tmp_path / "send.yaml"
    file.write_text("recipient_key,timezone,window_to\nb,Asia/Tokyo,\na,,2026-01-02T00:00:00Z\n")
    send.write_text("send_id: 007\ntimezone: Europe/Berlin\nwindow_to: 2026-01-01T00:00:00Z")
    asked = read_send(send)
    assert (asked.send_id, asked.recipient_key) == ("007", ANYBODY)
    ends = [datetime(2026, 1, day, tzinfo=UTC).timestamp() * SECOND_US for day in (1, 2)]
    assert read_audience(file, asked).rows.rows() == [
        ("b", "Asia/Tokyo", ends[0]),
        ("a", "Europe/Berlin", ends[1]),
    ]
