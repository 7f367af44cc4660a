"""Erasure, export and retention: nothing of one recipient is left, and nobody else is touched."""

import os
import random
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import orjson
import pytest
import redis
from starlette.testclient import TestClient
from typer.testing import CliRunner

from features.audit import LINES, AuditLog
from features.definitions import AFFINITY
from features.definitions.recipient import VIEW
from features.events import forget as forgetting
from features.events.database import INSERT, create, row_of, transaction
from features.events.log import KEPT_OUT, EventLog
from features.events.quarantine import Kept, Quarantine, without_addresses
from features.events.schema import DAY_US, SECOND_US, Event, EventType
from features.layout import layout_of
from features.online import open_store
from features.packing import unpack
from features.sqlite_rows import insert_rows
from features.stream import Stream
from models.registry import ModelFolder
from pipelines.cli import app
from serving.erasure import erase
from serving.errors import NotARecipientError
from serving.http.app import create_app
from serving.keys import KeyFile, Scope
from serving.proofs import proofs, watermark
from serving.settings import ServingSettings
from serving.webhooks import Webhooks

NOW = 1_720_000_000_000_000
N_PEOPLE, N_EACH = 10_000, 2
GONE, LIKE = "rcpt-004321-gone", "rcpt-004321-gonex"
BESIDE = [f"rcpt-{n:06d}-gone" for n in (4320, 4322, 4326)]


def key_of(n):
    return f"rcpt-{n:06d}-gone"


def event(n, i):
    """The events of a recipient, over several days; keys stand in ids and properties too."""
    key, at = key_of(n), NOW - (1 + (n + i) % 9) * DAY_US + n * SECOND_US
    kind = (EventType.DELIVERED, EventType.CLICKED, EventType.PURCHASED)[i % 3]
    return Event(
        f"ev-{key}-{i}", kind, key, at, at, send_id=f"s{i}", message_key=f"m-{key}",
        content_id=f"item-{n % 20}", topics=(f"topic-{n % 5}",), value=9.0,
        utc_offset_min=60, timezone="Europe/Berlin", properties={"country": "DE"},
    )  # fmt: skip


def fill(data_dir, n_people=N_PEOPLE):
    """A log in bulk, through no door; in an order in which index pages are split everywhere."""
    events = [event(n * 7919 % n_people, i) for i in range(N_EACH) for n in range(n_people)]
    connection = create(data_dir / "events")
    with transaction(connection, is_writer=True):
        insert_rows(connection, INSERT, [row_of(one) for one in events])
    connection.close()


def folded(data_dir, address):
    with EventLog(data_dir / "events") as log, open_store(address) as store:
        log.compact()
        Stream(log, store).catch_up()


def traces(data_dir: Path, word: str) -> list[str]:
    """Every file that holds a word, journals and locks included; Parquet is read as rows."""
    import polars as pl  # noqa: PLC0415

    found = []
    for file in data_dir.rglob("*"):
        if not file.is_file():
            continue
        raw = file.read_bytes()
        if file.suffix == ".parquet":
            raw += str(pl.read_parquet(file).rows()).encode()
        if word.encode() in raw:
            found.append(str(file.relative_to(data_dir)))
    return found


def in_redis(url, word):
    with redis.Redis.from_url(url) as client:
        values = []
        for name in client.scan_iter("*"):
            kind = client.type(name)
            values.append(name)
            values.append(
                client.get(name) if kind == b"string" else str(client.smembers(name)).encode()
            )
    return any(word.encode() in value for value in values)


def features_of(store, key):
    (blob,) = store.get(VIEW.entity, [key])
    state = unpack(blob, layout_of(VIEW))
    tastes = {k: state.affinity_at(k, NOW, AFFINITY) for k in state.affinity}
    return blob, state.slots, tastes, state.profile


@pytest.fixture
def opened(bundle_folders):
    """A service over a data directory, with real champions, whose clock stands."""
    with ExitStack() as stack:

        def open_(data_dir, **more):
            folder = ModelFolder(data_dir / "models")
            for name, bundle in bundle_folders.items():
                if folder.champion(name) is None:
                    folder.add(name, "1", bundle)
                    folder.point(name, "1")
            told = {"deadline_ms": 30_000, "holdout": 0.0, "epsilon_hour": 0.0} | more
            settings = ServingSettings(data_dir=data_dir, **told)
            client = TestClient(create_app(settings, clock=lambda: NOW))
            return stack.enter_context(client)

        yield open_


