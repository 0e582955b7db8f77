"""A replay as a user makes it."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from rich.console import Console
from typer.main import get_command

from dinrank.training.cli import app
from dinrank.training.errors import ReplayError
from dinrank.training.replay.command import ReplayOptions, replay
from dinrank.training.replay.outcomes import AuctionRules
from tests.fixtures import bundle as formula
from tests.fixtures.dataset import write_dataset_directory

SCHEMA = "\n".join(
    ['[dataset]\nname = "log"\nsource = "a test"\n\n[behaviours]\nmax_length = 5']
    + [f'[[features]]\nname = "{f.name}"\ngroup = "{f.group}"\nkind = "{f.kind}"' for f in formula.FEATURES]
)
USERS = [
    {"user_id": f"u{number}", "gender": "mf"[number % 2], "age": 25.0, "interests": ["sport"]} for number in range(40)
]


def impressions(split: str = "test") -> pl.DataFrame:
    """Two visits of each user with three ads each; the label follows the formula's own order."""
    rng = np.random.default_rng(0)
    rows = []
    for user in USERS:
        for visit in range(2):
            for item in rng.choice(list(formula.ITEM_ID), 3, replace=False):
                is_clicked = rng.random() < formula.expected_ctr(str(item)) - 0.1
                rows.append({"user_id": user["user_id"], "item_id": str(item), "clicked": bool(is_clicked),
                             "timestamp": visit, "hour": "9", "is_weekend": False,
                             "bid": round(float(rng.uniform(0.5, 2)), 2)})  # fmt: skip
    table = pl.DataFrame(rows).with_columns(pl.lit(split).alias("split"))
    return pl.concat([table[:1].with_columns(pl.lit(name).alias("split")) for name in ("train", "valid")] + [table])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    items = pl.DataFrame([{"item_id": item_id} | attributes for item_id, attributes in formula.ITEMS.items()])
    tables = {"impressions": impressions(), "items": items, "users": pl.DataFrame(USERS)}
    return write_dataset_directory(tmp_path_factory.mktemp("log") / "log", tables, schema=SCHEMA)


