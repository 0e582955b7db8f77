"""/metrics of the whole application: what is there, that no caller adds to it, and that the document says so."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from dinrank.service.api.problems import OUTCOMES
from tests.fixtures.bundle import expected_ctr
from tests.fixtures.service import RunningService

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
OPEN_LABELS = {
    "feature",
    "name",
    "version",
    "role",
    "python",
    "onnxruntime",
    "pid",
}  # their values are this run's; of others all are listed

Series = tuple[str, tuple[tuple[str, str], ...]]


def families(service: RunningService) -> list[Metric]:
    return list(text_string_to_metric_families(service.get("/metrics").text))


def series(service: RunningService) -> set[Series]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))) for family in families(service) for sample in family.samples
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CANDIDATES = st.lists(
    st.fixed_dictionaries(
        {"ad_id": st.text(min_size=1, max_size=8).filter(str.isprintable), "bid": st.floats(0, 10)},
        optional={"features": st.dictionaries(st.sampled_from(["genre", "colour"]), st.text(), max_size=2)},
    ),
    min_size=1,
    max_size=3,
)
NEARLY_RIGHT = st.fixed_dictionaries(
    {"user_id": st.text(min_size=1, max_size=8).filter(str.isprintable), "candidates": CANDIDATES},
    optional={"explain": st.booleans(), "top_k": st.integers(-1, 3), "context": st.dictionaries(st.text(), JSON)},
)
BODIES = st.one_of(st.binary(max_size=64), st.one_of(JSON, NEARLY_RIGHT).map(lambda body: json.dumps(body).encode()))
HEADERS = st.dictionaries(
    st.sampled_from(["Content-Type", "X-Request-ID", "Accept", "traceparent", "X-Deadline-Ms"]),
    st.one_of(st.sampled_from(["application/json", "text/plain", "0", "1"]), st.text(st.characters(codec="ascii"))),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "BREW"]),
    path=st.sampled_from(["/rank", "/rank", "/rank", "/rank/", "/metrics", "/nowhere"]),
    headers=HEADERS,
    body=BODIES,
)
def test_nothing_that_a_caller_sends_makes_a_new_series(
    service: RunningService, method: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    before = series(service)
    sent = {name: "".join(filter(str.isprintable, value)).strip() for name, value in headers.items()}
    service.request(method, path, headers=sent, content=body)
    assert series(service) == before


@pytest.mark.parametrize(
    ("context", "unknown"),
    [
        ({"hour": "9", "is_weekend": True}, []),
        ({"hour": "9"}, ["is_weekend"]),
        ({"hour": "half past nine", "is_weekend": False}, ["hour"]),
        ({}, ["hour", "is_weekend"]),
    ],
)
def test_context_that_the_model_does_not_know_is_counted(
    service: RunningService, context: dict[str, object], unknown: list[str]
) -> None:
    names = {each: f'dinrank_unknown_context_total{{feature="{each}"}}' for each in ("hour", "is_weekend")}
    before = {each: service.metric(name) for each, name in names.items()}
    sent = {"user_id": "1", "context": context, "candidates": [{"ad_id": "1", "bid": 1.0}]}
    assert service.rank(sent).status_code == 200
    assert [each for each, name in names.items() if service.metric(name) - before[each] == 1] == unknown


def test_every_outcome_is_there_before_it_happens(service: RunningService) -> None:
    counted = {dict(labels)["outcome"] for name, labels in series(service) if name == "dinrank_requests_total"}
    assert counted == OUTCOMES


def test_the_mean_predicted_ctr_is_that_of_all_candidates_not_of_the_answer_alone(service: RunningService) -> None:
    def sum_and_count() -> tuple[float, float]:
        of_model = f'{{version="{service.get("/model").json()["version"]}"}}'
        return service.metric(f"dinrank_predicted_ctr_sum{of_model}"), service.metric(
            f"dinrank_predicted_ctr_count{of_model}"
        )

    before = sum_and_count()
    candidates = [{"ad_id": ad_id, "bid": 1.0} for ad_id in ("1", "2", "rare")]
    assert len(service.rank({"user_id": "42", "candidates": candidates, "top_k": 1}).json()["ads"]) == 1
    after = sum_and_count()
    assert after[1] - before[1] == 3
    assert after[0] - before[0] == pytest.approx(sum(expected_ctr(ad_id) for ad_id in ("1", "2", "rare")), abs=1e-6)


def test_the_process_shows_its_memory_and_open_files(service: RunningService) -> None:
    shown = {family.name: family.samples for family in families(service)}
    [resident], [files] = shown["process_resident_memory_bytes"], shown["process_open_fds"]
    assert resident.labels == files.labels
    assert resident.value > 10e6
    assert files.value > 3


def test_every_name_says_its_unit_or_counts(service: RunningService) -> None:
    for family in families(service):
        assert family.documentation.endswith("."), family.name
        if "seconds" in family.name or "bytes" in family.name:
            assert family.name.endswith(("_seconds", "_bytes")), family.name  # _total is the sample's


def metrics_table(service: RunningService) -> str:
    """The table as the document must have it."""
    return "\n".join(["| metric | kind | labels | says |", "|---|---|---|---|", *_rows(service)])


def _rows(service: RunningService) -> Iterator[str]:
    for family in families(service):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        values: dict[str, set[str]] = {}
        for sample in family.samples:
            for label, value in sample.labels.items():
                values.setdefault(label, set()).add(value)
        labels = "; ".join(
            f"`{label}`" if label in OPEN_LABELS else f"`{label}`: {', '.join(sorted(found))}"
            for label, found in values.items()
            if label != "le"
        )
        yield f"| `{name}` | {family.type} | {labels} | {family.documentation} |"


def test_the_document_has_every_metric_as_it_is(service: RunningService) -> None:
    table = metrics_table(service)
    assert table in DOCUMENT.read_text(encoding="utf-8"), f"docs/metrics.md must have this table:\n{table}"