@pytest.fixture(params=["sqlite", "redis"])
def crowd(request, opened, tmp_path, redis_url):
    """Ten thousand people in every store, and a service over them."""
    online = redis_url if request.param == "redis" else ""
    fill(tmp_path)
    Quarantine(tmp_path / "events").add(
        Kept("sendgrid", NOW, "unknown_type", f'{{"to":"(address {key})"}}')
        for key in (GONE, BESIDE[0])
    )
    (tmp_path / "rejects").mkdir()
    rows = [
        orjson.dumps({"row": n, "original": {"who": key}})
        for n, key in enumerate((GONE, BESIDE[0], LIKE))
    ]
    (tmp_path / "rejects/old.ndjson").write_bytes(b"\n".join(rows) + b"\n")
    (tmp_path / "feast/recipient_history").mkdir(parents=True)
    for file in ("recipient_features", "recipient_history/2026-01-01"):
        (tmp_path / f"feast/{file}.parquet").write_bytes(GONE.encode())
    address = online or str(tmp_path / "online.sqlite")
    folded(tmp_path, address)
    http = opened(tmp_path, online_store=online)
    with open_store(address) as store:
        yield tmp_path, http, store, online


def scoring(http, first, is_over):
    """Scores one after the other, also of the one who is erased meanwhile; status codes."""
    n, codes = first, []
    while not is_over.is_set() or n < first + 20:
        key = GONE if n % 5 == 0 else key_of(n % N_PEOPLE)
        body = {"recipient_key": key, "send_id": f"send-{n % 3}"}
        codes.append(http.post("/v1/score", json=body).status_code)
        n += 1
    return codes


def sent_late(http):
    """Events of before the erasure, one of the erased between two of others."""
    rows = [
        {
            "event_id": f"late-{n}", "type": "clicked", "recipient_key": key,
            "occurred_at": (NOW - DAY_US) / SECOND_US,
        }
        for n, key in enumerate((key_of(77), GONE, key_of(78)))
    ]  # fmt: skip
    return http.post("/v1/events", json={"events": rows}).json()


def test_one_of_ten_thousand_is_erased_under_load_to_the_last_byte(crowd):
    data_dir, http, store, online = crowd
    before = {key: features_of(store, key) for key in BESIDE}
    is_over = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(scoring, http, first, is_over) for first in (0, 5_000)]
        for n in range(3):
            http.post("/v1/score", json={"recipient_key": GONE, "send_id": f"send-{n}"})
        answer = http.delete(f"/v1/recipients/{GONE}")
        late = sent_late(http)
        is_over.set()
        codes = [code for one in running for code in one.result()]
    assert (answer.status_code, set(codes)) == (200, {200}), answer.text
    assert len(codes) >= 40
    receipt = answer.json()
    assert receipt["is_verified"]
    removed = receipt["stores"]
    assert removed.pop("parquet_files") >= 1
    assert removed.pop("decisions") + removed.pop("kept_decisions") >= 0
    assert removed == {
        "event_log": N_EACH, "online_states": 1, "quarantine": 1, "rejects": 1, "feast_files": 2,
    }  # fmt: skip
    # Late events stay out, and their neighbours come in.
    assert (late["accepted"], late["duplicate"]) == (2, 0)
    (refused,) = late["rejected"]
    assert (refused["index"], refused["reason"]) == (1, "erased_recipient")
    assert GONE not in refused["message"]
    assert 'outcome="erased_recipient"} 1.0' in http.get("/metrics").text
    unknown = http.post("/v1/score", json={"recipient_key": GONE}).json()
    assert unknown["fallback"]["reason"] == "unknown_recipient"
    assert {key: features_of(store, key) for key in BESIDE} == before
    store.close()
    http.__exit__(None, None, None)  # what waits is written: nothing of theirs may be in it
    nobody_is_found(data_dir, online)


def nobody_is_found(data_dir, online):
    assert traces(data_dir, GONE) == ["rejects/old.ndjson"]  # of one whose key begins like theirs
    with EventLog(data_dir / "events") as log:
        log.compact()
        assert log.scan().collect().height == N_PEOPLE * N_EACH - N_EACH + 2
    assert traces(data_dir, GONE) == ["rejects/old.ndjson"]
    assert (data_dir / "rejects/old.ndjson").read_text().count(GONE) == 1
    assert traces(data_dir, BESIDE[0])
    if online:
        assert not in_redis(online, GONE)
        assert in_redis(online, BESIDE[0])
    assert AuditLog(data_dir / "audit").verify().line == 0
    assert '"erased"' in (data_dir / "audit" / LINES).read_text()


