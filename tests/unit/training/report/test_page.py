"""The page of a network that nobody trained, on the invented dataset."""

import json
import re
from typing import Any
from xml.etree import ElementTree

import pytest

from dinrank.model.layers.calibration import CalibrationMethod
from dinrank.model.nets.names import NetworkName
from dinrank.training.config import TrainConfig
from dinrank.training.data.dataset import Dataset
from dinrank.training.data.encoded import EncodedDataset
from dinrank.training.diagnostics.diagnose import diagnose
from dinrank.training.measure.measurement import calibrate_and_measure
from dinrank.training.report.page import render_page
from tests.fixtures.networks import SMALL, random_network


def make_report(
    name: NetworkName,
    dataset: Dataset,
    data: EncodedDataset,
    calibration: CalibrationMethod = CalibrationMethod.PLATT,
) -> dict[str, Any]:
    network = random_network(name, schema=data.encoder.schema)
    measurement = calibrate_and_measure(network, data, calibration)
    looks = [(0.5, 0.7), (1.0, 0.6), (1.5, 0.65)]
    return {
        "model": name.value,
        "model_version": "0123456789abcdef",
        "dataset": {"name": dataset.name, "source": "a <test> & more", "split": dataset.split_rule},
        "commit": None,
        "seed": 3,
        "config": TrainConfig(network=SMALL).to_json(),
        "versions": {"python": "3.11.7"},
        "epochs": 1.5,
        "best_epoch": 1.0,
        "seconds": 12.345678,
        "samples_per_second": 98765.4,
        "threads": 1,
        **measurement.after,
        "before_calibration": measurement.before,
        "calibration": {"method": calibration.value, "negative_sampling_rate": 1.0, "warning": ""},
        "evaluations": [
            {"epoch": epoch, "train_loss": loss, "valid": measurement.before["valid"]} for epoch, loss in looks
        ],
        "diagnostics": diagnose(network, dataset, data, measurement).to_json(),
    }


@pytest.fixture(scope="module")
def report(dataset: Dataset, encoded_dataset: EncodedDataset) -> dict[str, Any]:
    return make_report(NetworkName.DIN, dataset, encoded_dataset)


@pytest.fixture(scope="module")
def page(report: dict[str, Any]) -> str:
    return render_page(report)


@pytest.fixture(scope="module")
def document(page: str) -> ElementTree.Element:
    """It is XML as well, so that a parser which forgives nothing reads it."""
    return ElementTree.fromstring(page)


def text_of(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def test_nothing_outside_the_file_is_referenced(page: str, document: ElementTree.Element) -> None:
    assert document.findall(".//script") == document.findall(".//link") == document.findall(".//img") == []
    for element in document.iter():
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            if name.rpartition("}")[2] in {"href", "src", "srcset", "data", "action"}:
                assert value.startswith("#")
            assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", value))
    style = text_of(document.findall(".//style")[0])
    assert len(document.findall(".//style")) == 1
    assert "url(" not in style and "@import" not in style and "@font-face" not in style
    assert "://" not in page


def test_equal_reports_give_equal_pages_before_and_after_a_trip_through_json(report: dict[str, Any], page: str) -> None:
    assert render_page(json.loads(json.dumps(report))) == page


def test_the_page_does_not_tell_how_long_the_run_took(report: dict[str, Any], page: str) -> None:
    slower = report | {"seconds": 99.0, "samples_per_second": 1.0}
    assert render_page(slower) == page


def test_every_figure_has_a_title_and_a_text_alternative(document: ElementTree.Element) -> None:
    figures = document.findall(".//figure")
    assert [text_of(figure.find("h3")) for figure in figures][:6] == [  # type: ignore[arg-type]
        "Loss by epoch",
        "Ranking by epoch",
        "Reliability on valid",
        "Reliability on test",
        "GAUC by history length",
        "GAUC by item popularity",
    ]
    assert len(figures) == 6 + 3  # a heat map per user
    by_id = {element.get("id"): element for element in document.iter() if element.get("id")}
    for figure in figures:
        (svg,) = figure.findall(".//svg")
        assert svg.get("role") == "img"
        title, description = (text_of(by_id[name]) for name in svg.attrib["aria-labelledby"].split())
        assert title == text_of(figure.findall("h3")[0])
        assert len(description) > 40
        assert len(figure.findall(".//table/tbody/tr")) >= 3


def test_ids_are_unique_and_every_reference_has_its_target(page: str, document: ElementTree.Element) -> None:
    ids = [element.attrib["id"] for element in document.iter() if "id" in element.attrib]
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r"(?:href=\"|url\()#([\w.-]+)", page)) <= set(ids)


