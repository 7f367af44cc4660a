"""Laws of following MLflow: its alias decides, its absence or nonsense changes nothing."""

import os
import re
import shutil
import signal
import socketserver
import sqlite3
import tempfile
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from features.audit import AuditLog
from models.mlflow_registry import CHAMPION, Entry, MlflowRegistry
from models.registry import ModelFolder
from models.report import Measured, Report, Row
from models.specs import BY_NAME, SPECS
from pipelines.processes import free_port, running, wait_until_ready
from pipelines.run_commands import mlflow_server
from pipelines.settings import Settings
from serving.follower import TIMEOUT_S, Follower
from tests.serving.asking import score, until
from tests.serving.load import under_load

ONES = dict.fromkeys((spec.name for spec in SPECS), "1")


class Server:
    """A real MLflow server over a copy of the world's database; can be stopped and started."""

    def __init__(self, settings, port):
        self.settings, self.port = settings, port
        self.url = f"http://127.0.0.1:{port}"
        self.child = None

    @contextmanager
    def up(self):
        log = self.settings.data_dir / "mlflow-server.log"
        command = mlflow_server(self.settings, self.port)
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with running(command, environment=environment, log=log) as self.child:
            wait_until_ready(f"{self.url}/health", self.child, seconds=90, log=log)
            yield


@pytest.fixture(scope="module")
def server(small_world, tmp_path_factory):
    copy = small_world.copy(tmp_path_factory.mktemp("mlflow") / "var")
    server = Server(Settings(data_dir=copy.data_dir, tracking_uri=""), free_port(0))
    with server.up():
        yield server


@pytest.fixture
def client(server):
    """MLflow's own client on the database; the aliases as they were when the test ends."""
    client = MlflowRegistry(server.settings.mlflow_uri)._client
    yield client
    for spec in SPECS:
        client.set_registered_model_alias(spec.name, CHAMPION, "1")


@pytest.fixture
def folder(small_world, tmp_path):
    return ModelFolder(small_world.copy(tmp_path / "var").data_dir / "models")


@pytest.fixture
def follower(server, folder):
    return Follower(server.url, folder)