@pytest.fixture
def small(tmp_path):
    fill(tmp_path, 50)
    folded(tmp_path, str(tmp_path / "online.sqlite"))
    return ServingSettings(data_dir=tmp_path)


def done(settings, *keys, now=NOW):
    return erase(settings, keys, now=now, actor="test", id_of=lambda key, send: key + send)


def visit(key, at, kind=EventType.CLICKED, n=0):
    return Event(f"{kind}-{key}-{at}-{n}", kind, key, at, at)


def test_events_of_before_stay_out_for_ever_and_those_of_after_until_the_person_comes_back(small):
    key, other = key_of(4), key_of(5)
    done(small, key)
    with EventLog(small.events_dir) as log:
        assert log.append([visit(key, NOW - 1), visit(other, NOW - 1)])[0] == KEPT_OUT
        assert log.append([visit(key, NOW + 5)]) == [KEPT_OUT]  # an open of an old mail
        assert log.append([visit(key, NOW - 3, EventType.SIGNED_UP)]) == [KEPT_OUT]
        back = [visit(key, NOW + 10, EventType.SIGNED_UP), visit(key, NOW + 11)]
        assert None not in (offsets := log.append(back))
        assert KEPT_OUT not in offsets
        assert log.append([visit(key, NOW + 5, n=1), visit(key, NOW - 9)]) == [KEPT_OUT] * 2
        with open_store(small.online_address) as store:
            Stream(log, store).catch_up()
            (blob,) = store.get(VIEW.entity, [key])
        assert unpack(blob, layout_of(VIEW)).newest == NOW + 11
        done(small, key, now=NOW + 20)  # and may leave once more
        assert log.append([visit(key, NOW + 12, n=2)]) == [KEPT_OUT]
        assert log.of_recipient(key) == []


def test_what_another_process_has_appended_and_not_folded_is_not_folded_any_more(small):
    key = key_of(4)
    with EventLog(small.events_dir) as log, open_store(small.online_address) as store:
        Stream(log, store).catch_up()
        log.append([visit(key, NOW - 5), visit(key_of(5), NOW - 5), visit(key, NOW - 4)])
        done(small, key)
        Stream(log, store).catch_up()  # of what it has in memory, and a log whose end is gone
        assert store.get(VIEW.entity, [key]) == [None]
        assert Stream(log, store).behind() <= 0
        log.append([visit(key_of(6), NOW - 5)])
        assert Stream(log, store).catch_up() == 1


@pytest.mark.parametrize("step", ["scrub", "_remove_doomed", "settle"])
def test_an_erasure_that_is_killed_is_ended_by_the_same_call(small, monkeypatch, step):
    key = key_of(4)

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        where = forgetting if step != "settle" else __import__("serving.erasure").erasure
        patched.setattr(where, step, killed)
        with pytest.raises(KeyboardInterrupt):
            done(small, key)
    with EventLog(small.events_dir) as log:
        assert log.append([visit(key, NOW - 1)]) == [KEPT_OUT]
        log.compact()
        receipt = done(small, key)
        assert receipt.is_verified
        log.compact()
        assert log.scan().collect().height == 50 * N_EACH - N_EACH
    assert traces(small.data_dir, key) == []
    assert [proof.first_at > 0 for proof in proofs(small.erasures_dir)][:1] == [True]
    assert AuditLog(small.audit_dir).verify().line == 0


def test_models_that_have_seen_the_erased_are_due_and_those_trained_since_are_not(small):
    done(small, key_of(4))
    done(small, key_of(5))
    done(small, key_of(5))  # nothing is there any more: it concerns no model
    known = proofs(small.erasures_dir)
    assert watermark("2024-07-02 10:00 UTC", known).n_erased == 2
    assert watermark("2024-07-02 10:00 UTC", known).retrain_by == "2024-08-02"
    assert watermark("2024-05-01 10:00 UTC", known).n_erased == 0  # before their first event
    assert watermark("2024-07-04 10:00 UTC", known).n_erased == 0  # after the erasure
    assert watermark("", known).n_erased == 0


