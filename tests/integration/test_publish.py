"""Invented dataset directories into a real Redis. The bundle's catalogue holds the items 1 to 5 and `rare`."""

import json
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from dinrank.model.bundle.catalogue import Catalogue, column_with_sentinels
from dinrank.model.bundle.encoding import Encoder
from dinrank.model.bundle.manifest import Manifest
from dinrank.model.bundle.reader import Bundle
from dinrank.model.bundle.schema import Feature, FeatureSchema, Group, Kind
from dinrank.model.bundle.vocabulary import Vocabulary
from dinrank.service.errors import FeatureStoreUnavailable
from dinrank.service.publish import DatasetUnreadable, PublishReport, publish
from dinrank.service.store.user_data import published_user_ids
from tests.fixtures.bundle import make_encoder
from tests.fixtures.redis_server import RedisServer, wait_until

ROOT = Path(__file__).parents[2]

IMPRESSIONS = {
    "user_id": [7, 7, 7, 8, 7, 7, 7, 7, 8],
    "item_id": ["1", "2", "3", "1", "4", "5", "new", "rare", "2"],
    "clicked": [True, True, False, True, True, True, True, True, False],
    "timestamp": [30, 10, 20, 5, 40, 50, 60, 70, 6],
    "split": ["train", "history", "train", "train", "train", "valid", "valid", "test", "test"],
}
ITEMS = {
    "item_id": ["1", "new", "bare"],
    "genre": [["Comedy"], ["Drama", "Horror"], None],
    "price": [5.0, 12.0, None],
}
USERS = {
    "user_id": ["7", "9"],
    "gender": ["f", None],
    "age": [30, 41],
    "interests": [["sport", "music"], []],
}


def bundle_of(encoder: Encoder) -> Bundle:
    return Bundle(path=Path("nowhere"), manifest=Manifest("formula", "0", {}, {}, {}, {}), encoder=encoder, golden=())


def bundle_with(*features: Feature) -> Bundle:
    """A bundle of these features that knows no item and no value."""
    columns = {
        feature.name: column_with_sentinels(pl.Series([], dtype=pl.Int64).to_numpy())
        for feature in features
        if feature.group is Group.ITEM
    }
    vocabularies = {feature.name: Vocabulary(()) for feature in features}
    return bundle_of(Encoder(FeatureSchema(features, max_behaviours=5), vocabularies, Catalogue((), columns)))


BUNDLE = bundle_of(make_encoder())
ITEM_ID = Feature("item_id", Group.ITEM, Kind.SINGLE, num_indices=2)


def write_dataset(out: Path, **changed: Mapping[str, Any] | None) -> Path:
    """The dataset above with some of its tables replaced, added, or left out (None)."""
    out.mkdir(exist_ok=True)
    for name, table in {"impressions": IMPRESSIONS, "items": ITEMS, "users": USERS, **changed}.items():
        if table is not None:
            pl.DataFrame(table, strict=False).write_parquet(out / f"{name}.parquet")
    return out


def lists(server: RedisServer) -> dict[str, list[str]]:
    """Item ids of every behaviours list, newest first."""
    keys = server.client.keys("*:behaviours")
    pipeline = server.client.pipeline(transaction=False)
    for key in keys:
        pipeline.lrange(key, 0, -1)
    return {
        key.decode(): [json.loads(element)["item_id"] for element in elements]
        for key, elements in zip(keys, pipeline.execute(), strict=True)
    }


def everything(server: RedisServer) -> dict[bytes, Any]:
    client = server.client
    return {
        key: client.lrange(key, 0, -1) if client.type(key) == b"list" else client.hgetall(key)
        for key in client.scan_iter()
    }


def test_everything_lies_where_the_layout_says(tmp_path: Path, redis_url: str, redis_server: RedisServer) -> None:
    report = publish(BUNDLE, write_dataset(tmp_path), redis_url)
    assert everything(redis_server) == {
        b"{u:7}:behaviours": [
            b'{"item_id":"rare","timestamp":70}',
            b'{"genre":["Drama","Horror"],"price":"12","item_id":"new","timestamp":60}',
            b'{"item_id":"5","timestamp":50}',
            b'{"item_id":"4","timestamp":40}',
            b'{"item_id":"1","timestamp":30}',  # the sixth, "2" at time 10, is one too many
        ],
        b"{u:8}:behaviours": [b'{"item_id":"1","timestamp":5}'],
        b"{u:7}:profile": {b"gender": b"f", b"age": b"30", b"interests": b'["sport","music"]'},
        b"{u:9}:profile": {b"age": b"41"},
        b"ad:new": {b"genre": b'["Drama","Horror"]', b"price": b"12"},
    }
    assert (report.num_users, report.num_behaviours, report.num_ads, report.num_others) == (3, 6, 2, 0)


