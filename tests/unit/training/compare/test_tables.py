import json
from pathlib import Path
from xml.etree import ElementTree

from dinrank.training.compare.plot import draw
from dinrank.training.compare.summary import Row, Spread
from dinrank.training.compare.tables import Comparison


def row(name: str, gauc: Spread, *, p50_ms: float | None = 1.5) -> Row:
    others = {
        metric: Spread(0.25, 0.125) for metric in ("auc", "log_loss", "calibration", "expected_calibration_error")
    }
    return Row(
        name=name,
        model="din",
        seeds=[0, 1],
        test={"gauc": gauc, **others},
        valid_gauc=Spread(0.75, None),
        rela_impr={} if name == "base" else {"gauc": 12.345, "auc": -50.0},
        best_epochs=[1.5, 0.5] if name == "din" else [2.0, 2.0],
        parameters={"tables": 1_234_567, "layers": 89},
        seconds=1234.56,
        samples_per_second=98765.4,
        p50_ms=p50_ms,
    )


def comparison(*rows: Row, behaviours: int | None = 50) -> Comparison:
    return Comparison(
        dataset={"name": "shop", "source": "logs", "split": "by time"},
        command="python -m training compare --data shop",
        machine={"processor": "a processor", "cores": 2, "system": "Linux", "load": [0.5, 0.5, 0.5]},
        jobs=2,
        epochs=[5, 10],
        commits=["abc", "def"],
        threads=[1, 2],
        versions=[{"torch": "2.13.0"}, {"torch": "2.13.1"}],
        rows=rows,
        unfinished=["lr-1"],
        behaviours=behaviours,
    )


def table_rows(markdown: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line.startswith("|")
    ]


def test_each_network_has_a_row_of_rounded_figures_in_both_tables() -> None:
    quality, _, din, base, cost, _, din_cost, _ = table_rows(
        comparison(row("din", Spread(0.71239, 0.00126)), row("base", Spread(0.7, None))).to_markdown()
    )
    assert dict(zip(quality, din, strict=True)) == {
        "network": "din",
        "seeds": "2",
        "GAUC": "0.7124 ± 0.0013",
        "RelaImpr of GAUC": "+12.35 %",
        "AUC": "0.2500 ± 0.1250",
        "RelaImpr of AUC": "-50.00 %",
        "log loss": "0.2500",
        "Σctr/Σclicks": "0.250",
        "ECE": "0.2500",
        "valid GAUC": "0.7500",
        "best epoch": "0.5 to 1.5",
    }
    of_base = dict(zip(quality, base, strict=True))
    assert (of_base["GAUC"], of_base["RelaImpr of GAUC"], of_base["best epoch"]) == ("0.7000", "–", "2")
    assert dict(zip(cost, din_cost, strict=True)) == {
        "network": "din",
        "parameters in tables": "1,234,567",
        "in layers": "89",
        "training s": "1,234.6",
        "samples/s": "98,765",
        "scoring ms": "1.50",
    }


def test_circumstances_are_named_all_of_them() -> None:
    text = comparison(row("din", Spread(0.7, None))).to_markdown()
    for wanted in ("shop (logs); split by time", "`python -m training compare --data shop`", "abc, def", "a processor"):
        assert wanted in text
    for wanted in ("2 at a time, torch threads each: 1, 2", "torch 2.13.0", "torch 2.13.1", "left out**: lr-1"):
        assert wanted in text
    assert "epochs at most 5 to 10," in text
    assert "load average when this was written 0.5" in text
    assert "history of 50 behaviours" in text


def test_before_scoring_is_measured_the_table_says_so() -> None:
    text = comparison(row("din", Spread(0.7, None), p50_ms=None), behaviours=None).to_markdown()
    assert "Scoring has not been measured yet" in text
    assert table_rows(text)[-1][-1] == "–"


def test_the_json_has_every_figure_unrounded() -> None:
    document = json.loads(json.dumps(comparison(row("din", Spread(0.71239, 0.00126))).to_json()))
    assert document["rows"][0]["test"]["gauc"] == {"mean": 0.71239, "std": 0.00126}
    assert document["commits"] == ["abc", "def"]


def test_the_picture_is_svg_and_the_same_for_the_same_rows(tmp_path: Path) -> None:
    """With and without the panel of cost; a dollar in a name is a dollar."""
    for p50_ms in (None, 150.0):
        rows = [row("din", Spread(0.71, 0.01), p50_ms=p50_ms), row("base", Spread(0.70, None), p50_ms=p50_ms)]
        files = [tmp_path / f"{number}-{p50_ms}.svg" for number in (1, 2)]
        for file in files:
            draw(rows, file, dataset="$shop$")
        assert ElementTree.parse(files[0]).getroot().tag.endswith("svg")
        assert files[0].read_bytes() == files[1].read_bytes()
        panels = [group for group in ElementTree.parse(files[0]).iter() if group.get("id", "").startswith("axes_")]
        assert len(panels) == (1 if p50_ms is None else 2)
