"""Metrics and log lines."""

import itertools
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from dinrank.service.telemetry.logs import log_event
from dinrank.service.telemetry.metrics import Stage, Telemetry, forget_worker

ROOT = Path(__file__).parents[4]

ONE_WORKER = """
import numpy, sys
from dinrank.service.telemetry.metrics import Stage, Telemetry
telemetry = Telemetry()
telemetry.requests.labels("ok").inc()
telemetry.candidates.observe(200)
telemetry.serves(0, "din", "abc", "champion")
telemetry.predicted_ctr.labels("abc").observe_all(numpy.array([0.25, 0.75]))
with telemetry.timed(Stage.SCORE):
    pass
print(telemetry.exposition().decode() + "END", flush=True)
sys.stdin.readline()
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


@contextmanager
def worker(directory: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that counts one request, shows all metrics, and stays."""
    with subprocess.Popen(
        [sys.executable, "-c", ONE_WORKER],
        env={"PROMETHEUS_MULTIPROC_DIR": str(directory)},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def shown_by(process: "subprocess.Popen[str]") -> Mapping[str, float]:
    """Its samples, name and labels as Prometheus prints them."""
    assert process.stdout is not None
    lines = list(itertools.takewhile(lambda line: line != "END\n", process.stdout))
    samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {sample: float(value) for sample, _, value in samples if sample}


def test_workers_answer_for_each_other_and_what_a_killed_one_counted_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with worker(tmp_path) as first:
        shown_by(first)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    forget_worker(first.pid)
    with worker(tmp_path) as second:
        shown_by(second)
        with worker(tmp_path) as third:
            shown = shown_by(third)
    assert shown['dinrank_requests_total{outcome="ok"}'] == 3
    assert shown["dinrank_candidates_sum"] == 600
    assert shown['dinrank_stage_seconds_count{stage="score"}'] == 3
    assert shown['dinrank_predicted_ctr_count{version="abc"}'] == 6
    assert shown['dinrank_predicted_ctr_sum{version="abc"}'] == 3.0
    assert shown['dinrank_predicted_ctr_bucket{le="0.5",version="abc"}'] == 3
    assert shown['dinrank_model_info{name="din",role="champion",version="abc"}'] == 2  # of those that run
    resident = {sample for sample in shown if sample.startswith("process_resident_memory_bytes")}
    assert resident == {f'process_resident_memory_bytes{{pid="{process.pid}"}}' for process in (second, third)}


def test_a_slot_has_one_model_at_a_time() -> None:
    telemetry = Telemetry()
    for version in ("abc", "abc", "def"):
        telemetry.serves(0, "din", version, "champion")
    shown = telemetry.exposition().decode()
    assert 'dinrank_model_info{name="din",role="champion",version="abc"} 0.0' in shown
    assert 'dinrank_model_info{name="din",role="champion",version="def"} 1.0' in shown


def test_a_model_in_two_slots_is_served_until_it_has_left_both() -> None:
    telemetry = Telemetry()
    for slot in (1, 2):
        telemetry.serves(slot, "din", "abc", "challenger")
    info = 'dinrank_model_info{name="din",role="challenger",version="abc"} '
    telemetry.serves(1, "din", "def", "challenger")
    assert info + "1.0" in telemetry.exposition().decode()
    telemetry.serves(2, "din", "def", "challenger")
    assert info + "0.0" in telemetry.exposition().decode()


def test_a_log_event_is_one_line_whatever_its_fields_hold(caplog: pytest.LogCaptureFixture) -> None:
    log_event(logging.WARNING, "degraded", request_id="r1", error='a "quoted"\nline')
    [record] = caplog.records
    assert record.getMessage() == r'degraded request_id="r1" error="a \"quoted\"\nline"'