def test_a_report_reads_as_a_sentence() -> None:
    report = PublishReport(num_users=1_234, num_behaviours=50_000, num_ads=7, num_others=0, duration_s=2.04)
    assert str(report) == "1,234 users, 50,000 behaviours and 7 new ads published in 2.0 s"


def test_publishing_twice_leaves_the_same_state_as_once(
    tmp_path: Path, redis_url: str, redis_server: RedisServer
) -> None:
    publish(BUNDLE, write_dataset(tmp_path), redis_url)
    once = everything(redis_server)
    publish(BUNDLE, tmp_path, redis_url)
    assert everything(redis_server) == once


def test_behaviours_parquet_takes_the_place_of_clicks(
    tmp_path: Path, redis_url: str, redis_server: RedisServer
) -> None:
    behaviours = {"user_id": ["8", "8"], "item_id": ["3", "4"], "timestamp": [2.5, 1.5]}
    publish(BUNDLE, write_dataset(tmp_path, behaviours=behaviours), redis_url)
    assert lists(redis_server) == {"{u:8}:behaviours": ["3", "4"]}


def test_simultaneous_behaviours_keep_the_order_of_the_file(
    tmp_path: Path, redis_url: str, redis_server: RedisServer
) -> None:
    behaviours = {"user_id": ["8"] * 4, "item_id": ["1", "2", "3", "4"], "timestamp": [2, 1, 2, 1]}
    publish(BUNDLE, write_dataset(tmp_path, behaviours=behaviours), redis_url)
    assert lists(redis_server) == {"{u:8}:behaviours": ["3", "1", "4", "2"]}


def test_any_log_is_published_as_a_plain_loop_would(tmp_path: Path, redis_url: str, redis_server: RedisServer) -> None:
    dice = random.Random(0)
    rows = [(dice.randrange(300), dice.randrange(50), dice.random() < 0.5, dice.randrange(20)) for _ in range(5_000)]
    columns = dict(zip(("user_id", "item_id", "clicked", "timestamp"), zip(*rows, strict=True), strict=True))
    publish(BUNDLE, write_dataset(tmp_path, impressions=columns), redis_url)
    expected: dict[str, list[str]] = defaultdict(list)
    for user_id, item_id, clicked, _ in sorted(rows, key=lambda row: row[3]):
        if clicked:
            expected[f"{{u:{user_id}}}:behaviours"].insert(0, str(item_id))
    assert lists(redis_server) == {key: item_ids[:5] for key, item_ids in expected.items()}


def test_one_id_in_three_spellings_is_one_user(tmp_path: Path, redis_url: str, redis_server: RedisServer) -> None:
    impressions = {"user_id": [7.0], "item_id": [1.0], "clicked": [1], "timestamp": [datetime(2001, 9, 9, 1, 46, 40)]}
    publish(BUNDLE, write_dataset(tmp_path, impressions=impressions, users={**USERS, "user_id": [7, 9]}), redis_url)
    stored = everything(redis_server)
    assert stored[b"{u:7}:behaviours"] == [b'{"item_id":"1","timestamp":1000000000.0}']
    assert stored[b"{u:7}:profile"][b"gender"] == b"f"


def test_times_with_a_zone_are_seconds_since_1970(tmp_path: Path, redis_url: str, redis_server: RedisServer) -> None:
    moment = datetime.fromtimestamp(1_000_000_000.5, tz=UTC)
    behaviours = {"user_id": ["8"], "item_id": ["1"], "timestamp": [moment]}
    publish(BUNDLE, write_dataset(tmp_path, behaviours=behaviours), redis_url)
    assert everything(redis_server)[b"{u:8}:behaviours"] == [b'{"item_id":"1","timestamp":1000000000.5}']


def test_a_user_whose_behaviours_are_gone_has_none_and_others_stay(
    tmp_path: Path, redis_url: str, redis_server: RedisServer
) -> None:
    for user_id in ("9", "stranger"):
        redis_server.client.rpush(f"{{u:{user_id}}}:behaviours", '{"item_id":"1"}')
    publish(BUNDLE, write_dataset(tmp_path), redis_url)
    assert set(lists(redis_server)) == {"{u:7}:behaviours", "{u:8}:behaviours", "{u:stranger}:behaviours"}


