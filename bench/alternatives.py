"""Alternative runtimes for the plain graph of a bundle, side by side; the source of their figures in
docs/performance.md.

    python -m bench.alternatives --bundle bundles/din --behaviours 100

Needs `openvino` beside what the service has (`pip install openvino`). One thread each, taking turns; medians, and the
largest difference of each one's CTRs from the plain graph's.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import onnxruntime as ort
import typer
from numpy.typing import NDArray
from rich.console import Console

from bench.harness.progress import progress_bar
from dinrank.model.bundle.encoding import Encoder
from dinrank.model.bundle.graph import CTR_OUTPUT
from dinrank.model.bundle.reader import Bundle, open_bundle
from dinrank.model.bundle.request import EncodedRequest, ScoringRequest, encode_request
from dinrank.service.scoring.predictor import Predictor

Run = Callable[[Mapping[str, NDArray[np.int64]]], NDArray[np.floating]]
NUM_CANDIDATES = 200
NUM_REQUESTS = 4


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(highlight=False, soft_wrap=True)


@app.command(epilog="Example: python -m bench.alternatives --bundle bundles/din --behaviours 100")
def main(
    bundle: Annotated[Path, typer.Option(help="Directory of a bundle of din.")],
    behaviours: Annotated[int, typer.Option(min=0, help="Behaviours of each request.")] = 100,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each way.")] = 40,
) -> None:
    """Milliseconds of other ways to run the plain graph of a bundle, side by side; needs `pip install openvino`."""
    opened = open_bundle(bundle)
    requests = [made_up_request(opened.encoder, behaviours, seed) for seed in range(NUM_REQUESTS)]
    with tempfile.TemporaryDirectory() as directory:
        report(ways(opened, Path(directory)), requests, rounds)


def made_up_request(encoder: Encoder, num_behaviours: int, seed: int) -> EncodedRequest:
    rng = np.random.default_rng(seed)
    positions = rng.integers(0, len(encoder.catalogue.item_ids), NUM_CANDIDATES + num_behaviours).tolist()
    ids = [encoder.catalogue.item_ids[position] for position in positions]
    request = ScoringRequest(ids[:NUM_CANDIDATES], ids[NUM_CANDIDATES:], {}, {}, {}, {})
    return encode_request(encoder, request)


def ways(bundle: Bundle, directory: Path) -> dict[str, Callable[[EncodedRequest], NDArray[np.floating]]]:
    predictor, whole = Predictor.load(bundle), onnx_runtime(bundle.graph_path)
    openvino, openvino_bf16 = with_openvino(bundle.graph_path, "f32"), with_openvino(bundle.graph_path, "bf16")
    quantised = onnx_runtime(quantise(bundle.graph_path, directory / "quantised.onnx"))
    return {
        "in stages (the service)": lambda request: predictor.predict(request).ctr_C,
        "one graph, ONNX Runtime": lambda request: whole(request.inputs),
        "one graph, OpenVINO": lambda request: openvino(request.inputs),
        "one graph, OpenVINO in bfloat16": lambda request: openvino_bf16(request.inputs),
        "one graph, matrices in 8 bits, ONNX Runtime": lambda request: quantised(request.inputs),
    }


def onnx_runtime(path: Path) -> Run:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run([CTR_OUTPUT], dict(inputs))[0]  # type: ignore[no-any-return]


def with_openvino(path: Path, precision: str) -> Run:
    import openvino

    core = openvino.Core()
    config = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": precision}
    compiled = core.compile_model(core.read_model(path), "CPU", config)
    output = compiled.output(CTR_OUTPUT)
    return lambda inputs: compiled(dict(inputs))[output]  # type: ignore[no-any-return]


def quantise(path: Path, out: Path) -> Path:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(path, out, op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QInt8, per_channel=True)
    return out


def report(
    subjects: Mapping[str, Callable[[EncodedRequest], NDArray[np.floating]]],
    requests: list[EncodedRequest],
    rounds: int,
) -> None:
    expected = [next(iter(subjects.values()))(request) for request in requests]
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    with progress_bar(console, "scoring", total=rounds, unit="rounds") as advance:
        for round_ in range(rounds):
            for name, score in subjects.items():
                request = requests[round_ % len(requests)]
                score(request)  # warm up its own memory again
                started = time.thread_time()
                score(request)
                seconds[name].append(time.thread_time() - started)
            advance(1)
    for name, score in subjects.items():
        strays = np.max([np.abs(score(one) - wanted).max() for one, wanted in zip(requests, expected, strict=True)])
        line = f"{name:45s} {1000 * median(seconds[name]):8.2f} ms   CTRs up to {strays:.1e} apart"
        console.print(line)


if __name__ == "__main__":
    app()
