"""`python -m service consume`: behaviours from a Redis Stream into users' histories, effectively once."""

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from dinrank.model.bundle.encoding import Encoder
from dinrank.service.api.events import NoEvent, read_event
from dinrank.service.errors import FeatureStoreUnavailable
from dinrank.service.lineup.loading import BundleFollower, BundleLoader, own_loader
from dinrank.service.settings import Settings
from dinrank.service.store.behaviour_writer import BehaviourEvent, BehaviourWriter, EventCounts
from dinrank.service.store.connection import connect
from dinrank.service.store.stream import BehaviourStream, Entry, RefusedEntry
from dinrank.service.telemetry.logs import log_event

MAX_EVENT_BYTES = 65_536

_BATCH = 500  # entries

_BLOCK_MS = 1_000  # longest wait for entries, and so for noticing a stop

_ABANDONED_MS = 30_000  # an entry unacknowledged for so long belongs to a dead consumer

_CLAIM_EVERY_S = 10.0

_TELL_EVERY_S = 10.0

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0

T = TypeVar("T")


class _Stopped(Exception):
    """Told to stop while Redis was down: unacknowledged entries will be delivered again."""


class Consumer:
    """Reads batches, writes them, acknowledges them, in this order: a crash repeats a batch and loses none. Repeated
    events change nothing, as they have ids.

    While Redis does not answer, it retries the same batch with exponential backoff.
    """

    def __init__(
        self,
        stream: BehaviourStream,
        writer: BehaviourWriter,
        encoder: Callable[[], Encoder],
        *,
        abandoned_ms: int = _ABANDONED_MS,
    ) -> None:
        """Args:
        encoder: called before each batch.
        abandoned_ms: entries of other consumers are claimed after so long without an acknowledgement.
        """
        self._stream = stream
        self._writer = writer
        self._encoder = encoder
        self._abandoned_ms = abandoned_ms
        self._stopping = asyncio.Event()
        self._is_away = False
        self._may_have_own = True  # from before a crash, or handed out in an answer that was lost
        self._claim_at_s = time.monotonic()
        self._progress = _Progress()

    def stop(self) -> None:
        """Finish the batch and return."""
        self._stopping.set()

    async def run(self) -> None:
        """Consume until `stop` is called."""
        try:
            await self._persist(self._stream.join)
            while not self._stopping.is_set():
                await self._take_over()
                await self._handle(await self._persist(partial(self._stream.read_new, _BATCH, block_ms=_BLOCK_MS)))
                self._progress.tell_now_and_then()
        except _Stopped:
            pass
        self._progress.tell("consumer_stopped")

    async def _take_over(self) -> None:
        """Claim abandoned entries of other consumers when due, and finish this consumer's own pending entries."""
        if time.monotonic() >= self._claim_at_s:
            self._claim_at_s = time.monotonic() + _CLAIM_EVERY_S
            await self._persist(partial(self._stream.claim, idle_ms=self._abandoned_ms, count=_BATCH))
            self._may_have_own = True
        while self._may_have_own and not self._stopping.is_set():
            self._may_have_own = False  # a failure from here on sets it again
            entries = await self._persist(partial(self._stream.read_own, _BATCH))
            await self._handle(entries)
            self._may_have_own = self._may_have_own or bool(entries)

    async def _handle(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        encoder = self._encoder()
        events: list[BehaviourEvent] = []
        refused: list[RefusedEntry] = []
        for entry in entries:
            try:
                events.append(_event(entry, encoder))
            except NoEvent as exc:
                refused.append(RefusedEntry(entry, str(exc)))
        if refused:
            await self._persist(partial(self._stream.set_aside, refused))
        counts = EventCounts()
        if events:
            max_behaviours = encoder.schema.max_behaviours
            counts = await self._persist(partial(self._writer.write, events, max_behaviours=max_behaviours))
        await self._persist(partial(self._stream.acknowledge, entries))
        self._progress.add(counts, refused=len(refused), behind_s=entries[-1].age_s())

    async def _persist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call until it succeeds. Raises: _Stopped."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                result = await call()
            except FeatureStoreUnavailable as exc:
                self._say_away(exc)
                if await self._is_stopped_within(pause_s):
                    raise _Stopped from exc
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                self._say_back()
                return result

    async def _is_stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    def _say_away(self, failure: FeatureStoreUnavailable) -> None:
        self._may_have_own = True
        if not self._is_away:
            self._is_away = True
            log_event(logging.ERROR, "store_away", error=failure, until="it answers, this waits")

    def _say_back(self) -> None:
        if self._is_away:
            self._is_away = False
            log_event(logging.WARNING, "store_back")


def _event(entry: Entry, encoder: Encoder) -> BehaviourEvent:
    """Raises: NoEvent."""
    if entry.is_gone:
        raise NoEvent("the entry was cut off the stream before it was read: let the stream keep more (MAXLEN)")
    if entry.event is None:
        raise NoEvent("the entry has no field `event`; it must hold one event as JSON")
    if len(entry.event) > MAX_EVENT_BYTES:
        raise NoEvent(f"the event has {len(entry.event)} bytes, more than {MAX_EVENT_BYTES}")
    return read_event(entry.event, encoder)


class _Progress:
    """Counts since the last log line."""

    def __init__(self) -> None:
        self._since_s = time.monotonic()
        self._begin()

    def _begin(self) -> None:
        self._counts = EventCounts()
        self._refused = 0
        self._behind_s = 0.0

    def add(self, counts: EventCounts, *, refused: int, behind_s: float) -> None:
        self._counts += counts
        self._refused += refused
        self._behind_s = behind_s

    def tell_now_and_then(self) -> None:
        """Log a line every few seconds, unless nothing arrived."""
        if time.monotonic() - self._since_s >= _TELL_EVERY_S and (self._refused or self._counts != EventCounts()):
            self.tell("consumed")

    def tell(self, event: str) -> None:
        counts, now_s = self._counts, time.monotonic()
        num_entries = counts.total + self._refused
        log_event(
            logging.WARNING if counts.other_unit else logging.INFO,
            event,
            accepted=counts.accepted,
            duplicates=counts.duplicates,
            too_old=counts.too_old,
            other_unit=counts.other_unit,
            refused=self._refused,
            per_second=round(num_entries / max(now_s - self._since_s, 1e-3), 1),
            behind_s=round(self._behind_s, 3),
        )
        self._since_s = now_s
        self._begin()


_TIMEOUT_MS = 10_000  # of a round trip, including the wait for entries


def consume(settings: Settings, url: str, *, stream: str, group: str, consumer: str | None) -> None:
    """Write the stream's behaviours to users' histories in Redis until SIGTERM or Ctrl-C.

    Args:
        url: of the Redis with the stream and the histories.
        consumer: name in the consumer group; host and process id by default.

    Raises:
        BundleError, BadRedisUrl, NoRunDirectory
    """
    name = consumer or _own_name()
    with own_loader(settings) as loader:
        asyncio.run(_consume(settings, url, loader, stream=stream, group=group, consumer=name))


async def _consume(
    settings: Settings, url: str, loader: BundleLoader, *, stream: str, group: str, consumer: str
) -> None:
    bundle = BundleFollower(settings.bundle, loader, poll_ms=settings.bundle_poll_ms)
    connection = connect(url, timeout_ms=_TIMEOUT_MS, max_connections=1)
    try:
        entries = BehaviourStream(connection, stream=stream, group=group, consumer=consumer)
        writer = BehaviourWriter(connection, max_stored=settings.max_stored_behaviours)
        running = Consumer(entries, writer, bundle.encoder)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, running.stop)
        log_event(logging.INFO, "consuming", stream=stream, group=group, consumer=consumer)
        await running.run()
    finally:
        await connection.aclose()


def _own_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"
