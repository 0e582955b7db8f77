"""Owner of a column of the impressions, by its values: the item, the user, or the context.

A request has one context for all its candidates, so a value that differs between items must not become context.
"""

import math
from dataclasses import dataclass

import polars as pl

from dinrank.training.prepare.logs.table_file import as_values

_CHANCE = 1e-6  # agreement less likely than this by chance is not chance
_NEARLY = 0.95  # a column that agrees this often changes now and then, or has errors
_KEY, _VALUE = "key", "value"


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of a column's values among the impressions of one item, or of one user.

    Attributes:
        share: of the impressions beyond each item's first, those with the item's most frequent value; 0 to 1.
        is_chance: whether an unrelated column may well agree as often.
    """

    share: float
    is_chance: bool

    @property
    def is_exact(self) -> bool:
        return self.share == 1.0 and not self.is_chance

    @property
    def is_near(self) -> bool:
        return _NEARLY <= self.share < 1.0 and not self.is_chance


def agreement(impressions: pl.DataFrame, key: str, column: str) -> Agreement:
    """Measure the agreement of a column's values within the groups of `key`; a missing value counts as a value.

    If values were drawn independently, each of the d impressions beyond the first of their group would agree with that
    one with probability Σ p², p the values' frequencies; all of them with (Σ p²)^d.
    """
    values = as_values(impressions[column])
    if values is None:
        return Agreement(0.0, is_chance=True)
    if isinstance(values.dtype, pl.List):
        values = values.list.join("\0")
    table = pl.DataFrame({_KEY: impressions[key], _VALUE: values}).drop_nulls()
    counts = table.group_by(_KEY, _VALUE).len()
    by_key = counts.group_by(_KEY).agg(pl.col("len").sum().alias("all"), pl.col("len").max().alias("agreeing"))
    num_beyond_first = int(by_key["all"].sum()) - len(by_key)
    if num_beyond_first == 0:
        return Agreement(0.0, is_chance=True)
    frequencies = table[_VALUE].value_counts(sort=False)["count"] / len(table)
    by_chance = float((frequencies**2).sum())
    share = (int(by_key["agreeing"].sum()) - len(by_key)) / num_beyond_first
    is_rare = num_beyond_first * math.log(by_chance) < math.log(_CHANCE) if by_chance < 1.0 else False
    return Agreement(share, is_chance=not is_rare or share <= (1.0 + by_chance) / 2)
