"""Log lines of real processes, as a collector of logs gets them."""

import json
import os
import signal
import subprocess
from pathlib import Path

import httpx

from tests.fixtures.command import run, served
from tests.fixtures.failing_bundle import bundle_that_fails_for_item_3


def test_all_that_a_service_says_from_start_to_end_is_json(tmp_path: Path, redis_url: str) -> None:
    bundle = bundle_that_fails_for_item_3(tmp_path)
    flags = ("--redis", redis_url, "--workers", "2")
    with served(tmp_path, bundle, *flags, DINRANK_LOG_FORMAT="json") as service:
        body = {"user_id": "42", "candidates": [{"ad_id": "3", "bid": 1.0}]}
        response = httpx.post(f"{service.address}/rank", json=body, headers={"X-Request-ID": "r-1"}, timeout=30)
        assert response.status_code == 500
        service.stop(signal.SIGTERM)
        lines = [json.loads(line) for line in service.output.read_text().splitlines()]
    assert all({"time", "level", "event", "process"} <= line.keys() for line in lines)
    of_request = [line for line in lines if line.get("request_id") == "r-1"]
    assert [(line["event"], line["level"]) for line in of_request] == [("prediction-failed", "error")]
    events = [line["event"] for line in lines]
    assert "serving" in events[:2]
    assert events.count("uvicorn") > 4  # each worker says that it started and that it ended
    assert len({line["process"] for line in lines}) == 3


def test_what_ends_serve_is_one_line_of_json_too(tmp_path: Path) -> None:
    ended = run(tmp_path, "serve", "--bundle", str(tmp_path / "none"), DINRANK_LOG_FORMAT="json")
    assert "manifest.json: expected" in the_error(ended)


def test_a_trace_endpoint_without_opentelemetry_ends_serve_with_what_to_install(tmp_path: Path) -> None:
    hiding = tmp_path / "hiding" / "opentelemetry" / "exporter"  # earlier on the path than the real one
    hiding.mkdir(parents=True)
    (hiding / "__init__.py").touch()
    path = os.pathsep.join([str(tmp_path / "hiding"), os.environ.get("PYTHONPATH", "")])
    endpoint = {"DINRANK_TRACE_ENDPOINT": "http://127.0.0.1:9/v1/traces", "DINRANK_LOG_FORMAT": "json"}
    ended = run(tmp_path, "serve", "--bundle", str(tmp_path / "none"), PYTHONPATH=path, **endpoint)
    assert "pip install 'dinrank[tracing]'" in the_error(ended)


def the_error(ended: "subprocess.CompletedProcess[str]") -> str:
    assert (ended.returncode, ended.stdout) == (1, "")
    [line] = ended.stderr.splitlines()
    document = json.loads(line)
    assert document["event"] == "failed"
    return str(document["error"])
