"""The page of one recipient: it tells what the routes tell, and is safe to look at."""

import base64
import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import httpx2
import numpy as np
import orjson
import pytest
from PIL import Image
from starlette.testclient import TestClient

from features.events.log import EventLog
from features.events.schema import DAY_US, SECOND_US, EventType
from features.layout import slot_of_hour
from serving.decided import decided
from serving.explanation import DAYS
from serving.fallback import FallbackReason
from serving.holding import HoldReason
from serving.http import page_words
from serving.http.app import create_app
from serving.http.looks import LAST
from serving.http.page_format import number, percent, points, span
from serving.http.page_pictures import LEVELS, heat_map
from serving.keys import KeyFile, Scope
from serving.policy import ReasonCode
from serving.rules import Binding
from serving.settings import ServingSettings
from serving.zones import ZoneSource
from tests.serving.conftest import PATIENT_MS, PERSONAL, World, starting

NASTY = "<script>alert(1)</script>\"'&/../<img src=x onerror=alert(2)>"
DRY = {"explore": False, "test": True}
BASIC = 'Basic realm="Opportune"'


class Page(HTMLParser):
    """A page as a reader meets it: elements, text, tables by caption with exact numbers."""

    def __init__(self, answer):
        super().__init__()
        self.elements, self.text, self.tables, self.open = [], "", {}, []
        self.style = ""
        self._rows, self._caption, self._cell = [], "", None
        self.feed(answer.text)

    def handle_starttag(self, tag, attrs):
        told = dict(attrs)
        self.elements.append((tag, told))
        self.open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in {"td", "th"}:
            self._rows[-1].append({"text": "", "exact": []})
            self._cell = self._rows[-1][-1]
        elif tag in {"data", "time"} and self._cell is not None:
            self._cell["exact"].append(told.get("value") or told["datetime"])

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass
        if tag == "table":
            self.tables[self._caption] = self._rows
        elif tag in {"td", "th"}:
            self._cell = None

    def handle_data(self, data):
        if "style" in self.open:
            self.style += data
            return
        self.text += data
        if "caption" in self.open:
            self._caption += data
        elif self._cell is not None and "title" not in self.open:
            self._cell["text"] += data

    def table(self, beginning):
        (rows,) = [rows for caption, rows in self.tables.items() if caption.startswith(beginning)]
        return rows[1:]


@pytest.fixture(scope="module")
def world(small_world) -> Iterator[World]:
    """Over the shared world, whose clock stands; nothing is written to it."""
    more = {"decision_log": False, "sticky_days": 0, "deadline_ms": PATIENT_MS, **PERSONAL}
    settings = ServingSettings(data_dir=small_world.data_dir, mlflow_url="", **more)
    with ExitStack() as stack:
        app = create_app(settings, clock=lambda: small_world.now)
        client = TestClient(app, raise_server_exceptions=False, follow_redirects=False)
        yield World(stack.enter_context(client), small_world.data_dir)


@pytest.fixture(scope="module")
def process(small_world, tmp_path_factory):
    """The real service over a copy, with everything on, as people run it."""
    copy = small_world.copy(tmp_path_factory.mktemp("pages") / "var")
    with starting() as start:
        yield start(copy.data_dir)


def path_of(key):
    return f"/inspect/{quote(key, safe='')}"


def looked(world, key, status=200):
    answer = world.http.get(path_of(key))
    assert answer.status_code == status, answer.text
    return Page(answer)


def test_it_holds_what_the_route_for_programs_tells(small_world, world):
    for key in (small_world.people[0], small_world.people[40], small_world.people[-1]):
        told = world.http.get(f"/v1/recipients/{key}").json()
        page = looked(world, key)
        captions = ("Engagement", "Recency", "Intent", "Mail pressure", "Reading")
        rows = [row for caption in captions for row in page.table(caption)]
        shown = {name["text"]: (value, unit["text"]) for name, value, unit in rows}
        assert len(shown) == len(rows)
        assert shown.keys() == {one["name"] for one in told["features"]} | set(told["missing"])
        for one in told["features"]:
            value, unit = shown[one["name"]]
            assert ([float(v) for v in value["exact"]], unit) == ([one["value"]], one["unit"])
        assert all(shown[name][0]["text"] == "missing" for name in told["missing"])

        events = page.table(f"The last {LAST}")
        assert [row[0]["exact"] for row in events] == [[e["occurred_at"]] for e in told["events"]]
        for row, event in zip(events, told["events"], strict=True):
            said = [cell["text"] for cell in row[1:]]
            assert (said[0], said[1]) == (event["type"], event["actor"])
            assert said[2] == ("".join(event["actor_reasons"]) or "none")
            assert said[3:] == [event["content_id"], event["send_id"]]
        if told["churn"]["effects"]:
            effects = [float(row[1]["exact"][0]) for row in page.table("Points")]
            assert effects == [one["effect"] for one in told["churn"]["effects"]]
        assert (
            f"clock of {told['tz']} ({page_words.ZONE[ZoneSource(told['tz_source'])]})" in page.text
        )
        assert f"{100 * told['churn']['p_churn']:.1f}" in page.text


