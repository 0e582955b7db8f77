"""Train, valid and test split: valid rows decide, test rows are read once."""

import polars as pl

from dinrank.training.errors import DatasetError

HISTORY = "history"  # behaviours only: neither trained nor measured on
TRAIN = "train"
VALID = "valid"
TEST = "test"
SPLITS = (HISTORY, TRAIN, VALID, TEST)


def split_by_time(impressions: pl.DataFrame) -> pl.DataFrame:
    """Add the column `split`: the earliest 80 % of the rows train, the next 10 % valid, the last 10 % test.

    Simultaneous rows stay together, on the later side.
    """
    timestamp = impressions["timestamp"].sort()
    first_valid = timestamp[len(timestamp) * 8 // 10]
    first_test = timestamp[len(timestamp) * 9 // 10]
    split = (
        pl.when(pl.col("timestamp") < first_valid)
        .then(pl.lit(TRAIN))
        .when(pl.col("timestamp") < first_test)
        .then(pl.lit(VALID))
        .otherwise(pl.lit(TEST))
    )
    return impressions.with_columns(split.alias("split"))


def require_both_classes(impressions: pl.DataFrame) -> None:
    """Require a user with both classes in valid and test: training stops by GAUC, which is undefined without.

    Raises:
        DatasetError: valid or test has no such user.
    """
    for split in (VALID, TEST):
        by_user = impressions.filter(pl.col("split") == split).group_by("user_id").agg(pl.col("clicked").n_unique())
        if not (by_user["clicked"] > 1).any():
            raise DatasetError(
                "impressions.parquet",
                expected=f"a user with clicked and not-clicked impressions in {split}, which GAUC needs",
                found="none",
            )