def test_every_colour_is_one_of_both_modes(page: str, document: ElementTree.Element) -> None:
    """A colour that is fixed would vanish on one of the two backgrounds."""
    style = text_of(document.findall(".//style")[0])
    light, dark = (set(re.findall(r"--([\w-]+):", part)) for part in style.split("prefers-color-scheme: dark")[:2])
    assert light == dark
    assert set(re.findall(r"var\(--([\w-]+)\)", page)) <= light
    for svg in document.findall(".//svg"):
        assert not re.search(r"#[0-9a-f]{6}", ElementTree.tostring(svg, encoding="unicode"))


def test_the_metrics_are_the_reports_calibrated_and_not(report: dict[str, Any], document: ElementTree.Element) -> None:
    rows = [[text_of(cell) for cell in row] for row in document.findall(".//table")[0].findall(".//tr")]
    assert rows[0] == ["split", "AUC", "GAUC", "log loss", "Σctr/Σclicks", "ECE"]
    assert [row[0] for row in rows[1:]] == ["valid, uncalibrated", "valid", "test, uncalibrated", "test"]
    assert rows[4][1:] == [f"{value:.4f}" for value in report["test"].values()]
    assert rows[3][1:] == [f"{value:.4f}" for value in report["before_calibration"]["test"].values()]


def test_text_from_the_data_is_text_and_not_markup(report: dict[str, Any]) -> None:
    """An item's label is drawn and listed as it is: no markup, no formula, no warning of a missing glyph."""
    odd = json.loads(json.dumps(report))
    odd["diagnostics"]["activations"]["maps"][0]["candidates"][0] = {"item_id": "<b>$1&$\x01", "attribute": "書"}
    document = ElementTree.fromstring(render_page(odd))
    assert "a <test> & more" in text_of(document)
    svg = next(figure for figure in document.findall(".//figure") if "clicked: <b>" in text_of(figure))
    assert "clicked: <b>$1&$\N{REPLACEMENT CHARACTER} 書" in [text_of(text) for text in svg.findall(".//svg//text")]


def test_a_bucket_without_enough_users_says_so(report: dict[str, Any], document: ElementTree.Element) -> None:
    figure = document.findall(".//figure")[4]
    buckets = report["diagnostics"]["gauc_by_history_length"]
    missing = [bucket for split in ("valid", "test") for bucket in buckets[split] if bucket["gauc"] is None]
    assert missing
    assert text_of(figure.findall(".//table")[0]).count("too few users") == len(missing)
    assert "too few users" in text_of(figure.findall(".//svg")[0])


def test_without_unit_and_calibration_the_page_says_so(dataset: Dataset, encoded_dataset: EncodedDataset) -> None:
    report = make_report(NetworkName.BASE, dataset, encoded_dataset, CalibrationMethod.NONE)
    document = ElementTree.fromstring(render_page(report))
    assert len(document.findall(".//figure")) == 6
    text = text_of(document)
    assert "The network base gives no activation weights" in text
    assert "uncalibrated" not in text


def test_a_warning_of_the_calibration_and_the_sampling_rate_are_shown(report: dict[str, Any], page: str) -> None:
    assert "Warning:" not in page
    calibration = report["calibration"] | {"warning": "no better than chance", "negative_sampling_rate": 0.1}
    text = text_of(ElementTree.fromstring(render_page(report | {"calibration": calibration})))
    assert "Warning: no better than chance" in text
    assert "with a share of 0.1 of the not-clicked impressions" in text
