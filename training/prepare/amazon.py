"""Prepare Amazon product reviews: a review is a click, its negative is drawn.

Source: the 2014 5-core files of McAuley et al., "Image-based Recommendations on Styles and Substitutes",
    SIGIR 2015. Negatives as in Zhou et al., "Deep Interest Network for Click-Through Rate Prediction",
    KDD 2018, section 6.1; there the trainer draws them, here they are drawn once and kept.
"""

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from dinrank.model.bundle.schema import Group
from dinrank.training.data.declaration import DeclaredFeature
from dinrank.training.errors import DatasetError
from dinrank.training.prepare.dataset_directory import require_vacant, write_dataset
from dinrank.training.prepare.negatives import draw_unreviewed_items
from dinrank.training.prepare.raw_text import excerpt, open_lines

_REVIEW_SCHEMA = {"user_id": pl.String, "item_id": pl.String, "second": pl.Int64}
_ITEM_SCHEMA = {"item_id": pl.String, "category": pl.String, "brand": pl.String}
_SOURCE = "Amazon 2014 5-core reviews; one uniformly drawn negative per review; each user's last review is the test"


def prepare_amazon_reviews(raw: Path, out: Path, seed: int = 0, name: str | None = None) -> None:
    """Turn one category of Amazon reviews into a dataset directory; items are the reviewed ones.

    Args:
        raw: holds one reviews_*_5.json[.gz] (JSON lines) and one meta_*.json[.gz] (Python literals, a line each).
        seed: of the drawn negatives; one seed and one pair of files give one dataset.
        name: of the dataset; absent = "amazon-" and the category in the reviews file's name, in lower case.

    Raises:
        DatasetError: a raw file is missing, twice there or malformed, a user has reviewed every item
            so that no negative exists, or `out` is not vacant.
    """
    require_vacant(out)
    reviews_path = _only_file(raw, "reviews_*_5.json")
    meta_path = _only_file(raw, "meta_*.json")
    reviews = _read_reviews(reviews_path)
    _require_unreviewed_items(reviews, reviews_path)
    items = reviews.select(pl.col("item_id").unique().sort())
    category = reviews_path.name.removeprefix("reviews_").partition("_5.json")[0]
    write_dataset(
        out,
        name=name or f"amazon-{category.lower().replace('_', '-')}",
        source=_SOURCE,
        features=(
            DeclaredFeature("item_id", Group.ITEM),
            DeclaredFeature("category", Group.ITEM),
            DeclaredFeature("brand", Group.ITEM),
        ),
        impressions=impressions_from_reviews(reviews, seed=seed),
        items=items.join(_read_items(meta_path), on="item_id", how="left", maintain_order="left"),
        users=reviews.select(pl.col("user_id").unique().sort()),
    )


