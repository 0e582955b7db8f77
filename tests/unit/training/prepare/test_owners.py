"""Whose a column of the impressions is, by its values."""

import io
import random
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from dinrank.model.bundle.schema import Group
from dinrank.training.data.dataset import read_dataset
from dinrank.training.prepare.logs.command import LogOptions, prepare_logs
from dinrank.training.prepare.logs.owners import agreement


def of(keys: list[str], values: list[object]) -> tuple[float, bool]:
    found = agreement(pl.DataFrame({"item_id": keys, "x": values}, strict=False), "item_id", "x")
    return found.share, found.is_chance


def test_by_hand() -> None:
    """Six impressions, two items: four beyond the first of their item, of which three have its most frequent value.

    By chance an impression agrees with (3/6)² + (3/6)² = 1/2, so four of four would be no wonder: 1/16.
    """
    assert of(["a", "a", "a", "b", "b", "b"], ["x", "x", "y", "y", "y", "x"]) == (0.5, True)
    assert of(["a", "a", "a", "b", "b", "b"], ["x", "x", "x", "y", "y", "y"]) == (1.0, True)
    assert of(["a"] * 12 + ["b"] * 12, ["x"] * 12 + ["y"] * 12) == (1.0, False)  # (1/2)^22 = 2.4e-7
    assert of(["a"] * 10 + ["b"] * 10, ["x"] * 10 + ["y"] * 10) == (1.0, True)  # (1/2)^18 = 3.8e-6


def test_no_impression_beyond_the_first_tells_nothing() -> None:
    assert of(["a", "b", "c"], ["x", "x", "y"]) == (0.0, True)
    assert of(["a", "a"], [None, "x"]) == (0.0, True)


def test_a_column_with_one_value_is_nobodys() -> None:
    assert of(["a"] * 50 + ["b"] * 50, ["x"] * 100) == (1.0, True)


def test_lists_agree_as_a_whole() -> None:
    same = [["x", "y"]] * 30 + [["x"]] * 30
    assert of(["a"] * 30 + ["b"] * 30, list(same)) == (1.0, False)


@settings(max_examples=50)
@given(st.data())
def test_an_attribute_is_found_whatever_else_the_log_has(data: st.DataObject) -> None:
    generator = random.Random(data.draw(st.integers(0, 2**32)))
    attribute = {f"i{number}": f"v{number % 5}" for number in range(20)}
    keys = [generator.choice(list(attribute)) for _ in range(300)]
    assert of(keys, [attribute[key] for key in keys]) == (1.0, False)
    assert of(keys, [generator.choice("abc") for _ in keys])[1]  # drawn without regard to the item


def log_of(attribute_of: Callable[[str], str], device_of: Callable[[int, str], str]) -> pl.DataFrame:
    rows = []
    for number in range(400):
        user, item = f"u{number % 20}", f"i{number * 7 % 30}"
        rows.append((user, item, number % 3 == 0, number, attribute_of(item), device_of(number, user)))
    return pl.DataFrame(rows, schema=["user_id", "item_id", "clicked", "timestamp", "section", "device"], orient="row")


def prepared(folder: Path, log: pl.DataFrame, **options: object) -> tuple[dict[str, Group], str]:
    file = folder / "log.parquet"
    log.write_parquet(file)
    said = io.StringIO()
    prepare_logs(LogOptions(impressions=file, **options), folder / "out", Console(file=said, width=500))  # type: ignore[arg-type]
    return {each.name: each.group for each in read_dataset(folder / "out").features}, said.getvalue()


def test_what_is_the_same_in_every_impression_of_an_item_describes_the_item(tmp_path: Path) -> None:
    groups, said = prepared(
        tmp_path, log_of(lambda item: f"s{int(item[1:]) % 4}", lambda number, _: f"d{number // 7 % 3}")
    )
    assert groups == {"item_id": Group.ITEM, "section": Group.ITEM, "device": Group.CONTEXT}
    assert "the same in every impression of an item" in said
    assert "Look:" not in said
    items = pl.read_parquet(tmp_path / "out" / "items.parquet")
    assert dict(items.select("item_id", "section").iter_rows()) == {f"i{n}": f"s{n % 4}" for n in range(30)}


def test_what_changes_now_and_then_or_is_a_users_is_asked_about(tmp_path: Path) -> None:
    changed = iter([True] + [False] * 399)
    log = log_of(
        lambda item: "moved" if next(changed) else f"s{int(item[1:]) % 4}", lambda _, user: f"d{int(user[1:]) % 3}"
    )
    groups, said = prepared(tmp_path, log)
    assert groups == {"item_id": Group.ITEM, "section": Group.CONTEXT, "device": Group.CONTEXT}
    # 400 impressions of 30 items, so 370 beyond the first; one of them differs.
    assert f"section is the same in {369 / 370:.1%} of the impressions of an item" in said
    assert "--item-column section" in said
    assert "device is the same in 100.0% of the impressions of a user: --user-column device" in said


def test_with_a_file_of_items_it_is_to_go_there(tmp_path: Path) -> None:
    log = log_of(lambda item: f"s{int(item[1:]) % 4}", lambda number, _: f"d{number // 7 % 3}")
    items = tmp_path / "items.csv"
    items.write_text("item_id,size\n" + "".join(f"i{n},{n % 3}\n" for n in range(30)), encoding="utf-8")
    groups, said = prepared(tmp_path, log, items=items)
    assert groups["section"] is Group.CONTEXT
    assert "move it to items.csv" in said


@pytest.mark.parametrize(
    ("option", "group"),
    [("item_columns", Group.ITEM), ("user_columns", Group.USER), ("context_columns", Group.CONTEXT)],
)
def test_what_was_said_of_a_column_holds(option: str, group: Group, tmp_path: Path) -> None:
    log = log_of(lambda item: f"s{int(item[1:]) % 4}", lambda number, _: f"d{number // 7 % 3}")
    groups, said = prepared(tmp_path, log, **{option: ["section"]})
    assert groups["section"] is group
    assert "the same in every impression" not in said
    assert "Look:" not in said
