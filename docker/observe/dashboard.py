"""Build Grafana's JSON from dashboard.toml: `python docker/observe/dashboard.py`."""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SOURCE, OUT = HERE / "dashboard.toml", HERE / "grafana" / "dashboards" / "dinrank.json"
NUM_COLUMNS, WIDTH = 24, 8
HEADER_HEIGHT, HEIGHTS = 1, {"stat": 4, "timeseries": 8, "table": 8}
KEYS = {"title", "says", "unit", "queries", "width", "kind", "stacked", "below_zero"}
# The Prometheus chosen at the top of the page; Grafana starts with its default one.
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# A line through every panel when another bundle starts to serve.
SWAPS = 'sum(increase(dinrank_reloads_total{outcome="swapped"}[1m])) > 0'

Json = dict[str, Any]


def dashboard(rows: Sequence[Mapping[str, Any]]) -> Json:
    """Build Grafana's classic model, for provisioning and import."""
    swapped = {
        "name": "another bundle",
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": "purple",
        "expr": SWAPS,
        "step": "1m",
        "titleFormat": "another bundle serves",
    }
    return {
        "uid": "dinrank",
        "title": "dinrank",
        "description": "Ranking requests, their latency, predicted CTRs, models and workers.",
        "tags": ["dinrank"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,  # one crosshair for all
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus", "hide": 0}]},
        "annotations": {"list": [swapped]},
        "panels": [{"id": number, **each} for number, each in enumerate(_laid_out(rows), start=1)],
    }


def _laid_out(rows: Sequence[Mapping[str, Any]]) -> Iterator[Json]:
    """Lay out rows one below the other, their panels side by side until the width is full.

    Raises:
        ValueError: a panel has an unknown key, or a row's panels do not fill their lines.
    """
    top = 0
    for row in rows:
        place = {"x": 0, "y": top, "w": NUM_COLUMNS, "h": HEADER_HEIGHT}
        yield {"type": "row", "title": row["title"], "collapsed": False, "gridPos": place, "panels": []}
        top, left = top + HEADER_HEIGHT, 0
        for panel in row["panels"]:
            if unknown := panel.keys() - KEYS:
                raise ValueError(f"{panel['title']}: unknown {', '.join(sorted(unknown))}")
            width, height = panel.get("width", WIDTH), HEIGHTS[_kind(panel)]
            yield _panel(panel, {"x": left, "y": top, "w": width, "h": height})
            left += width
            if left == NUM_COLUMNS:
                top, left = top + height, 0
        if left != 0:
            raise ValueError(f"the panels of {row['title']} do not fill their lines of {NUM_COLUMNS} columns")


def _panel(panel: Mapping[str, Any], place: Json) -> Json:
    kind = _kind(panel)
    queries = [_query(kind, *query, chr(ord("A") + number)) for number, query in enumerate(panel["queries"].items())]
    made: Json = {
        "type": kind,
        "title": panel["title"],
        "description": panel["says"],
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel["unit"], "noValue": "none"}, "overrides": []},
        "targets": queries,
    }
    if kind == "timeseries":
        drawn: Json = {"lineWidth": 1, "fillOpacity": 5}
        if panel.get("stacked", False):
            drawn |= {"fillOpacity": 30, "stacking": {"mode": "normal", "group": "A"}}
        made["fieldConfig"]["defaults"] |= {"custom": drawn}
        if not panel.get("below_zero", False):
            made["fieldConfig"]["defaults"]["min"] = 0
        made["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    if kind == "table":
        hidden = {"Time": True, "Value": True}
        made["transformations"] = [{"id": "organize", "options": {"excludeByName": hidden}}]
    return made


def _query(kind: str, legend: str, expression: str, letter: str) -> Json:
    made: Json = {"refId": letter, "datasource": DATASOURCE, "expr": expression.strip(), "legendFormat": legend}
    if kind == "table":
        made |= {"instant": True, "range": False, "format": "table"}
    return made


def _kind(panel: Mapping[str, Any]) -> str:
    kind: str = panel.get("kind", "timeseries")
    return kind


def as_text() -> str:
    """Return the contents of the JSON file."""
    rows = tomllib.loads(SOURCE.read_text(encoding="utf-8"))["rows"]
    return json.dumps(dashboard(rows), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    OUT.write_text(as_text(), encoding="utf-8")
