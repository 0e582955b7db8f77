"""ONNX Runtime behind one class, on the graph of the formula and on graphs that do not fit."""

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dinrank.model.bundle.errors import BundleError, GoldenMismatch, SchemaMismatch, UnsupportedFormat
from dinrank.model.bundle.files import GOLDEN_FILE
from dinrank.model.bundle.golden import TOLERANCE, GoldenAnswer
from dinrank.model.bundle.graph import graph_inputs
from dinrank.model.bundle.reader import Bundle, open_bundle
from dinrank.model.bundle.request import ScoringRequest, encode_request
from dinrank.model.bundle.schema import FeatureSchema, Kind
from dinrank.service.errors import PredictionFailed
from dinrank.service.scoring.predictor import Predictor
from tests.fixtures.bundle import (
    NUMBERS,
    SCHEMA,
    UNKNOWN,
    declare_as_genuine,
    expected_ctr,
    expected_weights,
    golden_answers,
    item_number,
    make_bundle,
    write_graph,
)

REQUEST = ScoringRequest(
    candidates=["1", "2", "unknown"],
    behaviours=["3", "5"],
    profile={"age": "44"},
    context={"hour": 9},
    candidate_attributes={},
    behaviour_attributes={},
)


@pytest.fixture(scope="module")
def bundle(bundle_path: Path) -> Bundle:
    return open_bundle(bundle_path)


def bundle_of(graph: Path, *, golden: Sequence[GoldenAnswer] | None = None) -> Bundle:
    return open_bundle(make_bundle(graph.parent / "bundle", graph=graph, golden=golden))


def test_the_graph_computes_the_formula(bundle: Bundle) -> None:
    prediction = Predictor.load(bundle).predict(encode_request(bundle.encoder, REQUEST), with_weights=True)
    expected = [
        expected_ctr(ad, ["3", "5"], profile={"age": 44}, context={"hour": "9"}) for ad in ("1", "2", "unknown")
    ]
    behaviours = [item_number("3"), item_number("5")]
    assert prediction.ctr_C == pytest.approx(expected, abs=1e-6)
    assert prediction.weights_CT == pytest.approx(
        np.array([expected_weights(item_number(ad), behaviours) for ad in ("1", "2", "unknown")]), abs=1e-6
    )


def test_weights_are_computed_only_when_asked_for(bundle: Bundle) -> None:
    predictor = Predictor.load(bundle)
    assert predictor.has_weights
    assert predictor.predict(encode_request(bundle.encoder, REQUEST)).weights_CT is None


def test_no_behaviours_are_an_ordinary_input(bundle: Bundle) -> None:
    request = replace(REQUEST, behaviours=[])
    prediction = Predictor.load(bundle).predict(encode_request(bundle.encoder, request), with_weights=True)
    assert prediction.ctr_C[0] == pytest.approx(expected_ctr("1", profile={"age": 44}, context={"hour": "9"}), abs=1e-6)
    assert prediction.weights_CT is not None
    assert prediction.weights_CT.shape == (3, 0)


def test_one_predictor_serves_several_threads_at_once(bundle: Bundle) -> None:
    predictor = Predictor.load(bundle)
    request = encode_request(bundle.encoder, REQUEST)
    alone = predictor.predict(request).ctr_C.tolist()
    with ThreadPoolExecutor(4) as executor:
        together = list(executor.map(lambda _: predictor.predict(request).ctr_C.tolist(), range(100)))
    assert together == [alone] * 100


def test_onnx_runtime_sends_no_usage_data(tmp_path: Path, bundle_path: Path) -> None:
    program = (
        "import os, sys, pathlib; from dinrank.service.scoring.predictor import Predictor;"
        "from dinrank.model.bundle.reader import open_bundle; Predictor.load(open_bundle(pathlib.Path(sys.argv[1])));"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, str(bundle_path)],
        cwd=Path(__file__).parents[4],
        env={"TMPDIR": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout == "1\n"
    assert list(tmp_path.iterdir()) == []  # neither the id nor the queue that its sender keeps


def test_a_graph_without_weights_is_served_without_them(tmp_path: Path) -> None:
    bundle = open_bundle(make_bundle(tmp_path / "bundle", has_weights=False))
    predictor = Predictor.load(bundle)
    assert not predictor.has_weights
    assert len(predictor.predict(encode_request(bundle.encoder, REQUEST)).ctr_C) == 3


def test_bytes_that_are_no_graph_are_refused(tmp_path: Path) -> None:
    graph = tmp_path / "model.onnx"
    graph.write_bytes(b"not a graph")
    with pytest.raises(UnsupportedFormat, match=r"model.onnx: expected a graph that ONNX Runtime loads"):
        Predictor.load(bundle_of(graph))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.6, 0.8, 0.95, 0.999])