def test_a_model_is_marked_by_when_it_began_to_read_whatever_moment_it_was_trained_as_of(
    small, monkeypatch
):
    as_of = "2024-07-02 10:00 UTC"  # before every erasure
    begun = [forgetting.n_settled(small.events_dir)]
    monkeypatch.setattr(  # one that begins when the suppression is durable and the rows are there
        "serving.erasure.forget",
        lambda root, keys: (
            begun.append(forgetting.n_settled(root)),
            forgetting.forget(root, keys),
        )[1],
    )
    for key in (key_of(4), key_of(5)):
        done(small, key)
        begun.append(forgetting.n_settled(small.events_dir))
    known = proofs(small.erasures_dir)
    seen = [watermark(as_of, known, n_erasures=n).n_erased for n in begun]
    assert seen == [2, 2, 1, 1, 0]
    assert watermark("2024-07-04 10:00 UTC", known, n_erasures=begun[0]).n_erased == 2
    assert watermark(as_of, known, n_erasures=str(begun[-1])).n_erased == 0  # as a tag tells it
    assert watermark(as_of, known, n_erasures="").n_erased == 2  # made before versions told it
    older = [proof.model_copy(update={"number": None}) for proof in known]
    assert watermark(as_of, older, n_erasures=begun[-1]).n_erased == 2
    assert watermark("2024-05-01 10:00 UTC", known, n_erasures=begun[0]).n_erased == 0


def test_what_a_webhook_tells_of_the_erased_and_is_no_event_is_kept_nowhere(small):
    done(small, key_of(4))
    with EventLog(small.events_dir) as log:
        hooks = Webhooks(log, Quarantine(small.events_dir), {}, key_secret="secret")
        items = [
            Kept("ses", NOW, "unknown_type", without_addresses({"to": "a@b.c"}, lambda _, k=key: k))
            for key in (key_of(4), key_of(5))
        ]
        assert hooks._of_erased(items) == {items[0].item}


def test_a_consent_is_in_the_audit_log_once_and_without_the_key(opened, small):
    http = opened(small.data_dir)
    rows = [
        {
            "event_id": f"c{n}", "type": kind, "recipient_key": key_of(4),
            "occurred_at": NOW / SECOND_US, "properties": {"purpose": purpose},
        }
        for n, (kind, purpose) in enumerate(
            [("consent_withdrawn", "profiling"), ("consent_granted", "our own words")]
        )
    ]  # fmt: skip
    for _ in range(2):
        assert http.post("/v1/events", json={"events": rows}).status_code == 200
    told = [
        (line["action"], line["object"].partition(" purpose ")[2])
        for line in AuditLog(small.audit_dir).lines()
        if line["action"].startswith("consent")
    ]
    assert told == [("consent_withdrawn", "profiling"), ("consent_granted", "another")]
    assert key_of(4) not in (small.audit_dir / LINES).read_text()
    answer = http.post("/v1/score", json={"recipient_key": key_of(4)}).json()
    assert answer["fallback"]["reason"] == "no_consent"


@pytest.mark.parametrize(
    ("bad", "remedy"),
    [
        ("", "is blank; give the key as it stands in the log"),
        ("  ", "is blank; give"),
        ("a" * 300, "has 300 characters; a key has at most 256: give each by itself"),
        ("ann@example.org", "is an address; give the key made of it"),
        ("nul\0", "holds a NUL or half a character; give it in UTF-8"),
        ("\ud800", "half a character; give it in UTF-8"),
    ],
)
def test_what_is_no_recipient_key_is_named_by_its_place_with_a_remedy_and_not_repeated(
    small, bad, remedy
):
    with pytest.raises(NotARecipientError) as error:
        done(small, key_of(4), key_of(4), bad)  # the place counts keys that are given twice
    assert str(error.value).startswith("key 3 of 3 ")
    assert remedy in str(error.value)
    assert "ann@" not in str(error.value)
    assert "aaa" not in str(error.value)
    with EventLog(small.events_dir) as log:
        assert len(log.of_recipient(key_of(4))) == N_EACH