def family(pid):
    """A process and all that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]


def champions(folder):
    return {spec.name: folder.champion(spec.name).version for spec in SPECS}


def test_a_moved_alias_is_followed_there_and_back(client, follower, folder):
    follower()
    assert champions(folder) == ONES
    for version in ("2", "1", "2"):
        client.set_registered_model_alias("churn", CHAMPION, version)
        follower()
        assert champions(folder) == ONES | {"churn": version}
        assert follower.is_reachable


def test_a_shadow_comes_and_goes_with_its_alias_and_one_begun_by_hand_stays(
    client, follower, folder
):
    folder.begin_shadow("send_time", "1")
    for version in ("2", "1"):
        client.set_registered_model_alias("churn", "shadow", version)
        follower()
        assert folder.shadow("churn") == version
    client.delete_registered_model_alias("churn", "shadow")
    follower()
    assert (folder.shadow("churn"), folder.shadow("send_time")) == ("", "1")
    assert champions(folder) == ONES
    assert follower.is_reachable


def test_an_empty_folder_is_filled(client, server, tmp_path):
    client.set_registered_model_alias("churn", CHAMPION, "2")
    folder = ModelFolder(tmp_path / "models")
    Follower(server.url, folder)()
    assert champions(folder) == ONES | {"churn": "2"}


def test_a_deleted_alias_keeps_the_champion(client, follower, folder):
    client.delete_registered_model_alias("churn", CHAMPION)
    client.set_registered_model_alias("send_time", CHAMPION, "2")
    follower()
    assert champions(folder) == ONES | {"send_time": "2"}
    assert follower.is_reachable


def test_the_wrong_model_under_the_alias_is_refused_and_the_others_are_followed(
    client, server, follower, folder
):
    report = Report(
        model="churn", as_of="2025-01-01", test="none", gain_of="nothing",
        row=Row("swapped", {"AUC": Measured(1.0, 1.0, 1.0)}), baselines=[], parity={},
    )  # fmt: skip
    registry = MlflowRegistry(server.settings.mlflow_uri)
    swapped = folder.folder("content_preference", "1")
    wrong = registry.add(BY_NAME["churn"], swapped, Entry(report, {}, {}, {}))
    registry.promote("churn", wrong.version)
    client.set_registered_model_alias("content_preference", CHAMPION, "1")
    client.set_registered_model_alias("send_time", CHAMPION, "2")
    for _ in range(2):
        follower()
        assert champions(folder) == ONES | {"send_time": "2"}
    assert not folder.has("churn", wrong.version)
    client.set_registered_model_alias("churn", CHAMPION, "2")
    follower()
    assert champions(folder)["churn"] == "2"


def test_a_frozen_server_costs_one_timeout_and_nothing_else(server, follower, folder, eventually):
    processes = family(server.child.pid)
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        started = time.monotonic()
        follower()
        assert time.monotonic() - started < TIMEOUT_S + 2
        assert not follower.is_reachable
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)
    assert champions(folder) == ONES
    eventually(lambda: follower() or follower.is_reachable)


def test_no_mail_notices_that_the_server_stands_still_or_is_killed(
    small_world, tmp_path, start_process
):
    copy = small_world.copy(tmp_path / "var")
    server = Server(Settings(data_dir=copy.data_dir, tracking_uri=""), free_port(0))
    told = {"OPPORTUNE_MLFLOW_URL": server.url, "OPPORTUNE_POLL_S": "0.2"}
    client = MlflowRegistry(server.settings.mlflow_uri)._client
    with server.up():
        service = start_process(copy.data_dir, **told)

        def tell(how):
            for process in family(server.child.pid):
                os.kill(process, how)

        def stand_still():
            """Not in the middle of a look: MLflow's file would stay locked for as long."""
            while True:
                tell(signal.SIGSTOP)
                with closing(sqlite3.connect(copy.data_dir / "mlflow.db", timeout=0.1)) as file:
                    try:
                        file.execute("BEGIN EXCLUSIVE")
                    except sqlite3.OperationalError:
                        tell(signal.SIGCONT)
                    else:
                        file.rollback()
                        return

        def blow(how, n_lost):
            stand_still() if how is signal.SIGSTOP else tell(how)
            until(lambda: service.log.read_text().count("champions on disk go on") == n_lost)

        with under_load(service, copy):
            blow(signal.SIGSTOP, 1)
            client.set_registered_model_alias("churn", CHAMPION, "2")
            blow(signal.SIGCONT, 1)
            until(lambda: score(service, copy.people[0])["models"]["churn"] == "2")
            blow(signal.SIGKILL, 2)
            assert score(service, copy.people[0])["models"] == ONES | {"churn": "2"}


def found(body):
    return f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


