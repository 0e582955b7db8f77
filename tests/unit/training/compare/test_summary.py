"""Aggregation, against figures worked out by hand."""

import math
from typing import Any

import pytest

from dinrank.model.nets.names import NetworkName
from dinrank.training.compare.contenders import Contender
from dinrank.training.compare.summary import Spread, summarise
from dinrank.training.config import TrainConfig

LR, BASE, DIN = (
    Contender(name.value, name, TrainConfig()) for name in (NetworkName.LR, NetworkName.BASE, NetworkName.DIN)
)


def report(seed: int, gauc: float, auc: float, *, seconds: float = 1.0, best_epoch: float = 1.0) -> dict[str, Any]:
    test = {"gauc": gauc, "auc": auc, "log_loss": gauc / 2, "calibration": 1.0, "expected_calibration_error": 0.1}
    return {
        "seed": seed,
        "test": test,
        "valid": {**test, "gauc": gauc + 0.01},
        "best_epoch": best_epoch,
        "parameters": {"tables": 30, "layers": 4},
        "seconds": seconds,
        "samples_per_second": 100.0 / seconds,
    }


def test_means_and_sample_deviations_over_seeds() -> None:
    """0.70, 0.73, 0.79: mean 0.74, deviations −0.04, −0.01, 0.05, squares 0.0042, halved 0.0021."""
    runs = [
        report(0, 0.70, 0.6, seconds=1.0, best_epoch=2.0),
        report(1, 0.73, 0.6, seconds=2.0, best_epoch=1.5),
        report(2, 0.79, 0.9, seconds=4.0, best_epoch=2.0),
    ]
    (row,) = summarise({DIN: runs})
    assert row.seeds == [0, 1, 2]
    assert row.test["gauc"].mean == pytest.approx(0.74)
    assert row.test["gauc"].std == pytest.approx(math.sqrt(0.0021))
    assert row.test["auc"].mean == pytest.approx(0.7)
    assert row.test["log_loss"].mean == pytest.approx(0.37)
    assert row.valid_gauc.mean == pytest.approx(0.75)
    assert row.valid_gauc.std == pytest.approx(math.sqrt(0.0021))
    assert row.best_epochs == [2.0, 1.5, 2.0]
    assert row.seconds == pytest.approx(7 / 3)
    assert row.samples_per_second == pytest.approx((100 + 50 + 25) / 3)
    assert row.parameters == {"tables": 30, "layers": 4}
    assert row.p50_ms is None


def test_one_seed_has_no_deviation() -> None:
    assert Spread.of([0.7]) == Spread(0.7, None)


def test_rela_impr_is_of_the_means_against_base() -> None:
    """GAUC: means 0.74 and 0.70, (0.24 / 0.20 − 1) = 20 %. AUC: 0.65 and 0.70, (0.15 / 0.20 − 1) = −25 %."""
    rows = summarise(
        {BASE: [report(0, 0.68, 0.70), report(1, 0.72, 0.70)], DIN: [report(0, 0.72, 0.65), report(1, 0.76, 0.65)]}
    )
    assert [row.name for row in rows] == ["din", "base"]
    assert rows[0].rela_impr == {"gauc": pytest.approx(20.0), "auc": pytest.approx(-25.0)}
    assert rows[1].rela_impr == {"gauc": pytest.approx(0.0), "auc": pytest.approx(0.0)}


def test_without_a_base_better_than_chance_there_is_no_rela_impr() -> None:
    assert summarise({DIN: [report(0, 0.7, 0.7)]})[0].rela_impr == {}
    assert summarise({DIN: [report(0, 0.7, 0.7)], BASE: []})[0].rela_impr == {}
    rows = summarise({DIN: [report(0, 0.7, 0.7)], BASE: [report(0, 0.5, 0.6)]})
    assert rows[0].rela_impr == {"auc": pytest.approx(100.0)}


def test_rows_are_ordered_by_test_gauc_and_leave_out_what_has_no_results() -> None:
    rows = summarise(
        {LR: [report(0, math.nan, 0.7)], BASE: [report(0, 0.6, 0.9)], DIN: [report(0, 0.7, 0.5)]}, {"din": 3.5}
    )
    assert [row.name for row in rows] == ["din", "base", "lr"]
    assert [row.p50_ms for row in rows] == [3.5, None, None]
    assert [row.name for row in summarise({LR: [], DIN: [report(0, 0.7, 0.5)]})] == ["din"]
