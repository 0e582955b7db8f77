"""Traces of requests, received by a real collector over HTTP; and what becomes of requests when there is none."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from dinrank.service.telemetry.tracing import TracingUnavailable, require_tracing
from tests.fixtures.bundle import expected_ctr
from tests.fixtures.collector import attributes, running_collector
from tests.fixtures.command import served
from tests.fixtures.failing_bundle import bundle_that_fails_for_item_3
from tests.fixtures.service import RunningService, running_service

ROOT = Path(__file__).parents[2]
ADS = [{"ad_id": "1", "bid": 1.0}, {"ad_id": "2", "bid": 1.0}]
BODY = {"user_id": "42", "candidates": ADS}
TRACE_ID, CALLERS_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"  # of the W3C's own example
FOR_EVER_S = 20.0  # an end that takes less does not wait for the collector


@contextmanager
def traced(bundle: Path, redis: str, endpoint: str) -> Iterator[RunningService]:
    with running_service(bundle, redis, redis_timeout_ms=5_000, max_candidates=2, trace_endpoint=endpoint) as service:
        yield service


def test_a_request_is_a_span_below_the_callers_with_a_span_per_stage(bundle_path: Path, redis_url: str) -> None:
    with running_collector() as collector:
        with traced(bundle_path, redis_url, collector.endpoint) as service:
            response = service.rank(BODY, traceparent=f"00-{TRACE_ID}-{CALLERS_SPAN}-01", X_Request_ID="r-1")
            assert response.status_code == 200
            service.get("/livez")  # no span
            service.get("/rank")  # none either: it ranks nothing
        spans = collector.spans()  # what was not sent yet is sent at the end
    assert set(spans) == {"POST /rank", "store", "encode", "score"}
    request = spans.pop("POST /rank")
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE_ID, CALLERS_SPAN)
    assert request.kind == Span.SPAN_KIND_SERVER
    assert attributes(request.attributes) == {
        "http.request.method": "POST",
        "http.route": "/rank",
        "http.response.status_code": 200,
        "dinrank.request_id": "r-1",
        "dinrank.outcome": "ok",
        "dinrank.candidates": 2,
        "dinrank.model.version": response.json()["model"]["version"],
    }
    for stage in spans.values():
        assert stage.trace_id == request.trace_id
        assert stage.parent_span_id == request.span_id
        assert request.start_time_unix_nano <= stage.start_time_unix_nano
        assert stage.end_time_unix_nano <= request.end_time_unix_nano
    assert collector.resource()["service.name"] == "dinrank"


@pytest.mark.parametrize("sent", ["", "garbage", f"00-{TRACE_ID}-{'0' * 16}-01"])
def test_a_caller_without_a_sane_trace_begins_a_new_one(bundle_path: Path, redis_url: str, sent: str) -> None:
    with running_collector() as collector:
        with traced(bundle_path, redis_url, collector.endpoint) as service:
            assert service.rank(BODY, traceparent=sent).status_code == 200
        span = collector.spans()["POST /rank"]
    assert span.parent_span_id == b""
    assert span.trace_id.hex() != TRACE_ID


def test_what_the_caller_does_not_record_is_not_recorded_here(bundle_path: Path, redis_url: str) -> None:
    with running_collector() as collector:
        with traced(bundle_path, redis_url, collector.endpoint) as service:
            assert service.rank(BODY, traceparent=f"00-{TRACE_ID}-{CALLERS_SPAN}-00").status_code == 200
        assert collector.batches == []


def test_a_failure_of_the_service_is_marked_and_a_callers_is_not(redis_url: str, tmp_path: Path) -> None:
    bundle = bundle_that_fails_for_item_3(tmp_path)
    with running_collector() as collector, traced(bundle, redis_url, collector.endpoint) as service:
        assert service.rank({"user_id": "42", "candidates": [{"ad_id": "3", "bid": 1.0}]}).status_code == 500
    failed = collector.spans()
    assert attributes(failed["POST /rank"].attributes)["dinrank.outcome"] == "prediction-failed"
    assert failed["POST /rank"].status.code == failed["score"].status.code == Status.STATUS_CODE_ERROR
    assert attributes(failed["score"].attributes) == {"error.type": "PredictionFailed"}
    assert list(failed["score"].events) == []  # a traceback is the log's
    with running_collector() as collector, traced(bundle, redis_url, collector.endpoint) as service:
        assert service.rank({"user_id": "42", "candidates": [*ADS, *ADS]}).status_code == 413
    [refused] = collector.spans().values()
    assert attributes(refused.attributes)["dinrank.outcome"] == "too-many-candidates"
    assert refused.status.code == Status.STATUS_CODE_UNSET


@contextmanager
def silent_collector() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as accepted:

        def accept() -> None:
            while True:
                try:
                    accepted.enter_context(listening.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1/traces"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def absent_collector() -> Iterator[str]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and nobody listens
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1/traces"


# Of a silent one nothing is known within the seconds that this takes, but that the queue is full.
@pytest.mark.parametrize(("collector", "least"), [(absent_collector, 1), (silent_collector, 0)])
def test_a_collector_that_is_away_costs_no_answer_no_end_and_one_line_at_most(
    bundle_path: Path,
    redis_url: str,
    collector: object,
    least: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5")
    assert callable(collector)
    with collector() as endpoint:
        with traced(bundle_path, redis_url, endpoint) as service:
            for _ in range(20):  # eight times what the queue holds
                response = service.rank(BODY)
                assert response.status_code == 200
            assert response.json()["ads"][0]["ctr"] == pytest.approx(expected_ctr(response.json()["ads"][0]["ad_id"]))
            ends = time.monotonic()
        assert time.monotonic() - ends < FOR_EVER_S
    # The library's own lines are seen by pytest alone: their logger has no other way out.
    said = [str(record.msg).partition(" ")[0] for record in caplog.records if record.name == "dinrank"]
    assert said == ["traces_not_sent"] * max(least, len(said))
    assert len(said) <= 1


def test_without_an_endpoint_nothing_that_sends_traces_is_imported() -> None:
    """redis-py and FastAPI import other parts of OpenTelemetry when these are installed."""
    program = (
        "import sys, pathlib, dinrank.service.app, dinrank.service.cli, dinrank.service.settings as s\n"
        "dinrank.service.app.create_app(s.Settings.read(bundle=pathlib.Path('none')))\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk.trace', 'opentelemetry.exporter',"
        " 'opentelemetry.proto', 'dinrank.service.telemetry.spans', 'requests'))])"
    )
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@contextmanager
def taker_of_all() -> Iterator[tuple[str, list[str]]]:
    """The address of a server that takes whatever comes, and the paths that were posted to."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            paths.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", paths
        finally:
            server.shutdown()
            thread.join()


def test_fastapi_sends_nothing_by_itself(bundle_path: Path, tmp_path: Path) -> None:
    """Not even where it is told to: it would send refused values, and paths with users' ids."""
    with taker_of_all() as (address, paths):
        variables = {"FASTAPI_OTEL_AUTO_CONFIGURE": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": address}
        with served(tmp_path, bundle_path, **variables) as service:
            assert httpx.get(f"{service.address}/users/42").status_code == 404
            assert httpx.post(f"{service.address}/rank", json={"user_id": 42}).status_code == 422
            service.stop(signal.SIGTERM)  # what was not sent yet is sent at the end
    assert paths == []


def test_an_endpoint_without_the_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("dinrank.service.telemetry.spans")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)  # as if not there
    with pytest.raises(TracingUnavailable, match=r"pip install 'dinrank\[tracing\]', or leave the setting empty"):
        require_tracing()
