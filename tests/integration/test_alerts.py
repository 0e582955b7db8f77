"""Alert rules speak of metrics, labels and values that the service has, and each leads to its place in the runbook."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.promql import ALERTS, RULES, Labels, faults, selectors

ROOT = Path(__file__).parents[2]


def test_the_selectors_of_an_expression_are_found_with_what_stands_around_them() -> None:
    expression = 'sum by (le) (rate(a_bucket{x=~"b|c"}[5m])) / d offset 1d > 0.5 and absent(e{f="g"}) or h:i'
    found = [(each.name, [str(matcher) for matcher in each.matchers]) for each in selectors(expression)]
    assert found == [("a_bucket", ['x=~"b|c"']), ("d", []), ("e", ['f="g"']), ("h:i", [])]
    around = [(each.grouped, each.function) for each in selectors(expression)]
    assert around == [({"le"}, "rate"), (None, None), (None, "absent"), (None, None)]


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("sum(rate(b_total[5m]))", "there is no b_total"),
        ('rate(a_total{colour="red"}[5m])', "a_total has no label colour"),
        ('rate(a_total{kind="third"}[5m])', 'a_total never has kind="third"'),
        ('rate(a_total{kind=~"first|third"}[5m])', 'a_total never has kind=~"first|third"'),
        ("sum by (colour) (rate(a_total[5m]))", "a_total has no label colour to group by"),
        ("rate(a[5m])", "rate of a, which is no counter"),
        ("histogram_quantile(0.5, sum by (kind) (rate(a_bucket[5m])))", "buckets of a_bucket without their bounds"),
        ("time() - 1", "time() - 1 names no metric"),
    ],
)
def test_what_a_query_gets_wrong_is_found(expression: str, fault: str) -> None:
    labels = {"kind": {"first", "second"}}
    assert faults(expression, {"a": labels, "a_total": labels, "a_bucket": labels | {"le": {"1.0"}}}) == [fault]


@pytest.mark.parametrize("expression", ["sum(rate(a_total))", "sum(rate(a_total[5m])", "histogram_quantile(a)"])
def test_what_is_no_promql_is_refused(expression: str) -> None:
    with pytest.raises(ValueError):
        selectors(expression)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_speaks_of_what_the_service_shows(rule: dict[str, Any], shown_metrics: Mapping[str, Labels]) -> None:
    assert faults(rule["expr"], shown_metrics) == []


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


def test_a_latency_is_compared_with_a_bucket_that_exists(shown_metrics: Mapping[str, Labels]) -> None:
    """Between two bounds a quantile is a guess."""
    bounds = {float(bound) for bound in shown_metrics["dinrank_stage_seconds_bucket"]["le"]}
    of_latency = [rule["expr"] for rule in ALERTS if "stage_p99_seconds" in rule["expr"]]
    assert of_latency
    for expression in of_latency:
        assert float(expression.rpartition(">")[2]) in bounds
