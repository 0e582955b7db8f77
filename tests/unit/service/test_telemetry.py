"""Metrics and log lines."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from service.telemetry import Stage, Telemetry, log_event

ROOT = Path(__file__).parents[3]
ONE_WORKER = """
from service.telemetry import Stage, Telemetry
telemetry = Telemetry()
telemetry.requests.labels("ok").inc()
telemetry.candidates.observe(200)
telemetry.model_info.labels("din", "abc").set(1)
with telemetry.timed(Stage.SCORE):
    pass
print(telemetry.exposition().decode())
"""


def test_a_stage_is_timed_even_when_it_fails() -> None:
    telemetry = Telemetry()
    with pytest.raises(ZeroDivisionError), telemetry.timed(Stage.STORE):
        _ = 1 / 0
    assert 'dinrank_stage_seconds_count{stage="store"} 1.0' in telemetry.exposition().decode()


def test_two_applications_in_one_process_count_apart() -> None:
    first, second = Telemetry(), Telemetry()
    first.unknown_ads.inc(3)
    assert "dinrank_unknown_ads_total 3.0" in first.exposition().decode()
    assert "dinrank_unknown_ads_total 0.0" in second.exposition().decode()


def test_workers_that_share_a_directory_answer_for_each_other(tmp_path: Path) -> None:
    shown = ""
    for _ in range(2):  # one after the other: a worker that ended still counts
        shown = subprocess.run(
            [sys.executable, "-c", ONE_WORKER],
            env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    assert 'dinrank_requests_total{outcome="ok"} 2.0' in shown
    assert "dinrank_candidates_sum 400.0" in shown
    assert 'dinrank_stage_seconds_count{stage="score"} 2.0' in shown
    assert 'dinrank_model_info{name="din",version="abc"} 1.0' in shown


def test_a_log_event_is_one_line_whatever_its_fields_hold(caplog: pytest.LogCaptureFixture) -> None:
    log_event(logging.WARNING, "degraded", request_id="r1", error='a "quoted"\nline')
    [record] = caplog.records
    assert record.getMessage() == r'degraded request_id="r1" error="a \"quoted\"\nline"'
