"""CTRs of slates by the bundle of the formula, whose CTRs plain Python computes from raw values."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from dinrank.model.bundle.catalogue import Catalogue
from dinrank.model.bundle.encoding import Encoder
from dinrank.model.bundle.golden import GoldenAnswer
from dinrank.model.bundle.reader import open_bundle
from dinrank.model.bundle.request import ScoringRequest
from dinrank.model.bundle.schema import FeatureSchema, Group
from dinrank.model.bundle.writer import write_bundle
from dinrank.training.data.dataset import Dataset
from dinrank.training.errors import ParityError, ReplayError
from dinrank.training.replay.scoring import score_slates
from dinrank.training.replay.slates import make_slates
from tests.fixtures import bundle as formula
from tests.fixtures.dataset import tiny_dataset

NEW = {"genre": ["Horror"], "price": 12.0}  # an item that came after the bundle
USERS = {
    "u": {"gender": "f", "age": 30.0, "interests": ["sport", "music"]},
    "v": {"gender": "m", "age": 20.0, "interests": None},
}
IMPRESSIONS: list[tuple[str, str, bool, int, str]] = [
    # user, item, clicked, time, hour
    ("u", "1", True, 1, "9"),
    ("u", "new", True, 2, "9"),
    ("u", "3", False, 2, "9"),
    ("u", "rare", True, 3, "9"),
    ("u", "4", True, 4, "21"),
    ("u", "5", False, 5, "9"),
    ("u", "1", True, 6, "9"),
    ("v", "2", True, 5, "21"),
    ("v", "new", False, 6, "9"),
    ("v", "never described", False, 6, "9"),
]


def log(impressions: Sequence[tuple[str, str, bool, int, str]] = IMPRESSIONS) -> Dataset:
    rows = pl.DataFrame(impressions, schema=["user_id", "item_id", "clicked", "timestamp", "hour"], orient="row")
    items = [{"item_id": item_id} | attributes for item_id, attributes in (formula.ITEMS | {"new": NEW}).items()]
    return tiny_dataset(
        rows.with_columns(pl.lit("test").alias("split"), pl.lit(True).alias("is_weekend")),
        items=pl.DataFrame(items),
        users=pl.DataFrame([{"user_id": user_id} | profile for user_id, profile in USERS.items()]),
        features=[(feature.name, feature.group, feature.kind) for feature in formula.FEATURES],
    )


def scored(bundle: Path, dataset: Dataset, *, window: int | None) -> dict[int, float]:
    """CTR by row of the log."""
    slates = make_slates(dataset.impressions, "test", slots=1, window=window, rng=np.random.default_rng(0))
    ctr_N = score_slates(open_bundle(bundle), dataset, slates)
    return dict(zip(slates.rows_N.tolist(), ctr_N.tolist(), strict=True))


def expected(row: int, moment: int) -> float:
    """As the service would answer at the time of the row `moment`: what is simultaneous or later is no behaviour."""
    user, item, *_ = IMPRESSIONS[row]
    _, _, _, now, hour = IMPRESSIONS[moment]
    behaviours = [seen for who, seen, clicked, time, _ in IMPRESSIONS if who == user and clicked and time < now]
    attributes: dict[int, dict[str, Any]] = {place: NEW for place, seen in enumerate(behaviours) if seen == "new"}
    return formula.expected_ctr(
        item,
        behaviours,
        profile=USERS[user],
        context={"hour": hour, "is_weekend": True},
        attributes=NEW if item == "new" else None,
        behaviour_attributes=attributes,
    )


def test_impressions_of_one_moment_share_the_history_before_it(bundle_path: Path) -> None:
    found = scored(bundle_path, log(), window=None)
    assert found == pytest.approx({row: expected(row, row) for row in (1, 2, 8, 9)}, abs=1e-6)


def test_a_window_is_one_request_at_its_beginning(bundle_path: Path) -> None:
    """Clicks within the window are no behaviours, and the context is that of its first impression."""
    moments = {0: 0, 1: 0, 2: 0, 3: 3, 4: 3, 5: 3, 7: 7, 8: 7, 9: 7}
    found = scored(bundle_path, log(), window=3)
    assert found == pytest.approx({row: expected(row, moment) for row, moment in moments.items()}, abs=1e-6)


@pytest.mark.parametrize("window", [None, 2, 3])
def test_no_label_of_a_slate_or_of_what_follows_moves_its_ctrs(bundle_path: Path, window: int | None) -> None:
    before = scored(bundle_path, log(), window=window)
    slates = make_slates(log().impressions, "test", slots=1, window=window, rng=np.random.default_rng(0))
    for slate, moment in enumerate(slates.moment_S.tolist()):
        user, now = IMPRESSIONS[moment][0], IMPRESSIONS[moment][3]
        turned = [
            (who, item, (not clicked) if who == user and time >= now else clicked, time, hour)
            for who, item, clicked, time, hour in IMPRESSIONS
        ]
        after = scored(bundle_path, log(turned), window=window)
        assert all(after[row] == before[row] for row in slates.rows_N[slates.of(slate)].tolist())


def small_bundle(path: Path) -> Path:
    """The formula with two item features alone and a history of 2."""
    schema = FeatureSchema(features=formula.FEATURES[:2], max_behaviours=2)
    whole = formula.make_encoder()
    names = [feature.name for feature in schema.group(Group.ITEM)]
    encoder = Encoder(
        schema=schema,
        vocabularies={name: whole.vocabularies[name] for name in names},
        catalogue=Catalogue(whole.catalogue.item_ids, {name: whole.catalogue.columns[name] for name in names}),
    )
    graph = path.with_name(f"{path.name}.parts") / "model.onnx"
    graph.parent.mkdir()
    formula.write_graph(graph, schema=schema)
    request = ScoringRequest(["1"], [], profile={}, context={}, candidate_attributes={}, behaviour_attributes={})
    golden = [GoldenAnswer(request, [small_ctr("1", [])])]
    write_bundle(
        path,
        model_name="small",
        encoder=encoder,
        graph_files=[graph],
        golden=golden,
        training={},
        metrics={},
        calibration={"method": "none"},
    )
    return path


def small_ctr(item: str, behaviours: Sequence[str]) -> float:
    numbers = {"1": 0.1 + 0.2, "new": 0.05 + 0.6, "3": 0.3 + 0.6, "rare": 0.05 + 0.6 + 0.2, "4": -0.4 + 0.2 - 0.3}
    logit = numbers[item] * (1 + sum(numbers[each] for each in behaviours[-2:]))
    return 1 / (1 + math.exp(-logit))


def test_a_bundle_with_fewer_features_and_a_shorter_history_is_scored_by_its_own(tmp_path: Path) -> None:
    found = scored(small_bundle(tmp_path / "small"), log(IMPRESSIONS[:5]), window=2)
    first, second = (small_ctr("1", []), small_ctr("new", [])), (small_ctr("3", ["1"]), small_ctr("rare", ["1"]))
    assert [found[row] for row in range(4)] == pytest.approx([*first, *second], abs=1e-6)
    late = [*IMPRESSIONS[:2], *IMPRESSIONS[3:4], ("u", "4", True, 9, "9"), ("u", "1", True, 9, "9")]
    found = scored(tmp_path / "small", log(late), window=None)
    assert found[3] == pytest.approx(small_ctr("4", ["1", "new", "rare"]), abs=1e-6)  # the newest two of three


def test_a_log_without_a_feature_that_the_bundle_needs_is_refused(bundle_path: Path) -> None:
    dataset = log()
    fewer = tuple(feature for feature in dataset.features if feature.name not in ("hour", "gender"))
    said = r"gender \(user\), hour \(context\)\. Add them to its schema\.toml"
    with pytest.raises(ReplayError, match=said):
        scored(bundle_path, replace(dataset, features=fewer), window=None)


def test_a_feature_of_another_kind_is_refused(bundle_path: Path) -> None:
    dataset = log()
    lists = dataset.users.with_columns(pl.col("gender").map_elements(lambda value: [value], pl.List(pl.String)))
    with pytest.raises(ReplayError, match="gender takes one value, not a list of 1"):
        scored(bundle_path, replace(dataset, users=lists), window=None)


def test_a_graph_that_does_not_give_its_golden_answers_is_refused(tmp_path: Path) -> None:
    wrong = formula.make_bundle(tmp_path / "wrong", golden=formula.golden_answers(shift=0.1))
    with pytest.raises(ParityError, match="golden request 0 of"):
        scored(wrong, log(), window=None)
