"""Alert rules speak of metrics, labels and values that the service has, and each leads to its place in the runbook."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.fixtures.service import RunningService

ROOT = Path(__file__).parents[2]
GROUPS = yaml.safe_load((ROOT / "docker" / "observe" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]

_NO_SELECTORS = re.compile(r'"[^"]*"|\[[^\]]*\]|\boffset\s+\w+|\b(?:by|on|without|ignoring)\s*\([^)]*\)')
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\b(?!\s*\()(?:\{([^}]*)\})?")
_OPERATORS = {"and", "or", "unless", "bool"}

Labels = dict[str, set[str]]


@pytest.fixture(scope="module")
def known(service: RunningService) -> dict[str, Labels]:
    """Every sample that /metrics shows, and what is recorded: name to labels to values."""
    samples: dict[str, Labels] = {}
    for family in text_string_to_metric_families(service.get("/metrics").text):
        for sample in family.samples:
            labels = samples.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    for rule in RULES:
        if "record" in rule:
            kept = set(grouped_by(rule["expr"]))
            sources = [samples[name] for name, _ in selectors(rule["expr"])]
            samples[rule["record"]] = {
                label: values for source in sources for label, values in source.items() if label in kept - {"le"}
            }
    return samples


def selectors(expression: str) -> Iterator[tuple[str, str]]:
    """Each metric that an expression names, with its matchers."""
    matchers = re.findall(r"\{[^}]*\}", expression)
    bare = _NO_SELECTORS.sub(" ", re.sub(r"\{[^}]*\}", "{}", expression))
    taken = iter(matchers)
    for match in _SELECTOR.finditer(bare):
        if match[1] not in _OPERATORS:
            yield match[1], next(taken).strip("{}") if match[2] is not None else ""


def grouped_by(expression: str) -> list[str]:
    return [label.strip() for found in re.findall(r"\bby\s*\(([^)]*)\)", expression) for label in found.split(",")]


def test_the_selectors_of_an_expression_are_found() -> None:
    expression = 'sum by (le) (rate(a_bucket{x=~"b|c"}[5m])) / d offset 1d > 0.5 and absent(e{f="g"}) or h:i'
    assert list(selectors(expression)) == [("a_bucket", 'x=~"b|c"'), ("d", ""), ("e", 'f="g"'), ("h:i", "")]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_speaks_of_what_the_service_shows(rule: dict[str, Any], known: dict[str, Labels]) -> None:
    found = list(selectors(rule["expr"]))
    assert found
    for name, matchers in found:
        assert name in known
        for label, operator, wanted in re.findall(r'(\w+)\s*(=~|=|!=|!~)\s*"([^"]*)"', matchers):
            assert operator in ("=", "=~")
            assert set(wanted.split("|")) <= known[name][label]
    assert all(any(label in known[name] for name, _ in found) for label in grouped_by(rule["expr"]))


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_means_and_where_to_read_on(rule: dict[str, Any]) -> None:
    annotations = rule["annotations"]
    assert set(annotations) == {"summary", "means", "first", "runbook"}
    assert all(annotations.values())
    assert rule["labels"]["severity"] in ("page", "ticket")
    file, _, anchor = annotations["runbook"].partition("#")
    assert anchor == rule["alert"].lower()
    assert f"\n## {rule['alert']}\n" in (ROOT / file).read_text(encoding="utf-8")


def test_the_runbook_has_no_section_without_an_alert() -> None:
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sections == [rule["alert"] for rule in ALERTS]


def test_a_latency_is_compared_with_a_bucket_that_exists(known: dict[str, Labels]) -> None:
    """Between two bounds a quantile is a guess."""
    bounds = {float(bound) for bound in known["dinrank_stage_seconds_bucket"]["le"]}
    of_latency = [rule["expr"] for rule in ALERTS if "stage_p99_seconds" in rule["expr"]]
    assert of_latency
    for expression in of_latency:
        assert float(expression.rpartition(">")[2]) in bounds
