"""Writer of features to Redis, atomic per user: readers and crashes see the old state or the new one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from redis.exceptions import ResponseError

from dinrank.model.bundle.encoding import Attributes
from dinrank.model.bundle.schema import ITEM_ID, Feature, FeatureSchema, Group
from dinrank.service.errors import FeatureStoreUnavailable, StoreFailure
from dinrank.service.store.connection import RedisConnection
from dinrank.service.store.layout import (
    MAX_STORED_BEHAVIOURS,
    ad_key,
    behaviours_key,
    encode_behaviour,
    encode_hash,
    events_key,
    profile_key,
)
from dinrank.service.store.replies import Command
from dinrank.service.store.scripts import REPLACE_USER, run_script


@dataclass(frozen=True, slots=True)
class TimedBehaviour:
    """One behaviour to write.

    Attributes:
        timestamp: in the dataset's own unit.
        attributes: raw item features, for an item that the bundle's catalogue lacks; else empty.
    """

    item_id: str
    timestamp: float
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class UserRecord:
    """The data of one user to write.

    Attributes:
        behaviours: oldest first.
        profile: raw user features; names that the schema lacks are skipped.
    """

    user_id: str
    behaviours: Sequence[TimedBehaviour]
    profile: Attributes


class RedisFeatureWriter:
    """Writes the data that `RedisFeatureStore` reads. Idempotent.

    Each user is one Lua script call: a crash amid a batch leaves every user written either completely or not at all,
    and no reader sees half of one. In a hash only the schema's features are set or removed; other fields stay, as they
    may serve another model. A list is replaced, except for live behaviours newer than all published ones; other
    elements, including foreign ones, are removed.
    """

    def __init__(
        self, connection: RedisConnection, schema: FeatureSchema, *, max_stored: int = MAX_STORED_BEHAVIOURS
    ) -> None:
        """Args:
        max_stored: how many behaviours a list may hold, live ones included; never fewer than the schema takes.
        """
        self._connection = connection
        self._max_stored = max(max_stored, schema.max_behaviours)
        self._item_features = [feature for feature in schema.group(Group.ITEM) if feature.name != ITEM_ID]
        self._user_features = schema.group(Group.USER)

    async def write_users(self, users: Iterable[UserRecord]) -> None:
        """Write users in one round trip.

        Raises:
            FeatureStoreUnavailable: Redis refused (it may be out of memory) or did not answer in time. Each of the
                users then has the old behaviours and profile or the new ones.
        """
        calls = [self._arguments(user) for user in users]
        _require_written(await run_script(self._connection, REPLACE_USER, calls))

    async def write_ads(self, ads: Mapping[str, Attributes]) -> None:
        """Write attributes of ads, by id, in one round trip. Raises: FeatureStoreUnavailable."""
        commands = [
            command
            for ad_id, attributes in ads.items()
            for command in _write_hash(ad_key(ad_id), self._item_features, attributes)
        ]
        _require_written(await self._connection.execute(commands))

    def _arguments(self, user: UserRecord) -> Command:
        fields = encode_hash(self._user_features, user.profile)
        pairs = [part for field in fields.items() for part in field]
        absent = _absent(self._user_features, fields)
        newest_first = [
            encode_behaviour(each.item_id, each.timestamp, self._item_features, each.attributes)
            for each in reversed(user.behaviours)
        ]
        newest = repr(float(max(each.timestamp for each in user.behaviours))) if user.behaviours else ""
        keys = (behaviours_key(user.user_id), events_key(user.user_id), profile_key(user.user_id))
        counted = (len(pairs), *pairs, len(absent), *absent)
        return (len(keys), *keys, self._max_stored, newest, *counted, *newest_first)


def _require_written(replies: Iterable[object]) -> None:
    """Raises: FeatureStoreUnavailable."""
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise FeatureStoreUnavailable(f"Redis refused to write: {reply}", StoreFailure.REFUSED) from reply


def _write_hash(key: bytes, features: Sequence[Feature], attributes: Attributes) -> list[Command]:
    """Return commands that set the features with a value and remove those without."""
    fields = encode_hash(features, attributes)
    absent = _absent(features, fields)
    commands: list[Command] = []
    if fields:
        commands.append(("HSET", key, *(part for field in fields.items() for part in field)))
    if absent:
        commands.append(("HDEL", key, *absent))
    return commands


def _absent(features: Sequence[Feature], fields: Mapping[str, bytes]) -> list[str]:
    return [feature.name for feature in features if feature.name not in fields]
