"""What was answered is in the log, once it is written whole; writing it never breaks an answer."""

import resource
import shutil
import signal
import time

import httpx2
import psutil
import pytest

from features import decisions
from features.events.schema import DAY_US
from serving.decision_log import DecisionLog, Lost
from tests.serving.load import Sender

PARTS = ("send_time", "churn", "content_preference")


@pytest.fixture
def copied(small_world, tmp_path):
    return small_world.copy(tmp_path / "var")


@pytest.fixture
def service(copied, start_process):
    return start_process(copied.data_dir)


def rows(data_dir):
    return decisions.read(data_dir / "decisions").collect().to_dicts()


def lost(service):
    page = httpx2.get(f"{service.url}/metrics").text
    told = [line for line in page.splitlines() if line.startswith("opportune_decisions_lost_total")]
    return {line.split('"')[1]: float(line.rsplit(" ", 1)[1]) for line in told}


def is_what_was_answered(row, answer, *, is_test=False):
    assert row["decision_id"] == answer["decision_id"]
    assert row["recipient_key"] == answer["recipient_key"]
    assert row["send_id"] == answer["send_id"]
    hour, content = answer["send_time"], answer["content"]
    assert (row["best_at"], row["default_at"]) == (hour["best_at_epoch"], hour["default_at_epoch"])
    assert row["variant"] == content["variant"] or not content["ranking"]
    assert (row["propensity"], row["explored"]) == (content["propensity"], content["explored"])
    assert row["candidates"] == [one["content_id"] for one in content["ranking"]]
    assert row["p_click"] == [one["p_click"] for one in content["ranking"]]
    assert {name: row[f"{name}_version"] for name in PARTS} == answer["models"]
    assert (row["policy"], row["fallback"]) == (answer["policy"], answer["fallback"]["reason"])
    assert row["is_test"] == is_test


def test_every_answer_is_a_row_also_the_last_ones_before_the_end(copied, service):
    told = [service.score(k, candidates=copied.candidates) for k in copied.people[:5]]
    told.append(service.score("nobody", send_id="s", test=True))
    told.append(service.score("nobody", send_id="dry", explore=False))
    requests = [{"recipient_key": key} for key in copied.people[5:8]] + [{"bad": 1}]
    batch = service.post("/v1/score:batch", {"requests": requests}).json()["results"]
    service.stop()
    found = rows(copied.data_dir)
    for row, answer in zip(found, told + batch[:3], strict=True):
        is_what_was_answered(row, answer, is_test=answer["recipient_key"] == "nobody")
    (file,) = (copied.data_dir / "decisions").iterdir()
    assert abs(found[0]["at"] / 1e6 - file.stat().st_mtime) < 60


def test_an_address_is_answered_and_never_written_down(copied, service):
    """`event schema` refuses it as a key; a mail that is asked for by one must still go out."""
    told = service.score("ann@example.com", send_id="s", candidates=copied.candidates)
    assert told["fallback"]["reason"] == "unknown_recipient"
    assert lost(service)["address"] == 1
    service.score("r")
    service.stop()
    assert [row["recipient_key"] for row in rows(copied.data_dir)] == ["r"]
    files = [file for file in copied.data_dir.rglob("*") if file.is_file()]
    assert not [file for file in files if b"ann@example.com" in file.read_bytes()]


def test_a_test_recipient_gets_the_same_answer(small_world, open_service):
    world = open_service(small_world.data_dir, decision_log=False)
    body = {"candidates": small_world.candidates, "send_id": "s"}
    for key in small_world.people[:40]:
        assert world.score(key, test=True, **body) == world.score(key, **body)


def test_without_the_log_there_is_no_folder(copied, open_service):
    open_service(copied.data_dir, decision_log=False).score("r")
    assert not (copied.data_dir / "decisions").exists()


def test_what_was_torn_by_a_kill_is_left_out_and_the_rest_is_read(copied, service, eventually):
    answers = [service.score(key) for key in copied.people[:50]]
    eventually(lambda: len(rows(copied.data_dir)) == 50)
    service.stop(signal.SIGKILL)
    (file,) = (copied.data_dir / "decisions").iterdir()
    whole = file.read_bytes()
    last = whole.rindex(b"\n", 0, -1)
    for cut in (last + 1, last + 2, (last + len(whole)) // 2, len(whole) - 1):
        file.write_bytes(whole[:cut])
        found = rows(copied.data_dir)
        assert [row["decision_id"] for row in found] == [a["decision_id"] for a in answers[:49]]
    service.start()
    service.score("r-again")
    service.stop()
    found = rows(copied.data_dir)
    assert {row["recipient_key"] for row in found[-1:] + found[:1]} >= {"r-again"}
    assert len(found) == 50
    file.write_bytes(b"")
    assert len(rows(copied.data_dir)) == 1


def test_a_full_disk_costs_lines_and_no_answer(copied, service, eventually):
    """The limit on the size of files stands for the disk: nothing more can be appended."""
    folder = copied.data_dir / "decisions"
    service.score("before")
    (file,) = eventually(lambda: [f for f in folder.glob("*") if f.stat().st_size])
    limit = file.stat().st_size + 1_000  # in the middle of a line
    process = psutil.Process(service.child.pid)
    process.rlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    sender = Sender(service.url, [{"recipient_key": "r"}], per_s=200)
    eventually(lambda: lost(service).get(Lost.NOT_WRITTEN, 0) > 100)
    process.rlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    time.sleep(0.5)  # more calls, now with room
    told = sender.stop()
    assert (told.not_200, told.incomplete) == ([], [])
    service.score("after")
    n_lost = lost(service)[Lost.NOT_WRITTEN]
    service.stop()
    found = rows(copied.data_dir)
    assert len(found) == told.n + 2 - n_lost
    assert (found[0]["recipient_key"], found[-1]["recipient_key"]) == ("before", "after")


def test_a_folder_that_cannot_be_made_or_goes_costs_lines_only(copied, start_process, eventually):
    folder = copied.data_dir / "decisions"
    folder.write_text("in the way")
    service = start_process(copied.data_dir)
    service.score("a")
    eventually(lambda: lost(service).get(Lost.NOT_WRITTEN) == 1)
    folder.unlink()
    service.score("b")
    eventually(lambda: [row["recipient_key"] for row in rows(copied.data_dir)] == ["b"])
    shutil.rmtree(folder)
    service.score("c")
    eventually(lambda: [row["recipient_key"] for row in rows(copied.data_dir)] == ["c"])


def test_a_full_queue_drops_and_counts(tmp_path):
    told = []
    log = DecisionLog(tmp_path, lost=lambda why, n: told.append((why, n)), room=10)
    for n in range(25):
        log.add({"version": 1, "at": n, "decision_id": str(n)})
    assert told == [(Lost.QUEUE_FULL, 1)] * 15
    log.start()
    log.stop()
    assert decisions.read(tmp_path).collect()["decision_id"].to_list() == list("0123456789")


def test_each_day_and_each_start_has_a_file_of_its_own(tmp_path):
    for _ in range(2):
        log = DecisionLog(tmp_path, lost=lambda *_: None)
        for day in (0, 1, 1):
            log.add({"at": day * DAY_US + 1, "decision_id": "d"})
        log.start()
        log.stop()
    names = sorted(file.name.split(".")[0] for file in tmp_path.iterdir())
    assert names == ["1970-01-01", "1970-01-01", "1970-01-02", "1970-01-02"]
    assert decisions.read(tmp_path).collect().height == 6
    assert decisions.read(tmp_path / "none").collect().schema == decisions.SCHEMA