@pytest.fixture(scope="module")
def backwards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that shifts every logit: the same order by CTR, other CTRs, hence another order by eCPM."""
    return formula.make_bundle(tmp_path_factory.mktemp("bundles") / "shifted", shift=-3.0)


def options(data: Path, a: Path, b: Path, **rules: Any) -> ReplayOptions:
    return ReplayOptions(
        data, a, b, AuctionRules(**rules), split="test", bids=None, window=None, resamples=200, seed=0
    )  # fmt: skip


def run(chosen: ReplayOptions) -> tuple[dict[str, Any], str]:
    output = io.StringIO()
    document = replay(chosen, Console(file=output, width=200))
    return document, output.getvalue()


def test_a_bundle_against_itself_brings_exactly_the_same(data: Path, bundle_path: Path) -> None:
    document, printed = run(options(data, bundle_path, bundle_path, second_prices=True))
    nothing = {"estimate": 0.0, "low": 0.0, "high": 0.0}
    figures = document["figures"]
    assert all(
        figures[f"{what}_{how}"] == nothing for what in ("clicks", "revenue") for how in ("difference", "relative")
    )
    assert figures["agreement"] == 1.0
    assert "does not tell their revenue apart" in printed
    assert "A was trained on a data set called by hand, and this one is called log: equal ids must mean" in printed


def test_two_bundles_swapped_give_the_opposite_difference(data: Path, bundle_path: Path, backwards: Path) -> None:
    there, _ = run(options(data, bundle_path, backwards))
    back, _ = run(options(data, backwards, bundle_path))
    difference, opposite = (document["figures"]["revenue_difference"] for document in (there, back))
    assert difference["estimate"] == -opposite["estimate"] != 0.0
    assert (difference["low"], difference["high"]) == pytest.approx((-opposite["high"], -opposite["low"]))
    assert 0.0 < there["figures"]["agreement"] < 1.0
    assert there["slates"] == {
        "rule": "moment", "window": None, "count": 80, "users": 40, "impressions": 240, "impressions_of_the_split": 240
    }  # fmt: skip


def test_the_command_prints_figures_with_their_assumptions_and_writes_them(
    data: Path, bundle_path: Path, backwards: Path, tmp_path: Path
) -> None:
    file = tmp_path / "new" / "replay.json"
    arguments = ["replay", "--data", data, "--bundle", bundle_path, "--against", backwards, "--json", file]
    more = ["--price", "second", "--reserve", "0.6", "--slots", "2", "--resamples", "100"]
    result = CliRunner().invoke(get_command(app), [*map(str, arguments), *more], terminal_width=200)
    assert result.exit_code == 0, result.output
    document = json.loads(file.read_text(encoding="utf-8"))
    printed = re.sub(r"\s+", " ", result.output)
    assert all(sentence in printed for sentence in document["assumptions"])
    assert "A click depends on the user and the ad alone" in printed
    assert "who bids less than 0.6 takes no part" in printed
    assert f"{document['figures']['a']['revenue_per_slate']['estimate']:.4f}" in printed
    assert (document["price"], document["reserve"], document["slots"], document["bids"]) == ("second", 0.6, 2, "bid")


def rewritten(data: Path, out: Path, table: pl.DataFrame) -> Path:
    tables = {name: pl.read_parquet(data / f"{name}.parquet") for name in ("items", "users")}
    return write_dataset_directory(out, tables | {"impressions": table}, schema=SCHEMA)


def test_without_bids_every_bid_is_1_and_the_output_says_so(data: Path, bundle_path: Path, tmp_path: Path) -> None:
    log = rewritten(data, tmp_path / "log", impressions().drop("bid"))
    document, printed = run(options(log, bundle_path, bundle_path))
    assert "There are no bids in the log: every bid is 1" in printed
    assert document["figures"]["a"]["revenue"] == document["figures"]["a"]["clicks"]


@pytest.mark.parametrize(
    ("table", "bids", "said"),
    [
        (impressions(), "price", "no column price for --bids; it has user_id, item_id"),
        (impressions(), "hour", "must be numbers, not String"),
        (impressions().with_columns(bid=-pl.col("bid")), None, r"row 1: -\d.* is no bid.*242 rows"),
        (impressions().with_columns(bid=pl.lit(None, pl.Float64)), None, "row 1: None in column bid is no bid"),
        (impressions().with_columns(clicked=False), None, "none of the 240 impressions .* was clicked"),
        (impressions()[:8], None, "slates of two users at least"),
        (impressions(split="history"), None, "rows to train, validate and test on"),
    ],
)
def test_what_cannot_be_replayed_is_refused_with_what_to_do(
    table: pl.DataFrame, bids: str | None, said: str, data: Path, bundle_path: Path, tmp_path: Path
) -> None:
    log = rewritten(data, tmp_path / "log", table)
    error = Exception if "train, validate" in said else ReplayError
    with pytest.raises(error, match=said):
        run(replace(options(log, bundle_path, bundle_path), bids=bids))


def test_a_log_of_other_items_is_refused_and_a_partly_known_one_says_so(
    data: Path, bundle_path: Path, tmp_path: Path
) -> None:
    other = impressions().with_columns(item_id="x" + pl.col("item_id"))
    with pytest.raises(ReplayError, match="knows none of the items in the slates of log"):
        run(options(rewritten(data, tmp_path / "other", other), bundle_path, bundle_path))
    is_one = pl.int_range(pl.len()) % 4 == 0
    mixed = impressions().with_columns(item_id=pl.when(is_one).then(pl.lit("new")).otherwise("item_id"))
    document, printed = run(options(rewritten(data, tmp_path / "mixed", mixed), bundle_path, bundle_path))
    assert document["bundle"]["known_share"] == pytest.approx(0.75)
    assert "knows the items of 75.0% of the candidates" in printed


def test_of_two_bundles_the_broken_one_is_named(data: Path, bundle_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match=rf"{tmp_path / 'none'} is no bundle that can be replayed.*manifest.json"):
        run(options(data, bundle_path, tmp_path / "none"))