def test_the_last_point_of_a_line_is_the_feature_and_bars_are_counts(small_world, world):
    now = small_world.now
    for key in small_world.people[:3]:
        values = {
            f["name"]: f["value"]
            for f in world.http.get(f"/v1/recipients/{key}").json()["features"]
        }
        page = looked(world, key)
        figures = re.findall(
            r"<code>(\w+)</code>.*?<data value=\"([^\"]+)\"",
            world.http.get(path_of(key)).text,
            re.DOTALL,
        )
        told = {name: float(value) for name, value in figures[:10]}
        for name in ("active_hl7d", "active_hl30d", "active_hl120d", "delivered_hl7d",
                     "active_velocity_hl7d_hl60d"):  # fmt: skip
            assert told[name] == pytest.approx(values[name], rel=1e-5), name
        with EventLog(small_world.data_dir / "events") as log:
            recent = [e for e in log.of_recipient(key) if e.occurred_at > now - 7 * DAY_US]
        assert told["delivered"] == sum(e.type is EventType.DELIVERED for e in recent)
        assert "Pace over 26 weeks" in page.text


def test_each_what_if_is_what_the_service_answers_when_it_is_really_asked(small_world, world):
    key = small_world.people[0]
    rows = {row[0]["text"]: row[1:] for row in looked(world, key).table("Each row is scored")}
    usual = world.score(key, **DRY)
    tz, now = usual["send_time"]["tz"], small_world.now // SECOND_US
    own = {
        question: cells[2]["exact"][0] for question, cells in rows.items() if "own hour" in question
    }
    asked = {
        "nothing were different": {},
        "quiet hours from 21:00 to 08:00 on their clock": {
            "rules": {"quiet_hours": {"start": "21:00", "end": "08:00"}}
        },
        "any hour of the next 7 days": {"window_to": now + 7 * 86_400},
        "an unsubscribe cost 50 engagements, a complaint 500": {
            "values": {"engagement": 1, "unsubscribe": 50, "complaint": 500}
        },
        **{question: {"default_at": at} for question, at in own.items()},
    }
    assert len(own) == 2
    for question, more in asked.items():
        hour, p, default, _, then, value, churn = rows.pop(question)
        answer = world.score(key, timezone=tz, **more, **DRY)
        when = answer["send_time"]
        assert hour["exact"][0] == utc(when["best_at_epoch"]), question
        assert default["exact"][0] == utc(when["default_at_epoch"]), question
        assert float(p["exact"][0]) == when["p_engage"], question
        assert then["text"] == page_words.HOLD[HoldReason(answer["hold"]["reason"])]
        assert float(value["exact"][0]) == answer["hold"]["value"]
        assert float(churn["exact"][0]) == answer["churn"]["p_churn"]
    stranger = world.score("nobody-yet", **DRY)
    assert (
        float(rows.pop("nothing were known of them")[6]["exact"][0]) == stranger["churn"]["p_churn"]
    )
    held = rows.pop("they were held out")
    assert held[0]["exact"] == held[2]["exact"]
    assert float(rows.pop("the churn model were switched off")[6]["exact"][0]) == 0.5
    assert len(rows) == 1


def utc(epoch):
    return np.datetime64(epoch, "s").item().isoformat() + "+00:00"


def test_the_best_and_the_default_hour_are_marked_in_their_cells():
    week = np.zeros(168)
    week[slot_of_hour(0)] = 2.0
    drawn = heat_map(week, title="t", unit="u", marks={"a": 3, "b": slot_of_hour(0)})
    assert [cell.marks for cell in drawn.cells if cell.marks] == [("a",), ("b",)]
    assert [cell.level for cell in drawn.cells if cell.level] == [LEVELS]
    assert drawn.cells[slot_of_hour(0)].title == "Thursday 00:00, 2 u, b"
    assert len({(cell.x, cell.y) for cell in drawn.cells}) == 168