def test_a_model_of_ids_alone_needs_neither_items_nor_users(
    tmp_path: Path, redis_url: str, redis_server: RedisServer
) -> None:
    publish(bundle_with(ITEM_ID), write_dataset(tmp_path, items=None, users=None), redis_url)
    assert set(everything(redis_server)) == {b"{u:7}:behaviours", b"{u:8}:behaviours"}


def test_the_id_of_a_user_may_be_a_feature(tmp_path: Path, redis_url: str, redis_server: RedisServer) -> None:
    bundle = bundle_with(ITEM_ID, Feature("user_id", Group.USER, Kind.SINGLE, num_indices=2))
    publish(bundle, write_dataset(tmp_path, users=None), redis_url)
    assert everything(redis_server)[b"{u:8}:profile"] == {b"user_id": b"8"}


@pytest.mark.parametrize(
    ("changed", "file", "expected", "found"),
    [
        ({"impressions": None}, "impressions", "a Parquet file", "no file"),
        ({"items": None}, "items", "a Parquet file", "no file"),
        ({"users": None}, "users", "a Parquet file", "no file"),
        ({"users": {"user_id": [1], "age": [2]}}, "users", "columns gender, interests", "only user_id, age"),
        ({"behaviours": {"user_id": [1]}}, "behaviours", "columns item_id, timestamp", "only user_id"),
        (
            {"impressions": {**IMPRESSIONS, "clicked": [2] * 9}},
            "impressions",
            "clicked to be true or false, or 0 or 1",
            "other values of type Int64",
        ),
        (
            {"impressions": {**IMPRESSIONS, "clicked": ["yes"] * 9}},
            "impressions",
            "clicked to be true or false, or 0 or 1",
            "other values of type String",
        ),
        (
            {"impressions": {**IMPRESSIONS, "user_id": [None, *range(8)]}},
            "impressions",
            "a user_id in every row",
            "1 without",
        ),
        (
            {"behaviours": {"user_id": ["8"], "item_id": ["1"], "timestamp": [float("nan")]}},
            "behaviours",
            "a timestamp in every row",
            "1 without",
        ),
        (
            {"behaviours": {"user_id": ["8"], "item_id": ["1"], "timestamp": ["noon"]}},
            "behaviours",
            "timestamp to be a number or a date",
            "String",
        ),
        ({"users": {**USERS, "gender": [["f"], ["m"]]}}, "users", "one value in each row of gender", "List(String)"),
        (
            {"items": {**ITEMS, "genre": [[["Comedy"]]] * 3}},
            "items",
            "a list of values in each row of genre",
            "List(List(String))",
        ),
        ({"users": {**USERS, "user_id": ["7", "7"]}}, "users", "each user_id once", "'7' twice"),
        ({"items": {**ITEMS, "item_id": ["1", None, "2"]}}, "items", "a item_id in every row", "1 without"),
    ],
)
def test_an_unusable_dataset_is_refused_before_anything_is_written(
    changed: dict[str, Any],
    file: str,
    expected: str,
    found: str,
    tmp_path: Path,
    redis_url: str,
    redis_server: RedisServer,
) -> None:
    data = write_dataset(tmp_path, **changed)
    with pytest.raises(DatasetUnreadable) as caught:
        publish(BUNDLE, data, redis_url)
    assert str(caught.value) == f"{data / file}.parquet: expected {expected}, found {found}"
    assert everything(redis_server) == {}


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path, redis_url: str) -> None:
    (write_dataset(tmp_path) / "users.parquet").write_text("user_id,gender\n")
    with pytest.raises(DatasetUnreadable, match=r"users\.parquet: expected a Parquet file, found one that cannot be"):
        publish(BUNDLE, tmp_path, redis_url)


def test_a_wrong_url_shows_before_the_dataset_is_read(tmp_path: Path) -> None:
    with pytest.raises(FeatureStoreUnavailable):
        publish(BUNDLE, tmp_path / "no dataset", "redis://127.0.0.1:1")


