"""The Grafana dashboard of the service, from one table of panels.

    python -m pipelines.dashboard > serving/dashboards/opportune.json

Every panel says what to look at when it is bad; a test holds each expression to a real /metrics.
"""

import json
import sys
from typing import Any, Final

from pipelines.dashboard_panels import ROWS, Panel

SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS: Final = 24
Json = dict[str, Any]


def dashboard() -> Json:
    """What Grafana 11 and later import."""
    panels: list[Json] = []
    y = 0
    for title, row in ROWS:
        place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        panels.append({
            "id": len(panels) + 1, "type": "row", "title": title, "collapsed": False,
            "gridPos": place, "panels": [],
        })  # fmt: skip
        x, y = 0, y + 1
        for panel in row:
            if x + panel.width > COLUMNS:
                x, y = 0, y + panel.height
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            panels.append(_panel(panel, number=len(panels) + 1, place=place))
            x += panel.width
        y += row[-1].height
    variable = {
        "name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus",
        "current": {}, "hide": 0, "includeAll": False, "multi": False, "options": [],
        "refresh": 1, "regex": "", "skipUrlSync": False,
    }  # fmt: skip
    return {
        "title": "Opportune", "uid": "opportune", "tags": ["opportune"], "schemaVersion": 39,
        "version": 1, "editable": True, "graphTooltip": 1, "refresh": "30s", "timezone": "browser",
        "time": {"from": "now-6h", "to": "now"}, "templating": {"list": [variable]},
        "annotations": {"list": []}, "links": [], "panels": panels,
    }  # fmt: skip


def text() -> str:
    """As the file has it."""
    return json.dumps(dashboard(), indent=1) + "\n"


def _panel(panel: Panel, *, number: int, place: dict[str, int]) -> Json:
    is_table, is_stat = panel.kind == "table", panel.kind == "stat"
    targets = [
        {
            "refId": chr(ord("A") + n), "datasource": SOURCE, "expr": expression,
            "legendFormat": legend, "instant": is_table, "range": not is_table,
            "format": "table" if is_table else "time_series",
        }
        for n, (expression, legend) in enumerate(panel.asks)
    ]  # fmt: skip
    steps = _steps(panel)
    has_bar = len(steps) > 1
    custom = {} if is_table or is_stat else {
        "fillOpacity": 10, "showPoints": "never",
        "thresholdsStyle": {"mode": "dashed" if has_bar else "off"},
    }  # fmt: skip
    defaults = {
        "unit": panel.unit, "min": 0, "custom": custom,
        "color": {"mode": "thresholds" if is_stat else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": steps},
    }  # fmt: skip
    options: Json = {"legend": {"displayMode": "list", "placement": "bottom"},
                     "tooltip": {"mode": "multi", "sort": "desc"}}  # fmt: skip
    if is_stat:
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background"}
    elif is_table:
        options = {"showHeader": True}
    told = {
        "id": number, "type": panel.kind, "title": panel.title, "description": panel.help,
        "datasource": SOURCE, "gridPos": place, "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []}, "options": options,
    }  # fmt: skip
    if is_table:
        hidden = {"excludeByName": {"Time": True}, "renameByName": {"Value": "instances"}}
        told["transformations"] = [{"id": "organize", "options": hidden}]
    return told


def _steps(panel: Panel) -> list[Json]:
    """Green up to the bar and red from there, or the other way round."""
    if panel.bad_below is not None:
        return [{"color": "red", "value": None}, {"color": "green", "value": panel.bad_below}]
    green: list[Json] = [{"color": "green", "value": None}]
    return (
        green if panel.bad_above is None else [*green, {"color": "red", "value": panel.bad_above}]
    )


if __name__ == "__main__":
    sys.stdout.write(text())