def test_the_marks_are_at_the_hours_of_the_answer(small_world, world):
    for key in small_world.people[:5]:
        when = world.score(key, **DRY)["send_time"]
        text = world.http.get(path_of(key)).text
        for name, at in (("best hour", when["best_at"]), ("default hour", when["default_at"])):
            local = datetime.fromisoformat(at)
            cell = f"<title>{DAYS[local.weekday()]} {local.hour:02}:00, [^<]*{name}[^<]*</title>"
            assert len(re.findall(cell, text)) == 2
            assert len(re.findall(rf"<title>[^<]*day \d\d:00[^<]*{name}", text)) == 2


def test_who_is_held_out_is_told_so_and_what_mails_get(small_world, open_service):
    world = open_service(small_world.data_dir, holdout=1.0, holdout_salt="all")
    key = small_world.people[0]
    page = looked(world, key)
    assert "yesmails get the sender's own hour" in page.text
    (row,) = [row for row in page.table("Each row is scored") if "as mails are" in row[0]["text"]]
    real = world.score(key)
    assert real["arm"] == "holdout"
    assert row[1]["exact"] == [utc(real["send_time"]["best_at_epoch"])]
    assert row[4]["text"] == page_words.BINDING[Binding(real["send_time"]["binding_constraint"])]


def test_what_is_switched_off_is_said(small_world, world):
    page = looked(world, small_world.people[0])
    assert "The log of decisions is switched off" in page.text
    assert "Decisions are not kept" in page.text


def test_lines_of_an_older_form_are_counted_and_not_shown(small_world, tmp_path, open_service):
    copy = small_world.copy(tmp_path / "var")
    (copy.data_dir / "decisions").mkdir()
    old = orjson.dumps({"version": 1, "recipient_key": copy.people[0], "at": small_world.now})
    (copy.data_dir / "decisions/2025-11-07.1-a.ndjson").write_bytes(old + b"\n")
    page = looked(open_service(copy.data_dir, decision_log=True), copy.people[0])
    assert "1 of an older form" in page.text


def test_numbers_are_short_to_read_and_whole_to_copy():
    assert percent(0.0512).striptags() == "5.1 %"
    assert percent(0.000213).striptags() == "0.021 %"
    assert percent(0.0).striptags() == "0 %"
    assert str(number(1 / 3)) == f'<data value="{1 / 3}">0.3333</data>'
    assert (points(0.2), points(-0.031)) == ("+20.0", "\u22123.1")
    assert [span(s) for s in (0, 59, 60, 7_200, 172_800)] == ["0 s", "59 s", "1 min", "2 h", "2 d"]


def test_little_evidence_is_said(small_world, tmp_path, open_service):
    world = open_service(tmp_path / "var")
    at = small_world.now // SECOND_US - 90
    world.events({"event_id": "1", "type": "clicked", "recipient_key": "new", "occurred_at": at})
    page = looked(world, "new")
    assert "Too little evidence: 1 active hours, fewer than three" in page.text
    assert "clock of UTC (unknown, so UTC)" in page.text
    assert page_words.FALLBACK[FallbackReason.NO_MODEL] in page.text


def test_everything_is_escaped_and_the_policy_allows_just_what_is_there(
    small_world, tmp_path, open_service
):
    world = open_service(tmp_path / "var", decision_log=True, sticky_days=30)
    event = {
        "event_id": "1", "type": "clicked", "recipient_key": NASTY, "content_id": NASTY,
        "send_id": NASTY, "timezone": "Asia/Tokyo",
        "occurred_at": small_world.now // SECOND_US - 60,
    }  # fmt: skip
    world.events(event)
    world.score(NASTY, send_id=NASTY, candidates=[{"content_id": NASTY}])
    answer = world.http.get(path_of(NASTY))
    page = Page(answer)
    assert page.text.count(NASTY) >= 4
    assert answer.text.count("<script") == answer.text.count("<img") == 0
    policy = dict(
        part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; ")
    )
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert policy == {
        "default-src": "'none'", "style-src": f"'sha256-{digest}'", "img-src": "'self' data:",
        "base-uri": "'none'", "form-action": "'self'", "frame-ancestors": "'none'",
    }  # fmt: skip
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    for tag, attrs in page.elements:
        assert not [name for name in attrs if name.startswith("on") or name in {"style", "src"}], (
            tag
        )
        assert attrs.get("href", "/inspect") in {"/inspect", "data:,"}
        assert attrs.get("action", "/inspect") == "/inspect"