def test_a_full_redis_ends_publishing_and_keeps_its_users(
    tmp_path: Path, redis_url: str, redis_server: RedisServer
) -> None:
    publish(BUNDLE, write_dataset(tmp_path), redis_url)
    before = everything(redis_server)
    redis_server.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(FeatureStoreUnavailable, match="maxmemory"):
            publish(BUNDLE, write_dataset(tmp_path, users={**USERS, "gender": ["m", "m"]}), redis_url)
    finally:
        redis_server.client.config_set("maxmemory", 0)
    assert everything(redis_server) == before


@pytest.mark.parametrize("last_seen", [0, 1_700, 4_500])
def test_a_killed_publisher_leaves_every_user_old_or_new(
    tmp_path: Path, redis_url: str, redis_server: RedisServer, last_seen: int
) -> None:
    """Behaviours and profile: both old or both new."""
    num_users = 6_000
    user_ids = [str(number) for number in range(num_users)]
    versions = {}
    for item_id, gender in (("1", "f"), ("2", "m")):
        of_all = {"user_id": user_ids * 5, "item_id": [item_id] * num_users * 5, "timestamp": [1] * num_users * 5}
        users = {"user_id": user_ids, "gender": [gender] * num_users, "age": [30] * num_users}
        interests = {"interests": [["sport"] if gender == "f" else []] * num_users}  # a field that vanishes
        versions[item_id] = write_dataset(tmp_path / item_id, behaviours=of_all, users={**users, **interests})
    old = (("1",) * 5, {b"gender": b"f", b"age": b"30", b"interests": b'["sport"]'})
    new = (("2",) * 5, {b"gender": b"m", b"age": b"30"})
    publish(BUNDLE, versions["1"], redis_url)

    program = (
        "import sys; from pathlib import Path; from dinrank.service.publish import publish; "
        "from tests.integration.test_publish import BUNDLE; publish(BUNDLE, Path(sys.argv[1]), sys.argv[2])"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(versions["2"]), redis_url], cwd=ROOT) as publisher:
        try:
            seen = f"{{u:{last_seen}}}:behaviours"
            wait_until(
                lambda: b'"2"' in redis_server.client.lindex(seen, 0) or publisher.poll() is not None,
                "the publisher has come so far",
            )
        finally:
            publisher.kill()
    left = users_of(redis_server)
    assert left[str(last_seen)] == new
    assert len(left) == num_users
    assert all(user in (old, new) for user in left.values())
    publish(BUNDLE, versions["2"], redis_url)
    assert users_of(redis_server) == dict.fromkeys(user_ids, new)


def users_of(server: RedisServer) -> dict[str, tuple[tuple[str, ...], dict[bytes, bytes]]]:
    """Item ids, newest first, and profile of every user."""
    left = lists(server)
    pipeline = server.client.pipeline(transaction=False)
    for key in left:
        pipeline.hgetall(key.replace(":behaviours", ":profile"))
    return {
        key.removeprefix("{u:").removesuffix("}:behaviours"): (tuple(item_ids), profile)
        for (key, item_ids), profile in zip(left.items(), pipeline.execute(), strict=True)
    }


def test_progress_shows_throughput_on_a_terminal(tmp_path: Path, redis_url: str) -> None:
    shown = StringIO()
    publish(BUNDLE, write_dataset(tmp_path), redis_url, console=Console(file=shown, force_terminal=True, width=100))
    assert "users" in shown.getvalue()
    assert "3/3" in shown.getvalue()


def test_progress_is_silent_elsewhere(tmp_path: Path, redis_url: str) -> None:
    shown = StringIO()
    publish(BUNDLE, write_dataset(tmp_path), redis_url, console=Console(file=shown))
    assert shown.getvalue() == ""


def test_all_users_with_behaviours_can_be_listed(tmp_path: Path, any_redis_url: str) -> None:
    user_ids = [*(str(number) for number in range(2_000)), "a}b", "*", "Zoë"]  # more than one step of the walk
    behaviours = {"user_id": user_ids, "item_id": ["1"] * len(user_ids), "timestamp": [1] * len(user_ids)}
    publish(BUNDLE, write_dataset(tmp_path, behaviours=behaviours), any_redis_url)
    assert published_user_ids(any_redis_url) == sorted(user_ids)


def test_keys_of_others_are_no_users(redis_url: str, redis_server: RedisServer) -> None:
    redis_server.client.rpush(b"{u:\xff}:behaviours", "x")
    redis_server.client.rpush("behaviours", "x")
    assert published_user_ids(redis_url) == []
