"""`python -m service publish`: write a dataset directory's users and new ads to Redis."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from dinrank.model.bundle.reader import Bundle
from dinrank.service.errors import FeatureStoreUnavailable, StoreFailure
from dinrank.service.publish.dataset import PublishableDataset, read_dataset
from dinrank.service.store.connection import RedisConnection, connect
from dinrank.service.store.layout import MAX_STORED_BEHAVIOURS, behaviours_key
from dinrank.service.store.redis_writer import RedisFeatureWriter
from dinrank.service.store.user_data import stored_users

_BEHAVIOURS_PER_BATCH = 10_000  # about half a megabyte, and a few milliseconds of Redis's time
_ADS_PER_BATCH = 500

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PublishReport:
    """Counts of written data.

    Attributes:
        num_behaviours: list elements, after trimming older ones.
        num_ads: items that the bundle's catalogue lacks.
        num_others: users with behaviours that were in Redis before and are not in the dataset; a lower bound from
            100,000 users on; None if the login may not list keys.
        duration_s: wall time, reading the dataset included.
    """

    num_users: int
    num_behaviours: int
    num_ads: int
    num_others: int | None
    duration_s: float

    def __str__(self) -> str:
        return (
            f"{self.num_users:,} users, {self.num_behaviours:,} behaviours and {self.num_ads:,} new ads published "
            f"in {self.duration_s:.1f} s"
        )


def publish(
    bundle: Bundle,
    data: Path,
    url: str,
    *,
    console: Console | None = None,
    timeout_ms: int = 10_000,
    max_stored: int = MAX_STORED_BEHAVIOURS,
) -> PublishReport:
    """Write behaviours and profile of every user of the dataset directory `data`, and its new ads, to Redis.

    Idempotent, and atomic per user: if it is killed, each user has either the old behaviours or the new ones; run it
    again. Users that are not in the dataset stay as they are. Live behaviours that are newer than the user's newest one
    in the dataset are kept.

    Args:
        url: see `dinrank.service.store.url.ACCEPTED_FORMS`.
        console: where progress is shown if it is a terminal; None shows nothing.
        timeout_ms: for each batch.
        max_stored: how many behaviours a user may have together with live ones.

    Raises:
        DatasetUnreadable: before anything is written.
        BadRedisUrl
        FeatureStoreUnavailable: Redis refused (out of memory, for instance) or did not answer in time.
    """
    return asyncio.run(_publish(bundle, data, url, console=console, timeout_ms=timeout_ms, max_stored=max_stored))


async def _publish(
    bundle: Bundle, data: Path, url: str, *, console: Console | None, timeout_ms: int, max_stored: int
) -> PublishReport:
    start_s = time.monotonic()
    connection = connect(url, timeout_ms=timeout_ms, max_connections=1)
    try:
        await connection.ping()  # a wrong URL should show before a large dataset has been read
        dataset = read_dataset(data, bundle.schema, bundle.encoder.catalogue)
        num_others = await _num_others(connection, dataset)
        writer = RedisFeatureWriter(connection, bundle.schema, max_stored=max_stored)
        with _progress(console) as progress:
            await _write_ads(writer, dataset, progress)
            num_behaviours = await _write_users(writer, dataset, progress, bundle.schema.max_behaviours)
    finally:
        await connection.aclose()
    return PublishReport(
        num_users=dataset.users.height,
        num_behaviours=num_behaviours,
        num_ads=len(dataset.new_items),
        num_others=num_others,
        duration_s=time.monotonic() - start_s,
    )


async def _num_others(connection: RedisConnection, dataset: PublishableDataset) -> int | None:
    """Count stored users that the dataset lacks; None if the login may not list keys, which writing does not need."""
    try:
        stored = await stored_users(connection)
    except FeatureStoreUnavailable as exc:
        if exc.kind is not StoreFailure.REFUSED:
            raise
        return None
    return len(stored.keys - {behaviours_key(user_id) for user_id in dataset.users["user_id"]})


async def _write_ads(writer: RedisFeatureWriter, dataset: PublishableDataset, progress: Progress) -> None:
    task = progress.add_task("ads", total=len(dataset.new_items))
    for batch in _batches(dataset.new_items.items(), _ADS_PER_BATCH):
        await writer.write_ads(dict(batch))
        progress.advance(task, len(batch))


async def _write_users(
    writer: RedisFeatureWriter, dataset: PublishableDataset, progress: Progress, max_behaviours: int
) -> int:
    """Write the users, and return the number of behaviours written."""
    task = progress.add_task("users", total=dataset.users.height)
    num_behaviours = 0
    for batch in _batches(dataset.records(), max(1, _BEHAVIOURS_PER_BATCH // max_behaviours)):
        await writer.write_users(batch)
        num_behaviours += sum(len(user.behaviours) for user in batch)
        progress.advance(task, len(batch))
    return num_behaviours


def _batches(things: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(things)
    while batch := list(islice(iterator, size)):
        yield batch


class _PerSecondColumn(ProgressColumn):
    """Throughput, measured over the last batches."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


def _progress(console: Console | None) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _PerSecondColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=console is None or not console.is_terminal,
    )
