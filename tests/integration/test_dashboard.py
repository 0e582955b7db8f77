"""The Grafana dashboard asks for what the service has, shows all of it, and its JSON is as it was described."""

import json
import re
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures.promql import ADDED_BY_PROMETHEUS, Labels, faults, selectors

OBSERVE = Path(__file__).parents[2] / "docker" / "observe"
SCRIPT = runpy.run_path(str(OBSERVE / "dashboard.py"))
DASHBOARD: dict[str, Any] = json.loads(SCRIPT["OUT"].read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]

# What no panel shows, and why.
LEFT_OUT = {
    "process_virtual_memory_bytes": "bundles are mapped, so it says nothing about what is needed",
}


def asked(expression: str) -> str:
    """As Prometheus gets it: Grafana puts a length of time in."""
    return expression.replace("$__rate_interval", "1m")


def test_the_json_is_what_the_description_says() -> None:
    said = SCRIPT["as_text"]()
    assert SCRIPT["OUT"].read_text(encoding="utf-8") == said, (
        "run python docker/observe/dashboard.py and commit its JSON"
    )


@pytest.mark.parametrize(("title", "target"), QUERIES, ids=[f"{title} {t['refId']}" for title, t in QUERIES])
def test_a_query_asks_for_what_the_service_shows(
    title: str, target: dict[str, Any], shown_metrics: Mapping[str, Labels]
) -> None:
    expression = asked(target["expr"])
    assert faults(expression, shown_metrics) == []
    found = selectors(expression)
    for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
        # What stands on the left of a division or comparison gives the result its labels.
        kept = found[0].grouped
        assert label in (shown_metrics[found[0].name].keys() | ADDED_BY_PROMETHEUS if kept is None else kept), title


def test_the_line_for_another_bundle_asks_for_what_the_service_shows(shown_metrics: Mapping[str, Labels]) -> None:
    [annotation] = DASHBOARD["annotations"]["list"]
    assert faults(annotation["expr"], shown_metrics) == []


def test_every_metric_is_shown_or_left_out_on_purpose(shown_metrics: Mapping[str, Labels]) -> None:
    def metric(sample: str) -> str:
        return re.sub(r"_(bucket|sum|count)$", "", sample)

    shown = {metric(selector.name) for _, target in QUERIES for selector in selectors(asked(target["expr"]))}
    there = {metric(name) for name in shown_metrics if not name.startswith("dinrank:")}
    assert there - shown == LEFT_OUT.keys()


def test_every_stage_has_its_median_and_its_slowest(shown_metrics: Mapping[str, Labels]) -> None:
    for stage in shown_metrics["dinrank_stage_seconds_bucket"]["stage"]:
        of_stage = [target for _, target in QUERIES if f'{{stage="{stage}"}}' in target["expr"]]
        assert {"p50", "p95", "p99"} <= {target["legendFormat"] for target in of_stage}


def test_panels_neither_overlap_nor_leave_the_page() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_a_panel_says_what_it_shows() -> None:
    assert all(panel["description"].endswith(".") for panel in PANELS)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)


@pytest.mark.parametrize(
    ("panel", "fault"),
    [
        ({"size": 24}, "unknown size"),
        ({"width": 23}, "do not fill their lines"),
    ],
)
def test_a_description_that_nothing_reads_is_refused(panel: dict[str, Any], fault: str) -> None:
    whole = {"title": "t", "says": "s.", "unit": "s", "width": 24, "queries": {"q": "up"}}
    with pytest.raises(ValueError, match=fault):
        SCRIPT["dashboard"]([{"title": "row", "panels": [whole | panel]}])


def test_compose_gives_prometheus_and_grafana_the_files_that_are_there() -> None:
    root = OBSERVE.parents[1]
    services = yaml.safe_load((root / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    mounted = [volume.split(":") for name in ("prometheus", "grafana") for volume in services[name]["volumes"]]
    files = {inside: root / outside for outside, inside, *_ in mounted if outside.startswith("./")}
    assert all(mode == ["ro"] for outside, _, *mode in mounted if outside.startswith("./"))
    config = yaml.safe_load(files["/etc/prometheus/prometheus.yml"].read_text(encoding="utf-8"))
    assert all(f"/etc/prometheus/{name}" in files for name in config["rule_files"])
    [[target]] = [each["targets"] for scrape in config["scrape_configs"] for each in scrape["static_configs"]]
    assert target == "service:8000"
    assert services["service"]["ports"] == ["127.0.0.1:8000:8000"]
    provisioning = files["/etc/grafana/provisioning"]
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text("utf-8"))["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == config["global"]["scrape_interval"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert provisioning / Path(home).relative_to("/etc/grafana/provisioning") == SCRIPT["OUT"]