def test_only_a_key_for_privacy_erases_and_exports(opened, small):
    keys = KeyFile(small.keys_file)
    inspect, privacy = (
        keys.add(name, frozenset({scope}), now=NOW)
        for name, scope in (("look", Scope.INSPECT), ("rights", Scope.PRIVACY))
    )
    http = opened(small.data_dir)
    path = f"/v1/recipients/{key_of(4)}"
    for key, code in ((inspect, 403), (privacy, 200)):
        headers = {"x-api-key": key}
        told = http.get(f"{path}/export", headers=headers)
        assert told.status_code == code
        assert http.delete(path, headers=headers).status_code == code
    assert http.delete("/v1/recipients/ann@example.org", headers=headers).status_code == 400
    (told,) = (line for line in AuditLog(small.audit_dir).lines() if line["action"] == "erased")
    assert told["actor"] == f"key:{privacy.split('_')[1]}"


def test_an_export_holds_all_that_is_known(opened, small, tmp_path, monkeypatch):
    key = key_of(4)
    http = opened(small.data_dir, sticky_days=0)
    http.post("/v1/score", json={"recipient_key": key, "send_id": "spring"})
    http.__exit__(None, None, None)
    Quarantine(small.events_dir).add([Kept("ses", NOW, "unknown_type", f'{{"key":"{key}"}}')])
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(small.data_dir))
    out = tmp_path / "out.json"
    told = CliRunner().invoke(app, ["export", key, "--out", str(out)])
    assert told.exit_code == 0, told.output
    found = orjson.loads(out.read_bytes())
    assert found["schema_version"] == 1
    assert [one["event_id"] for one in found["events"]] == [f"ev-{key}-{i}" for i in range(N_EACH)]
    assert found["events"][1]["properties"] == {"country": "DE"}
    assert found["profile"]["country"] == "DE"
    assert found["profile"]["may_be_profiled"] is True
    assert found["features"]
    assert set(found["models"]) == {"churn", "send_time", "content_preference"}
    assert 0 <= found["scores"]["p_churn"] <= 1
    assert [one["send_id"] for one in found["decisions"]] == ["spring"]
    assert len(found["quarantine"]) == 1
    assert key_of(5) not in out.read_text()


@pytest.mark.parametrize("name", ["events/log.sqlite", "online.sqlite"])
def test_no_page_that_was_split_remembers_a_key(tmp_path, name):
    """Of many keys some have copies in pages that SQLite has split; each of them is looked for."""
    settings, draws = ServingSettings(data_dir=tmp_path), random.Random(1)
    visits = [(n, i) for n in range(2_000) for i in range(4)]
    draws.shuffle(visits)
    with EventLog(settings.events_dir) as log, open_store(settings.online_address) as store:
        for first in range(0, len(visits), 400):
            part = visits[first : first + 400]
            log.append([
                event(n, i)._replace(message_key="m" * draws.randrange(80))
                for n, i in part
            ])  # fmt: skip
            sizes = [draws.randrange(60, 2_500) for _ in part]
            rows = [
                (key_of(n), first + place, NOW, bytes(size))
                for place, ((n, _), size) in enumerate(zip(part, sizes, strict=True))
            ]
            store.put(VIEW.entity, rows)
    gone = [key_of(n) for n in draws.sample(range(2_000), 600)]
    done(settings, *gone)
    raw = b"".join(file.read_bytes() for file in tmp_path.glob(f"{name}*"))
    assert [key for key in gone if key.encode() in raw] == []
    assert sum(key_of(n).encode() in raw for n in range(2_000)) == 1_400


def test_the_command_erases_many_at_once_by_a_file(small, tmp_path, monkeypatch):
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(small.data_dir))
    file = tmp_path / "people.txt"
    file.write_text("\n".join(key_of(n) for n in range(10)))
    told = CliRunner().invoke(app, ["erase", "--keys-file", str(file)])
    file.unlink()
    assert told.exit_code == 0, told.output
    assert "Erased: 10 recipients" in told.stdout
    assert "nothing is left" in " ".join(told.stdout.split())
    assert [traces(small.data_dir, key_of(n)) for n in range(10)] == [[]] * 10
    assert traces(small.data_dir, key_of(10))
    assert CliRunner().invoke(app, ["erase"]).exit_code == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_of_keys_names_the_same_people_however_it_was_saved(
    small, tmp_path, monkeypatch, encoding, end
):
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(small.data_dir))
    file = tmp_path / "people.txt"
    file.write_bytes(end.join([key_of(0), key_of(1), ""]).encode(encoding))
    told = CliRunner().invoke(app, ["erase", "--keys-file", str(file)])
    file.unlink()
    assert told.exit_code == 0, told.output
    assert [traces(small.data_dir, key_of(n)) for n in range(2)] == [[], []]
    assert "no event" not in told.stdout


