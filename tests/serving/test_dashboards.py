"""The dashboard and the alerts speak of metrics that there are."""

import json
import re
import time
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from pipelines.dashboard import text
from tests.serving.observed import beside, exercise, metrics_in, samples, served, total

FOLDER = Path(__file__).parents[2] / "serving/dashboards"
ALERTS = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
RULES = [rule for group in ALERTS for rule in group["rules"]]
BOARD = json.loads((FOLDER / "opportune.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [
    *((panel["title"], asked["expr"]) for panel in PANELS for asked in panel["targets"]),
    *((rule["alert"], rule["expr"]) for rule in RULES),
]
NOT_ON_THE_DASHBOARD: dict[str, str] = {}  # by name the reason
FUNCTIONS = {"sum", "max", "rate", "increase", "scalar", "vector", "histogram_quantile"}
WORDS = FUNCTIONS | {"by", "on", "or", "and", "group_left", "offset"}


@pytest.fixture(scope="module")
def page(small_world, tmp_path_factory):
    """Every sample of a service that has answered, and had a shadow answer, calls of every kind."""
    world = small_world.copy(tmp_path_factory.mktemp("dashboards") / "var")
    beside(world)
    with served(world, shadow_share=1.0) as http:
        exercise(http, world)
        until = time.monotonic() + 20
        while not total(found := samples(http), "opportune_shadow_recipients_total"):
            assert time.monotonic() < until
            time.sleep(0.05)  # the shadow answers beside us
        return found


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
def test_every_metric_and_label_is_there(page, title, expression):
    named = metrics_in(expression)
    assert named, title
    labels = set()
    for name, braces in named.items():
        found = [one for one in page if one.name == name]
        assert found, f"{title}: there is no {name}"
        labels |= {label for one in found for label in one.labels}
        for matchers in filter(None, braces):
            _matches(found, matchers, title)
    asked = set(re.findall(r"\b(?:by|on) \(([^)]+)\)", expression))
    told = {label.strip() for one in asked for label in one.split(",")}
    assert told <= labels | {"instance"}, title  # which Prometheus adds


def _matches(found, matchers, title):
    """Each matcher names a label of the metric, and what is asked for can be."""
    for label, sign, value in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', matchers):
        values = {one.labels.get(label) for one in found}
        assert None not in values, f"{title}: {label}"
        pattern = value if "~" in sign else re.escape(value)
        hits = {one for one in values if re.fullmatch(pattern, one)}
        if label == "outcome" and value == "otherwise":
            continue  # a twin says nothing else
        assert hits, f"{title}: nothing matches {matchers}"


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
def test_every_expression_is_closed_and_uses_known_words(title, expression):
    bare = re.sub(r'"[^"]*"', "", expression)
    for left, right in ("()", "{}", "[]"):
        assert bare.count(left) == bare.count(right), title
    ranges = re.findall(r"\[([^]]+)\]", bare)
    assert all(re.fullmatch(r"\$__rate_interval|\d+[mhw]", one) for one in ranges), title
    plain = re.sub(r"\[[^]]*\]|\{[^}]*\}|\b(by|on) \([^)]*\)|opportune_\w+|\b\d\S*", " ", bare)
    assert set(re.findall(r"[a-z_]+", plain)) <= WORDS, title
    counters = re.findall(r"(\w+\()?(opportune_\w+(?:_total|_count|_bucket))", bare)
    assert all(call in {"rate(", "increase("} for call, _ in counters), title


def test_every_metric_of_ours_is_on_the_dashboard(page):
    shown = {name for _, expression in EXPRESSIONS for name in metrics_in(expression)}
    stems = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}
    ours = {re.sub(r"_(bucket|count|sum)$", "", one.name) for one in page}
    ours = {name for name in ours if name.startswith("opportune_")}
    assert len(ours) > 15
    assert ours - stems == NOT_ON_THE_DASHBOARD.keys()


def test_the_dashboard_is_the_generated_one():
    assert (FOLDER / "opportune.json").read_text() == text()


def test_every_panel_says_what_to_do_and_has_a_place_of_its_own():
    numbers = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS) > 20
    for panel in PANELS:
        assert len(panel["description"]) > 60, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        sources = [panel["datasource"], *(asked["datasource"] for asked in panel["targets"])]
        assert all(one == {"type": "prometheus", "uid": "${datasource}"} for one in sources)
    places = [panel["gridPos"] for panel in BOARD["panels"]]
    assert all(one["x"] >= 0 and one["x"] + one["w"] <= 24 for one in places)
    for one, other in combinations(places, 2):
        assert (
            one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        )  # fmt: skip
    (variable,) = BOARD["templating"]["list"]
    assert (variable["name"], variable["type"]) == ("datasource", "datasource")


def test_every_alert_has_a_name_of_its_own_and_says_what_to_do():
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names) == 7
    for rule in RULES:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert re.fullmatch(r"\d+m", rule.get("for", "0m"))