def impressions_from_reviews(reviews: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    """Order and split the reviews, and give each but a user's first one a negative.

    `timestamp` is the dense rank of the review's second within the user, from 0. Amazon gives only the day,
    so reviews of one day are simultaneous: none is another's behaviour. For the split they keep the order
    of `reviews`. A user's first review is `history`, even when it is the only one; of the others the last is
    `test`, the second-last `valid`, the rest `train`. So two reviews give history and test. A user whose
    reviews all share a day gives impressions with empty behaviours.

    A review and its negative are neighbours in random order: the position does not reveal the label.

    Args:
        reviews: user_id, item_id, second; not empty.

    Raises:
        ValueError: a user with more than one review has reviewed every item.
    """
    rng = np.random.default_rng(seed)
    position, last = pl.int_range(pl.len()).over("user_id"), pl.len().over("user_id") - 1
    ordered = reviews.sort("user_id", "second", maintain_order=True).with_columns(
        clicked=pl.lit(True),
        timestamp=pl.col("second").rank("dense").over("user_id").cast(pl.Int64) - 1,
        split=pl.when(position == 0)
        .then(pl.lit("history"))
        .when(position == last)
        .then(pl.lit("test"))
        .when(position == last - 1)
        .then(pl.lit("valid"))
        .otherwise(pl.lit("train")),
        user=pl.col("user_id").rank("dense").cast(pl.Int64) - 1,
        item=pl.col("item_id").rank("dense").cast(pl.Int64) - 1,
        order=pl.int_range(pl.len()),
    )
    catalogue = ordered["item_id"].unique().sort()
    reviewed = ordered.select("user", "item").unique().sort("user", "item")
    shown = ordered.filter(pl.col("split") != "history")
    drawn_N = draw_unreviewed_items(
        shown["user"].to_numpy(),
        reviewed["user"].to_numpy(),
        reviewed["item"].to_numpy(),
        num_items=len(catalogue),
        rng=rng,
    )
    negatives = shown.with_columns(
        item_id=catalogue.gather(drawn_N),
        clicked=pl.lit(False),
        is_after=pl.Series(rng.random(len(shown)) < 0.5),
    )
    # A negative sorts before or after its review, which lies between the two.
    place = pl.when(pl.col("clicked")).then(0).when(pl.col("is_after")).then(1).otherwise(-1)
    return (
        pl.concat([ordered.with_columns(is_after=pl.lit(False)), negatives])
        .sort("order", place)
        .select("user_id", "item_id", "clicked", "timestamp", "split")
    )


def _only_file(raw: Path, pattern: str) -> Path:
    found = sorted([*raw.glob(pattern), *raw.glob(f"{pattern}.gz")])
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.name for path in found) or "none"
    advice = "put the reviews and the metadata of one category into one folder"
    raise DatasetError(raw, expected=f"exactly one {pattern} or {pattern}.gz", found=names, advice=advice)


def _read_reviews(path: Path) -> pl.DataFrame:
    users, items, seconds = [], [], []
    with open_lines(path) as lines:
        for number, line in lines:
            match _parse_json(line):
                case {"reviewerID": str(user), "asin": str(item), "unixReviewTime": int(second)}:
                    users.append(user)
                    items.append(item)
                    seconds.append(second)
                case _:
                    expected = "a JSON object with reviewerID and asin as text and unixReviewTime as an integer"
                    raise DatasetError(path, line=number, expected=expected, found=excerpt(line))
    if not users:
        raise DatasetError(path, expected="reviews, one JSON object per line", found="none")
    return pl.DataFrame({"user_id": users, "item_id": items, "second": seconds}, schema=_REVIEW_SCHEMA)


def _parse_json(line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


def _read_items(path: Path) -> pl.DataFrame:
    rows = []
    with open_lines(path) as lines:
        for number, line in lines:
            match _parse_literal(line):
                case {"asin": str(item), **attributes}:
                    rows.append((item, _category(attributes), _brand(attributes)))
                case _:
                    expected = "a Python dict with asin as text"
                    raise DatasetError(path, line=number, expected=expected, found=excerpt(line))
    return pl.DataFrame(rows, schema=_ITEM_SCHEMA, orient="row").unique("item_id", keep="first")


def _parse_literal(line: str) -> Any:
    try:
        return ast.literal_eval(line)
    except (SyntaxError, ValueError):
        return None


def _category(attributes: Mapping[object, object]) -> str | None:
    """The last, most specific entry of the first category path."""
    match attributes.get("categories"):
        case [[*_, str(category)], *_]:
            return category.strip() or None
        case _:
            return None


def _brand(attributes: Mapping[object, object]) -> str | None:
    match attributes.get("brand"):
        case str(brand):
            return brand.strip() or None
        case _:
            return None


def _require_unreviewed_items(reviews: pl.DataFrame, path: Path) -> None:
    num_items = reviews["item_id"].n_unique()
    per_user = reviews.group_by("user_id").agg(num_reviewed=pl.col("item_id").n_unique(), num_reviews=pl.len())
    exhausted = per_user.filter((pl.col("num_reviewed") == num_items) & (pl.col("num_reviews") > 1))
    if exhausted.height:
        user = str(exhausted["user_id"].min())
        raise DatasetError(
            path,
            expected=f"an item that user {user} never reviewed, to draw negatives from",
            found=f"{num_items} items in the whole file, all reviewed by this user",
            advice="use a larger category",
        )