ANSWERS = {
    "nothing": b"",
    "no http": b"\x00\x01garbage\r\n\r\n",
    "no json": found("{{{"),
    "a list": found("[]"),
    "a number": found("7"),
    "other keys": found('{"model_version": {}}'),
    "nulls": found('{"model_version": null}'),
    "half": b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{",
    "no bundle": found('{"model_version":{"version":"77","run_id":"none"}}'),
    "a path": found('{"model_version":{"version":"../../x","run_id":"n"}}'),
    "500": b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n",
    "403": b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n",
}  # fmt: skip


@contextmanager
def answering(raw):
    """A server that answers everything with the same bytes."""

    class Answer(socketserver.StreamRequestHandler):
        def handle(self):
            while self.rfile.readline() not in {b"\r\n", b""}:
                continue
            self.wfile.write(raw)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("raw", ANSWERS.values(), ids=ANSWERS)
def test_nonsense_from_the_server_changes_nothing(folder, raw, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch" / "deep"
    scratch.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    before = sorted(str(path) for path in folder.root.parent.rglob("*"))
    with answering(raw) as url:
        follower = Follower(url, folder)
        follower()
        follower()
    assert champions(folder) == ONES
    assert sorted(str(path) for path in folder.root.parent.rglob("*")) == before
    assert [path for path in scratch.parent.rglob("*") if path != scratch] == []


def test_a_cold_start_without_the_server_serves_from_disk(small_world, open_service):
    url = f"http://127.0.0.1:{free_port(0)}"
    world = open_service(small_world.data_dir, mlflow_url=url)
    answer = world.score(small_world.people[0])
    assert answer["fallback"]["reason"] == "none"
    assert answer["models"] == ONES


def test_a_service_starts_over_a_server_of_garbage(small_world, open_service):
    with answering(ANSWERS["no http"]) as url:
        world = open_service(small_world.data_dir, mlflow_url=url)
        assert world.score(small_world.people[0])["models"] == ONES


def test_what_an_alias_changes_is_told_once(client, server, folder):
    told = []
    follower = Follower(server.url, folder, note=told.append)
    for version in ("1", "2", "2"):
        client.set_registered_model_alias("churn", CHAMPION, version)
        follower()
    client.delete_registered_model_alias("churn", CHAMPION)
    follower()
    follower()
    client.set_registered_model_alias("churn", "shadow", "1")
    follower()
    client.delete_registered_model_alias("churn", "shadow")
    follower()
    assert told == [
        "churn 2: alias champion in place of 1",
        "churn 2: alias champion removed, it goes on serving",
        "churn 1: alias shadow",
        "churn 1: alias shadow removed",
    ]


@contextmanager
def screen(server):
    """A real browser on MLflow's screen, which may ask no other machine for anything."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no chromium or google-chrome")
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=browser, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        context = chromium.new_context(viewport={"width": 1500, "height": 950})
        context.route(
            lambda url: not url.startswith((server.url, "data:", "blob:")),
            lambda route: route.abort(),
        )
        yield context.new_page()
        chromium.close()


def flip(page, url, version, *, picture=""):
    """What a reviewer does: open the version, edit its aliases, save."""
    page.goto(f"{url}/#/models/churn/versions/{version}")
    page.get_by_role("heading", name=f"Version {version}").wait_for()
    page.get_by_title(re.compile("(Add|Edit) aliases")).click()
    dialog = page.get_by_role("dialog")
    box = dialog.get_by_role("combobox")
    box.fill(CHAMPION)
    box.press("Enter")
    dialog.get_by_title(CHAMPION).first.wait_for()
    if picture:
        page.screenshot(path=picture)
    dialog.get_by_role("button", name="Save aliases").click()
    dialog.wait_for(state="hidden")


def test_an_alias_flipped_in_mlflows_screen_serves_within_ten_seconds_and_is_audited(
    server, small_world, tmp_path, open_service, eventually
):
    """`OPPORTUNE_PICTURES=docs/images` keeps what the reviewer sees."""
    copy = small_world.copy(tmp_path / "var")
    world = open_service(copy.data_dir, mlflow_url=server.url)  # looks as often as it is set to
    key = small_world.people[0]
    assert world.score(key)["models"]["churn"] == "1"
    kept = os.environ.get("OPPORTUNE_PICTURES", "")
    with screen(server) as page:
        for version in ("2", "1"):
            picture = f"{kept}/alias.png" if kept and version == "2" else ""
            flip(page, server.url, version, picture=picture)
            flipped = time.monotonic()
            eventually(lambda version=version: world.score(key)["models"]["churn"] == version)
            assert time.monotonic() - flipped < 10
    told = [line for line in AuditLog(copy.data_dir / "audit").lines() if line["actor"] == "mlflow"]
    assert [line["object"] for line in told] == [
        "churn 2: alias champion in place of 1",
        "churn 1: alias champion in place of 2",
    ]
    assert AuditLog(copy.data_dir / "audit").verify().line == 0


def test_a_running_service_follows_and_goes_on_when_the_server_ends(
    client, server, small_world, tmp_path, open_service, eventually
):
    """Last of this file: it ends the server."""
    copy = small_world.copy(tmp_path / "var")
    world = open_service(copy.data_dir, mlflow_url=server.url, poll_s=0.05)
    key = small_world.people[0]
    assert world.score(key)["models"] == ONES
    client.set_registered_model_alias("churn", CHAMPION, "2")
    eventually(lambda: world.score(key)["models"]["churn"] == "2")
    server.child.terminate()
    server.child.wait(20)
    follower = Follower(server.url, ModelFolder(copy.data_dir / "models"))
    follower()
    assert not follower.is_reachable
    for _ in range(3):
        assert world.score(key)["models"] == ONES | {"churn": "2"}
    assert world.http.get("/readyz").json()["ready"] is True