def test_a_screen_reader_finds_headings_and_titles(small_world, world):
    answer = world.http.get(path_of(small_world.people[0]))
    page = Page(answer)
    assert len(page.tables) == answer.text.count("<table")
    for caption, rows in page.tables.items():
        assert caption
        assert all(cell["text"] for cell in rows[0])
    for svg in re.findall(r"<svg.*?</svg>", answer.text, re.DOTALL):
        assert "<title" in svg or 'aria-hidden="true"' in svg
    headings = [tag for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert headings[0] == "h1"
    assert headings.count("h1") == 1
    assert all(int(b[1]) - int(a[1]) <= 1 for a, b in pairwise(headings))


def test_a_stranger_gets_a_page_and_an_address_is_not_repeated(world):
    for key in ("nobody", "%00", "a/b", "", "..%2F..%2Fetc%2Fpasswd", "%F0%9F%90%9F", "jane@x.org"):
        answer = world.http.get(f"/inspect/{key}")
        assert (answer.status_code, answer.headers["content-type"][:9]) == (404, "text/html")
        assert "Nobody is known by this key" in answer.text
        assert "jane" not in answer.text
    asked = world.http.get("/inspect", params={"recipient_key": "jane@x.org"})
    assert asked.status_code == 400
    assert "jane" not in asked.text
    assert world.http.get("/inspect", params={"recipient_key": ".."}).status_code == 404
    assert world.http.get("/inspect", params={"recipient_key": "k" * 257}).status_code == 400
    assert "<form" in world.http.get("/inspect").text


@pytest.mark.parametrize("key", ["r_1", "a/b", "//evil.example", NASTY, "?x#y %2F"])
def test_the_form_leads_to_the_page_of_just_that_key(world, key):
    answer = world.http.get("/inspect", params={"recipient_key": f" {key} "})
    assert (answer.status_code, answer.headers["location"]) == (303, path_of(key))


def test_with_the_store_gone_the_page_says_so_and_still_tells_the_events(
    small_world, tmp_path, open_service
):
    copy = small_world.copy(tmp_path / "var")
    for file in copy.data_dir.glob("online.sqlite-*"):
        file.unlink()
    (copy.data_dir / "online.sqlite").write_bytes(b"garbage " * 4_096)
    page = looked(open_service(copy.data_dir), copy.people[0])
    assert page_words.FALLBACK[FallbackReason.STORE_UNAVAILABLE] in page.text
    assert len(page.table(f"The last {LAST}")) == LAST
    assert "Engagement" not in page.tables


def basic(key, name="anybody"):
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{key}".encode()).decode()}


def test_a_browser_may_send_the_key_as_a_password_and_to_pages_only(tmp_path):
    keys = KeyFile(tmp_path / "keys.json")
    inspect, score = (
        keys.add(s.value, frozenset({s}), now=1) for s in (Scope.INSPECT, Scope.SCORE)
    )
    settings = ServingSettings(data_dir=tmp_path)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        wrong = [
            {}, basic(inspect[:-1]), basic(""), {"authorization": "Basic"},
            {"authorization": "Basic ???"}, {"authorization": f"Basic {inspect}"},
            basic(inspect) | {"x-api-key": score},
        ]  # fmt: skip
        for path, known in (("/inspect", 200), ("/inspect/nobody", 404)):
            for headers in wrong:
                answer = client.get(path, headers=headers)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == BASIC
                assert "An API key is needed" in answer.text
            for headers in (
                basic(inspect), basic(inspect, name=""), {"x-api-key": inspect},
                {"authorization": f"Bearer {inspect}"}, basic(inspect) | {"x-api-key": inspect},
            ):  # fmt: skip
                answer = client.get(path, headers=headers)
                assert (answer.status_code, inspect in answer.text) == (known, False)
            refused = client.get(path, headers=basic(score))
            assert (refused.status_code, "www-authenticate" in refused.headers) == (403, False)
            assert "This key may not look" in refused.text
        for path in ("/v1/recipients/nobody", "/v1/models"):
            answer = client.get(path, headers=basic(inspect))
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.headers["content-type"] == "application/problem+json"
        assert not [p for p in client.get("/openapi.json").json()["paths"] if "inspect" in p]


def lines_of(folder):
    return b"".join(file.read_bytes() for file in sorted(folder.glob("*.ndjson"))).splitlines()


def test_a_decision_is_there_once_it_was_asked_for_and_looking_makes_none(
    small_world, process, eventually
):
    key, folder = small_world.people[0], process.data_dir / "decisions"
    items = small_world.candidates
    made = [
        process.score(key, send_id=f"page-{n}", candidates=items, slot="top") for n in (1, 1, 2)
    ]
    eventually(lambda: len(lines_of(folder)) >= 3)
    before = lines_of(folder)
    page = Page(httpx2.get(process.url + path_of(key)))
    rows = page.table("The newest")
    assert [row[1]["text"] for row in rows] == [
        f"page-{n}, top{made[n]['decision_id'][:8]}" for n in (2, 1)
    ]
    newest, when = made[2], made[2]["send_time"]
    _, _, hour, p, why, hold, item, how, chances, churn, by = rows[0]
    assert hour["exact"][0] == utc(when["best_at_epoch"])
    assert [float(v) for v in p["exact"]] == [when["p_engage"], when["p_engage_default"]]
    assert why["text"].startswith(when["binding_constraint"])
    assert hold["text"].startswith(newest["hold"]["reason"])
    assert item["text"] == newest["content"]["variant"]
    assert how["text"].startswith(newest["arm"])
    assert "kept" in how["text"]
    assert [float(v) for v in chances["exact"]] == [
        when["propensity"], newest["content"]["propensity"], newest["hold"]["propensity"],
    ]  # fmt: skip
    assert float(churn["exact"][0]) == newest["churn"]["p_churn"]
    assert f"churn {newest['models']['churn']}" in by["text"]
    assert "2 times, this the last" in rows[1][0]["text"]
    kept = page.table("What these mails get again")
    assert {row[0]["text"] for row in kept} == {row[1]["text"] for row in rows}
    assert kept[0][3]["text"].split()[0] == newest["content"]["variant"]
    assert lines_of(folder) == before


def test_the_search_for_decisions_is_bounded_and_says_so(tmp_path):
    def line(n, key="r", **more):
        return orjson.dumps({"recipient_key": key, "at": n, **more}) + b"\n"

    def write(name, *lines):
        (tmp_path / f"{name}.ndjson").write_bytes(b"".join(lines))

    write("2025-11-06.a", *(line(n) for n in range(10)))
    write("2025-11-07.a", line(12), line(14), b'{"recipient_key":"r","at":9')  # torn
    write("2025-11-07.b", line(11), line(13), line(15, "other", send_id="r"), b"")
    whole = decided(tmp_path, "r")
    assert [record["at"] for record in whole.records] == [14, 13, 12, 11, *reversed(range(10))]
    assert (whole.n_lines, whole.is_whole) == (16, True)
    some = decided(tmp_path, "r", most=4)
    assert ([record["at"] for record in some.records], some.is_whole) == ([14, 13, 12, 11], False)
    few = decided(tmp_path, "r", most_bytes=100)
    assert (few.n_lines <= 4, few.is_whole) == (True, False)
    assert decided(tmp_path / "none", "r").is_whole
    write("2025-11-08.c", *(line(n, "x" * 300) for n in range(3_000)), line(99))
    assert decided(tmp_path, "r").records[0]["at"] == 99  # over several blocks
    assert decided(tmp_path, "r").n_lines == 16 + 3_001


def test_every_word_of_a_closed_set_is_said():
    said = {
        Binding: page_words.BINDING, HoldReason: page_words.HOLD, ReasonCode: page_words.REASON,
        FallbackReason: page_words.FALLBACK, ZoneSource: page_words.ZONE,
    }  # fmt: skip
    for closed, words in said.items():
        assert set(closed) == words.keys()


def screenshot(url, tmp_path, *, size):
    """What a real browser paints, and what it complains of."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no chromium or google-chrome")
    picture = tmp_path / "page.png"
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}",
            f"--screenshot={picture}", f"--window-size={size}", url,
        ],
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line or "Refused" in line]
    return Image.open(picture).convert("RGB"), said


def test_a_real_browser_paints_it_without_a_complaint(small_world, process, tmp_path):
    picture, said = screenshot(
        process.url + path_of(small_world.people[0]), tmp_path, size="1280,1600"
    )
    assert said == []
    assert picture.size == (1280, 1600)
    painted = np.asarray(picture)
    shades = {tuple(colour) for colour in painted[::4, ::4].reshape(-1, 3).tolist()}
    assert len(shades) > 50
    for level in re.findall(
        r"--l\d: #(\w{6})", (Path(page_words.__file__).parent / "templates/page.css").read_text()
    )[:7]:
        assert tuple(bytes.fromhex(level)) in shades, f"no cell or legend has the colour {level}"