@pytest.mark.parametrize("key", [" spaced", "spaced ", "\u2003spaced", "a\u2028b"])
def test_a_key_is_erased_as_it_was_stored_spaces_and_all(small, tmp_path, monkeypatch, key):
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(small.data_dir))
    own, other = (event(0, 0)._replace(event_id=f"e{n}", recipient_key=key) for n in (1, 2))
    other = other._replace(recipient_key=key.strip() + "-other")
    with EventLog(small.events_dir) as log:
        log.append([own, other])
    file = tmp_path / "people.txt"
    file.write_text(f"\n{key}\n  \n")
    told = CliRunner().invoke(app, ["erase", "--keys-file", str(file)])
    assert told.exit_code == 0, told.output
    assert "no event" not in told.stdout
    with EventLog(small.events_dir) as log:
        assert log.of_recipient(key) == []
        assert len(log.of_recipient(other.recipient_key)) == 1


def test_the_path_of_the_proof_is_whole_on_one_line_however_narrow(small, monkeypatch):
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(small.data_dir))
    monkeypatch.setattr("pipelines.privacy_commands.OUT.width", 40)
    told = CliRunner().invoke(app, ["erase", key_of(0)]).stdout
    (line,) = [line for line in told.splitlines() if line.startswith("Proof: ")]
    assert Path(line.removeprefix("Proof: ")).is_file()


def test_a_key_that_nobody_has_is_told_of_and_a_file_in_another_encoding_refused(
    small, tmp_path, monkeypatch
):
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(small.data_dir))
    told = CliRunner().invoke(app, ["erase", key_of(0), "misspelt"])
    assert told.exit_code == 0, told.output
    assert "1 of 2 keys had no event and no state" in " ".join(told.stdout.split())
    assert "1 of 1 keys" in " ".join(CliRunner().invoke(app, ["erase", key_of(0)]).stdout.split())
    file = tmp_path / "people.txt"
    file.write_bytes("r_ä".encode("utf-16"))
    wrong = CliRunner().invoke(app, ["erase", "--keys-file", str(file)])
    assert wrong.exit_code == 2
    assert "in UTF-8 with one key a line" in " ".join(wrong.stderr.split())


def test_what_is_older_than_it_may_be_kept_is_removed_and_the_rest_stays(small, monkeypatch):
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(small.data_dir))
    monkeypatch.setattr("pipelines.privacy_commands.time.time_ns", lambda: NOW * 1_000)
    small.decisions_dir.mkdir()
    small.rejects_dir.mkdir()
    for name in ("2024-06-20.1-a", "2024-07-02.1-a"):
        (small.decisions_dir / f"{name}.ndjson").write_text("{}\n")
    for age_days in (1, 40):
        file = small.rejects_dir / f"{age_days}.ndjson"
        file.write_text("{}\n")
        os.utime(file, (NOW / SECOND_US - age_days * 86_400,) * 2)
    assert "0" in CliRunner().invoke(app, ["retain"]).stdout
    with EventLog(small.events_dir) as log:
        assert log.scan().collect().height == 50 * N_EACH
    for name, days in (("EVENTS", 5), ("DECISIONS", 7), ("REJECTS", 30)):
        monkeypatch.setenv(f"OPPORTUNE_RETAIN_{name}_DAYS", str(days))
    assert CliRunner().invoke(app, ["retain"]).exit_code == 0
    first = (NOW - 5 * DAY_US) // DAY_US * DAY_US
    with EventLog(small.events_dir) as log:
        log.compact()
        left = log.scan().collect()["received_at"]
        assert 0 < len(left) < 50 * N_EACH
        assert left.min() >= first
    days = sorted(path.name for path in (small.events_dir / "parquet").glob("day=*/*.parquet"))
    assert days
    assert [file.name[:10] for file in small.decisions_dir.iterdir()] == ["2024-07-02"]
    assert [file.name for file in small.rejects_dir.iterdir()] == ["1.ndjson"]
    with sqlite3.connect(small.events_dir / "log.sqlite") as connection:
        (oldest,) = connection.execute("SELECT min(received_at) FROM events").fetchone()
    assert oldest >= first