def test_a_graph_cut_short_is_refused_even_if_somebody_signed_it(tmp_path: Path, share: float) -> None:
    graph = tmp_path / "model.onnx"
    write_graph(graph)
    content = graph.read_bytes()
    graph.write_bytes(content[: round(share * len(content))])
    with pytest.raises(BundleError, match=r"^model.onnx: expected .*, found "):
        Predictor.load(bundle_of(graph))


def test_a_graph_of_another_schema_is_refused(tmp_path: Path) -> None:
    without_hour = [feature for feature in SCHEMA.features if feature.name != "hour"]
    write_graph(tmp_path / "model.onnx", schema=FeatureSchema(tuple(without_hour), max_behaviours=5))
    with pytest.raises(SchemaMismatch, match=r"model.onnx: expected inputs .*context_hour.*, found"):
        Predictor.load(bundle_of(tmp_path / "model.onnx"))


def test_a_graph_with_other_slots_is_refused(tmp_path: Path) -> None:
    wider = [replace(feature, max_values=9) if feature.kind is Kind.MULTI else feature for feature in SCHEMA.features]
    write_graph(tmp_path / "model.onnx", schema=FeatureSchema(tuple(wider), max_behaviours=5))
    with pytest.raises(
        SchemaMismatch, match=r"input candidate_genre int64 \['C', 2\], found tensor\(int64\) \['C', 9\]"
    ):
        Predictor.load(bundle_of(tmp_path / "model.onnx"))


def write_constant_graph(
    path: Path,
    *,
    input_type: int = TensorProto.INT64,
    candidates: str | int = "C",
    output: str = "ctr",
    output_type: int = TensorProto.FLOAT,
    ctr: float = 0.5,
) -> None:
    """A graph that answers `ctr` for every candidate, whatever it is asked."""
    inputs = [
        helper.make_tensor_value_info(name, input_type, [candidates if size == "C" else size for size in shape])
        for name, shape in graph_inputs(SCHEMA).items()
    ]
    nodes = [
        helper.make_node("Shape", ["candidate_item_id"], ["size"]),
        helper.make_node(
            "ConstantOfShape",
            ["size"],
            [output],
            value=helper.make_tensor("value", output_type, [1], [ctr]),
        ),
    ]
    outputs = [helper.make_tensor_value_info(output, output_type, [candidates])]
    graph = helper.make_graph(nodes, "constant", inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"input_type": TensorProto.INT32}, r"input candidate_item_id int64 \['C'\], found tensor\(int32\)"),
        ({"candidates": 3}, r"input candidate_item_id int64 \['C'\], found tensor\(int64\) \[3\]"),
        ({"output": "probability"}, "an output ctr, found probability"),
        ({"output_type": TensorProto.INT64, "ctr": 1}, r"output ctr of floats \['C'\], found tensor\(int64\)"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    write_constant_graph(tmp_path / "model.onnx", **changed)
    with pytest.raises(SchemaMismatch, match=message):
        Predictor.load(bundle_of(tmp_path / "model.onnx"))


def test_free_dimensions_may_have_any_name(tmp_path: Path) -> None:
    write_constant_graph(tmp_path / "model.onnx", candidates="num_ads")
    answers = [GoldenAnswer(request=REQUEST, ctr=[0.5, 0.5, 0.5])]
    assert Predictor.load(bundle_of(tmp_path / "model.onnx", golden=answers))


@pytest.mark.parametrize("ctr", [float("nan"), float("inf"), -0.01, 1.01])
def test_what_is_no_probability_is_never_returned(tmp_path: Path, bundle: Bundle, ctr: float) -> None:
    write_constant_graph(tmp_path / "model.onnx", ctr=ctr)
    with pytest.raises(GoldenMismatch, match="which is no click-through rate"):
        Predictor.load(bundle_of(tmp_path / "model.onnx"))


def test_inputs_that_the_graph_refuses_fail_as_a_prediction(bundle: Bundle) -> None:
    request = encode_request(bundle.encoder, REQUEST)
    beyond = replace(request, inputs={**request.inputs, "candidate_item_id": np.array([10**6])})
    with pytest.raises(PredictionFailed, match="ONNX Runtime refused the request"):
        Predictor.load(bundle).predict(beyond)


def changed_golden(difference: float) -> list[GoldenAnswer]:
    """The golden answers with the second CTR of the second one moved."""
    answers = golden_answers()
    first, second = answers[1].ctr
    answers[1] = GoldenAnswer(request=answers[1].request, ctr=[first, second + difference])
    return answers


def test_golden_answers_must_be_reproduced(tmp_path: Path) -> None:
    bundle = open_bundle(make_bundle(tmp_path / "bundle", golden=changed_golden(0.01)))
    with pytest.raises(GoldenMismatch, match=r"for candidate 1 of golden request 1, found 0\.70.*difference of 0\.01 "):
        Predictor.load(bundle)


@pytest.mark.parametrize("difference", [TOLERANCE / 2, -TOLERANCE / 2])
def test_golden_answers_may_differ_within_the_tolerance(tmp_path: Path, difference: float) -> None:
    assert Predictor.load(open_bundle(make_bundle(tmp_path / "bundle", golden=changed_golden(difference))))


def test_a_golden_answer_behind_a_steep_calibration_brings_its_own_tolerance(tmp_path: Path) -> None:
    for allowed, is_accepted in ((0.002, True), (0.0005, False)):
        answers = changed_golden(0.001)
        answers[1] = replace(answers[1], tolerance=(TOLERANCE, allowed))
        bundle = open_bundle(make_bundle(tmp_path / f"{allowed}", golden=answers))
        if is_accepted:
            assert Predictor.load(bundle)
        else:
            with pytest.raises(GoldenMismatch, match=r"a difference of 0\.001 where 0\.0005 is allowed"):
                Predictor.load(bundle)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (GoldenAnswer(request=REQUEST, ctr=[0.5]), "expected 3 CTRs, one per candidate of request 0, found 1"),
        (GoldenAnswer(request=replace(REQUEST, candidates=[]), ctr=[]), "expected candidates and CTRs"),
        (
            GoldenAnswer(request=replace(REQUEST, context={"weather": "rain"}), ctr=[0.5] * 3),
            "requests with the schema's features, found 'weather' is no context feature",
        ),
    ],
)
def test_golden_requests_must_make_sense(tmp_path: Path, answer: GoldenAnswer, message: str) -> None:
    path = make_bundle(tmp_path / "bundle", golden=[answer])
    with pytest.raises(SchemaMismatch, match=message):
        Predictor.load(open_bundle(path))


