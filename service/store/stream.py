"""Redis Stream of behaviours, read by one consumer of a group: at-least-once delivery with acknowledgements."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from dinrank.service.errors import FeatureStoreUnavailable, StoreFailure
from dinrank.service.store.connection import RedisConnection
from dinrank.service.store.replies import Command

EVENT_FIELD = b"event"  # of an entry: one event as JSON
REFUSED_SUFFIX = ":refused"
MAX_REFUSED = 10_000  # entries that the stream of refused ones keeps, about
_SHOWN_BYTES = 4_096  # of a refused event


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the stream.

    Attributes:
        event: its field `event`; None if it has none.
        is_gone: it was trimmed from the stream before it was read; only its id is left.
    """

    entry_id: bytes
    event: bytes | None
    is_gone: bool = False

    def age_s(self) -> float:
        """Return the time since it was added, by Redis's clock, which made its id, and this machine's."""
        milliseconds = int(self.entry_id.partition(b"-")[0])
        return max(0.0, time.time() - milliseconds / 1_000)


@dataclass(frozen=True, slots=True)
class RefusedEntry:
    """An entry without a valid event, and the reason."""

    entry: Entry
    reason: str


class BehaviourStream:
    """One stream, one group, one consumer. A missing group is created, and reads the stream from its start."""

    def __init__(self, connection: RedisConnection, *, stream: str, group: str, consumer: str) -> None:
        self._connection = connection
        self._stream = stream.encode()
        self._refused = (stream + REFUSED_SUFFIX).encode()
        self._group = group
        self._consumer = consumer

    async def join(self) -> None:
        """Create the group and the stream unless they exist. Raises: FeatureStoreUnavailable."""
        command = ("XGROUP", "CREATE", self._stream, self._group, "0", "MKSTREAM")
        [reply] = await self._connection.execute([command])
        if isinstance(reply, ResponseError) and not str(reply).startswith("BUSYGROUP"):
            raise _refusal(reply)

    async def read_new(self, count: int, *, block_ms: int) -> list[Entry]:
        """Read entries not yet delivered to the group; wait at most `block_ms` for the first.

        Raises:
            FeatureStoreUnavailable: entries may have been delivered nevertheless; `read_own` returns them.
        """
        return await self._read(("COUNT", count, "BLOCK", block_ms), b">")

    async def read_own(self, count: int) -> list[Entry]:
        """Read this consumer's oldest unacknowledged entries. Raises: FeatureStoreUnavailable."""
        return await self._read(("COUNT", count), b"0")

    async def claim(self, *, idle_ms: int, count: int) -> None:
        """Claim entries of any consumer that stayed unacknowledged for `idle_ms`; `read_own` returns them.

        Raises:
            FeatureStoreUnavailable
        """
        start = b"0-0"
        while True:
            reply = await self._ask(
                ("XAUTOCLAIM", self._stream, self._group, self._consumer, idle_ms, start, "COUNT", count)
            )
            if not reply or reply[0] == b"0-0":
                return
            start = reply[0]

    async def acknowledge(self, entries: Sequence[Entry]) -> None:
        """Acknowledge entries, so that they are not delivered again. Raises: FeatureStoreUnavailable."""
        await self._ask(("XACK", self._stream, self._group, *(entry.entry_id for entry in entries)))

    async def set_aside(self, refused: Sequence[RefusedEntry]) -> None:
        """Copy entries with their reasons to the stream of refused ones (dead letters), which keeps the newest.

        Raises:
            FeatureStoreUnavailable
        """
        to_stream: Command = ("XADD", self._refused, "MAXLEN", "~", MAX_REFUSED, "*")
        for reply in await self._connection.execute([(*to_stream, *_fields(each)) for each in refused]):
            if isinstance(reply, ResponseError):
                raise _refusal(reply)

    async def _read(self, options: Command, after: bytes) -> list[Entry]:
        group = ("XREADGROUP", "GROUP", self._group, self._consumer)
        reply = await self._ask((*group, *options, "STREAMS", self._stream, after))
        return [_entry(*entry) for _, entries in reply or () for entry in entries]

    async def _ask(self, command: Command) -> Any:
        """Return the reply; None if the group was missing, as after a loss of data in Redis, and was created again."""
        [reply] = await self._connection.execute([command])
        if not isinstance(reply, ResponseError):
            return reply
        if not str(reply).startswith("NOGROUP"):
            raise _refusal(reply)
        await self.join()
        return None


def _entry(entry_id: bytes, fields: dict[bytes, bytes]) -> Entry:
    return Entry(entry_id, fields.get(EVENT_FIELD), is_gone=not fields)


def _fields(refused: RefusedEntry) -> Command:
    event = refused.entry.event or b""
    return ("entry", refused.entry.entry_id, "reason", refused.reason, "event", event[:_SHOWN_BYTES])


def _refusal(reply: ResponseError) -> FeatureStoreUnavailable:
    return FeatureStoreUnavailable(f"Redis refused a command: {reply}", StoreFailure.REFUSED)
