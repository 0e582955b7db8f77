"""What is compared computes the same, and is refused when it does not."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray

from bench.serving.dataset import NUM_HOURS, item_ids, segment_of, write_dataset
from bench.serving.material import Material
from bench.serving.networks import RowPerCandidate, random_network, repeat_history
from bench.serving.products import products, products_graph
from bench.serving.repeated import INPUTS, RepeatedDIN
from bench.serving.rows import GRAPH_FILE, INDEX_FILE, SIZES_FILE, WEIGHTS_FILE, write_rows_network
from bench.serving.services.features import make_rows, rank, read_history, read_index
from bench.serving.setting import NUM_SEGMENTS, TOWER, UNIT, Shape
from bench.serving.subjects import Skipped, repeat
from bench.serving.timing import Disagreement, compare, largest_difference, take_turns
from dinrank.model.bundle.encoding import Encoder, Indices
from dinrank.model.bundle.request import ScoringRequest, encode_request
from dinrank.model.bundle.schema import Feature, FeatureSchema, Group, Kind
from dinrank.model.bundle.vocabulary import UNKNOWN_ID
from dinrank.model.nets.din import DIN
from dinrank.model.nets.names import NetworkName
from dinrank.training.data.dataset import read_dataset
from dinrank.training.data.encoded import encode_dataset
from dinrank.training.export.bundle import ServingGraph

SCHEMA = FeatureSchema(
    features=(
        Feature("item_id", Group.ITEM, Kind.SINGLE, num_indices=30),
        Feature("category", Group.ITEM, Kind.SINGLE, num_indices=5),
        Feature("segment", Group.USER, Kind.SINGLE, num_indices=4),
        Feature("hour", Group.CONTEXT, Kind.SINGLE, num_indices=6),
    ),
    max_behaviours=20,
)


def shop_encoder(path: Path) -> Encoder:
    write_dataset(path, num_behaviours=3, max_behaviours=7)
    return encode_dataset(read_dataset(path), min_count=1).encoder


def one_users_inputs(num_candidates: int, num_behaviours: int) -> dict[str, Indices]:
    rng = np.random.default_rng(0)
    sizes = {"candidate": num_candidates, "behaviour": num_behaviours}
    return {
        **{
            f"{role}_{name}": rng.integers(high, size=size)
            for role, size in sizes.items()
            for name, high in (("item_id", 30), ("category", 5))
        },
        "user_segment": rng.integers(4, size=1),
        "context_hour": rng.integers(6, size=1),
    }


def rows(inputs: dict[str, Indices]) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in repeat(inputs).values()]


@pytest.mark.parametrize(("num_candidates", "num_behaviours"), [(1, 1), (7, 3), (5, 20)])
def test_din_as_papers_write_it_gives_the_products_ctrs(num_candidates: int, num_behaviours: int) -> None:
    network = random_network(NetworkName.DIN, SCHEMA, embedding_dim=4)
    assert isinstance(network, DIN)
    inputs = one_users_inputs(num_candidates, num_behaviours)
    with torch.inference_mode():
        repeated = repeat_history(network)(*rows(inputs)).numpy()
    assert repeated == pytest.approx(ServingGraph(network, SCHEMA).score(inputs), abs=1e-6)


def test_what_others_deploy_gives_the_ctrs_of_the_network_it_was_made_of(tmp_path: Path) -> None:
    encoder = shop_encoder(tmp_path / "shop")
    network = random_network(NetworkName.DIN, encoder.schema, embedding_dim=4)
    assert isinstance(network, DIN)
    write_rows_network(tmp_path / "rows", repeat_history(network), encoder)
    candidates, history = ["item-7", "item-19999", "item-3"], ["item-5", "item-7"]
    request = ScoringRequest(candidates, history, {"segment": "segment-4"}, {"hour": "23"}, {}, {})
    expected = ServingGraph(network, encoder.schema).score(encode_request(encoder, request).inputs)

    made = make_rows(read_index(tmp_path / "rows" / INDEX_FILE), candidates, history, "segment-4", "23")
    session = ort.InferenceSession(tmp_path / "rows" / GRAPH_FILE, providers=["CPUExecutionProvider"])
    assert session.run(None, made)[0] == pytest.approx(expected, abs=1e-6)
    restored = RepeatedDIN(**json.loads((tmp_path / "rows" / SIZES_FILE).read_text(encoding="utf-8"))).eval()
    restored.load_state_dict(torch.load(tmp_path / "rows" / WEIGHTS_FILE, weights_only=True))
    with torch.inference_mode():
        eager = restored(*(torch.from_numpy(made[name]) for name in INPUTS)).numpy()
    assert eager == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", [NetworkName.DIEN, NetworkName.DEEPFM])
def test_a_user_per_candidate_gives_the_ctrs_of_one_user(name: NetworkName) -> None:
    network = random_network(name, SCHEMA, embedding_dim=4)
    inputs = one_users_inputs(7, 5)
    with torch.inference_mode():
        repeated = RowPerCandidate(network)(*rows(inputs)).numpy()
    assert repeated == pytest.approx(ServingGraph(network, SCHEMA).score(inputs), abs=1e-6)


def test_services_make_the_rows_that_the_product_s_inputs_make() -> None:
    index = {
        "items": {"a": (2, 3), "b": (4, 2)},
        "segments": {"young": 5},
        "hours": {"21": 7},
        "unknown": UNKNOWN_ID,
    }
    inputs = {
        "candidate_item_id": np.array([4, 1, 2]),
        "candidate_category": np.array([2, 1, 3]),
        "behaviour_item_id": np.array([2, 4]),
        "behaviour_category": np.array([3, 2]),
        "user_segment": np.array([5]),
        "context_hour": np.array([UNKNOWN_ID]),
    }
    made = make_rows(index, ["b", "new", "a"], ["a", "b"], "young", "none")
    expected = repeat(inputs)
    assert made.keys() == expected.keys()
    assert all(made[name].tolist() == expected[name].tolist() for name in made)


def test_services_read_histories_oldest_first() -> None:
    assert read_history([b'{"item_id": "newest", "timestamp": 2}', b'{"item_id": "oldest", "timestamp": 1}']) == [
        "oldest",
        "newest",
    ]


def test_services_rank_by_ecpm() -> None:
    ads = rank([("cheap", 1.0), ("dear", 4.0)], np.array([0.5, 0.25]))
    assert [(ad["rank"], ad["ad_id"], ad["ecpm"]) for ad in ads] == [(1, "dear", 1.0), (2, "cheap", 0.5)]


def test_everything_in_the_shop_has_a_vector_of_its_own(tmp_path: Path) -> None:
    encoder = shop_encoder(tmp_path / "shop")
    assert encoder.schema.max_behaviours == 7
    items = encoder.items(item_ids())["item_id"]
    segments = [encoder.users({"segment": segment_of(user)})["segment"][0] for user in range(NUM_SEGMENTS)]
    hours = [encoder.context({"hour": str(hour)})["hour"][0] for hour in range(NUM_HOURS)]
    for indices in (items, np.array(segments), np.array(hours)):
        assert len(np.unique(indices)) == len(indices)
        assert UNKNOWN_ID not in indices


def test_the_products_alone_are_those_of_the_split_network() -> None:
    shape = Shape(num_behaviours=50, width=64)
    multiplications = 0
    for (num_rows, _), *factors in products(shape).values():
        multiplications += sum(num_rows * size[0] * size[1] for size in factors)
    pairs = 200 * 50 * (64 * UNIT[0] + UNIT[0] * UNIT[1] + UNIT[1])
    apart = (200 + 50) * 64 * UNIT[0]
    interest = 200 * 50 * 64
    tower = 200 * (4 * 64 * TOWER[0] + TOWER[0] * TOWER[1] + TOWER[1])
    assert multiplications == pairs + apart + interest + tower


def test_the_graph_of_products_runs() -> None:
    model, feed = products_graph(Shape(num_behaviours=2, width=8))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    shapes = [output.shape for output in session.run(None, feed)]
    assert shapes == [(200, 80), (2, 80), (400, 1), (200, 8), (200, 1)]


class Fixed:
    """Gives what it is told, and notes when."""

    def __init__(self, ctrs: Sequence[float] | None, told: list[int] | None = None) -> None:
        self._ctrs = ctrs
        self._told = [] if told is None else told

    def prepare(self, material: Material, requests: Sequence[ScoringRequest]) -> None:
        pass

    def score(self, number: int) -> NDArray[Any] | None:
        self._told.append(number)
        return None if self._ctrs is None else np.array(self._ctrs)


class Absent(Fixed):
    def prepare(self, material: Material, requests: Sequence[ScoringRequest]) -> None:
        raise Skipped("there is none")


def test_subjects_that_disagree_are_not_timed() -> None:
    told: list[int] = []
    subjects = {"a": Fixed([0.1, 0.5], told), "b": Fixed([0.1, 0.5002])}
    with pytest.raises(Disagreement, match=r"a, b differ by up to 2\.00e-04"):
        compare(subjects, material=None, requests=[None], rounds=3)  # type: ignore[arg-type, list-item]
    assert told == [0]


def test_ctrs_that_are_all_the_same_prove_no_agreement() -> None:
    with pytest.raises(Disagreement, match="nothing to compare"):
        largest_difference({"a": Fixed([0.5, 0.5]), "b": Fixed([0.5, 0.5])}, 0)


def test_a_subject_that_is_not_there_is_named_with_the_reason() -> None:
    subjects = {"a": Fixed([0.1, 0.5]), "work": Fixed(None), "absent": Absent(None)}
    comparison = compare(subjects, material=None, requests=[None], rounds=2)  # type: ignore[arg-type, list-item]
    assert comparison.skipped == {"absent": "there is none"}
    assert comparison.timings.keys() == {"a", "work"}
    assert {timing.rounds for timing in comparison.timings.values()} == {2}
    assert comparison.largest_difference == 0.0


def test_a_witness_is_asked_and_not_timed() -> None:
    told: list[int] = []
    witness = {"witness": Fixed([0.1, 0.5], told)}
    comparison = compare({"a": Fixed([0.1, 0.5])}, None, [None, None], rounds=2, witnesses=witness)  # type: ignore[arg-type, list-item]
    assert comparison.timings.keys() == {"a"}
    assert told == [0, 1]
    with pytest.raises(Disagreement, match="a, witness differ"):
        compare({"a": Fixed([0.2, 0.5])}, None, [None], rounds=2, witnesses=witness)  # type: ignore[arg-type, list-item]


def test_subjects_take_turns_over_the_requests() -> None:
    told: list[int] = []
    take_turns({"a": Fixed([0.1], told), "b": Fixed([0.1], told)}, 3, rounds=2)
    assert told == [0, 0, 1, 1, 2, 2, 0, 0]