@pytest.mark.parametrize("ctr", ["NaN", "1e999", "-Infinity"])
def test_one_golden_ctr_that_is_no_number_opens_no_gate(tmp_path: Path, ctr: str) -> None:
    """A graph that answers otherwise than the trainer's, beside answers of which one agrees with nothing."""
    write_graph(tmp_path / "model.onnx", shift=1.0)
    path = make_bundle(tmp_path / "bundle", graph=tmp_path / "model.onnx")
    document = json.loads((path / GOLDEN_FILE).read_text())
    document[0]["ctr"][0] = "HERE"
    (path / GOLDEN_FILE).write_text(json.dumps(document).replace('"HERE"', ctr))
    declare_as_genuine(path, GOLDEN_FILE)
    with pytest.raises(
        BundleError, match=r"golden.json: expected a CTR from 0 to 1 for candidate 0 of golden request 0"
    ):
        Predictor.load(open_bundle(path))


def test_the_comparison_itself_takes_nan_for_no_agreement(tmp_path: Path, bundle: Bundle) -> None:
    first, *others = bundle.golden
    unread = replace(bundle, golden=(GoldenAnswer(first.request, [float("nan"), *first.ctr[1:]]), *others))
    with pytest.raises(GoldenMismatch, match="CTR nan for candidate 0 of golden request 0"):
        Predictor.load(unread)


def test_a_graph_with_a_smaller_table_than_the_schema_is_refused(tmp_path: Path) -> None:
    """No golden request has the last value of `is_weekend`: without a look at it, the first caller's would fail."""
    path = tmp_path / "model.onnx"
    write_graph(path)
    model = onnx.load(str(path))
    numbers = np.array([0.0, UNKNOWN, *NUMBERS["is_weekend"]], dtype=np.float32)
    table = next(each for each in model.graph.initializer if np.array_equal(onnx.numpy_helper.to_array(each), numbers))
    table.CopyFrom(onnx.numpy_helper.from_array(numbers[:-1], table.name))
    onnx.save(model, str(path))
    with pytest.raises(SchemaMismatch, match=r"model.onnx: expected an answer to the highest index of every feature"):
        Predictor.load(bundle_of(path))
