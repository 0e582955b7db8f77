"""Metrics and log lines."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from service.telemetry import Stage, Telemetry, forget_worker, log_event

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


def run_worker(directory: Path) -> tuple[int, str]:
    """Its process id, and what it shows at its end."""
    process = subprocess.Popen(
        [sys.executable, "-c", ONE_WORKER],
        env={"PROMETHEUS_MULTIPROC_DIR": str(directory)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    shown, _ = process.communicate()
    assert process.returncode == 0
    return process.pid, shown


def test_workers_that_share_a_directory_answer_for_each_other(tmp_path: Path) -> None:
    run_worker(tmp_path)
    _, shown = run_worker(tmp_path)  # one after the other: a worker that ended still counts
    assert 'dinrank_requests_total{outcome="ok"} 2.0' in shown
    assert "dinrank_candidates_sum 400.0" in shown
    assert 'dinrank_stage_seconds_count{stage="score"} 2.0' in shown
    assert 'dinrank_model_info{name="din",version="abc"} 2.0' in shown


def test_a_forgotten_worker_serves_nothing_any_more_and_what_it_counted_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = run_worker(tmp_path)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    forget_worker(first)
    _, shown = run_worker(tmp_path)
    assert 'dinrank_model_info{name="din",version="abc"} 1.0' in shown
    assert 'dinrank_requests_total{outcome="ok"} 2.0' in shown


def test_a_process_serves_one_model_at_a_time() -> None:
    telemetry = Telemetry()
    for version in ("abc", "abc", "def"):
        telemetry.serves("din", version)
    shown = telemetry.exposition().decode()
    assert 'dinrank_model_info{name="din",version="abc"} 0.0' in shown
    assert 'dinrank_model_info{name="din",version="def"} 1.0' in shown


def test_a_log_event_is_one_line_whatever_its_fields_hold(caplog: pytest.LogCaptureFixture) -> None:
    log_event(logging.WARNING, "degraded", request_id="r1", error='a "quoted"\nline')
    [record] = caplog.records
    assert record.getMessage() == r'degraded request_id="r1" error="a \"quoted\"\nline"'
