"""Feature store on Redis: one pipelined round trip per request."""

from collections.abc import Sequence
from typing import Any

from redis.exceptions import ResponseError

from dinrank.model.bundle.encoding import Attributes
from dinrank.model.bundle.schema import ITEM_ID, FeatureSchema, Group
from dinrank.service.errors import FeatureStoreUnavailable, StoreFailure
from dinrank.service.store.connection import RedisConnection
from dinrank.service.store.layout import ad_key, behaviours_key, decode_behaviours, decode_hash, profile_key
from dinrank.service.store.protocol import StoredAds, StoredFeatures
from dinrank.service.store.replies import Command


class RedisFeatureStore:
    """A `FeatureStore` on Redis; see `layout` for keys and encodings.

    Unreadable data is left out in the smallest unit that Redis stores (one element of a list, one field of a hash, one
    key of the wrong type) and counted; the rest is used. An answer that is incomplete for any other reason raises.
    """

    def __init__(self, connection: RedisConnection, schema: FeatureSchema) -> None:
        self._connection = connection
        # The item id is never an attribute: it identifies the item.
        self._item_features = {f.name: f for f in schema.group(Group.ITEM) if f.name != ITEM_ID}
        self._user_features = {f.name: f for f in schema.group(Group.USER)}

    async def fetch(self, user_id: str, *, max_behaviours: int, new_ads: Sequence[str]) -> StoredFeatures:
        """See `FeatureStore.fetch`; ads without a single readable attribute are left out of the answer."""
        ads = list(dict.fromkeys(new_ads))
        commands: list[Command] = [
            ("LRANGE", behaviours_key(user_id), 0, max_behaviours - 1),
            ("HGETALL", profile_key(user_id)),
            *(("HGETALL", ad_key(ad)) for ad in ads),
        ]
        replies = await self._connection.execute(commands)
        num_malformed = _empty_wrong_types(replies)
        elements, profile_fields, *fields_of_ads = replies
        behaviours = decode_behaviours(elements, self._item_features)
        profile, num_lost = decode_hash(profile_fields, self._user_features)
        stored_ads = self._decoded_ads(ads, fields_of_ads)
        num_malformed += len(elements) - len(behaviours) + num_lost + stored_ads.num_malformed
        return StoredFeatures(behaviours, profile, stored_ads.ads, num_malformed)

    async def fetch_ads(self, ads: Sequence[str]) -> StoredAds:
        """See `FeatureStore.fetch_ads`; ads without a single readable attribute are left out of the answer."""
        replies = await self._connection.execute([("HGETALL", ad_key(ad)) for ad in ads])
        num_malformed = _empty_wrong_types(replies)
        stored = self._decoded_ads(ads, replies)
        return StoredAds(stored.ads, stored.num_malformed + num_malformed)

    def _decoded_ads(self, ads: Sequence[str], fields_of_ads: Sequence[Any]) -> StoredAds:
        known: dict[str, Attributes] = {}
        num_malformed = 0
        for ad, fields in zip(ads, fields_of_ads, strict=True):
            attributes, num_lost = decode_hash(fields, self._item_features)
            num_malformed += num_lost
            if attributes:
                known[ad] = attributes
        return StoredAds(known, num_malformed)

    def part_of(self, user_id: str) -> str:
        """See `FeatureStore.part_of`: the node of a cluster."""
        return self._connection.node_of(behaviours_key(user_id))

    def part_of_ad(self, ad_id: str) -> str:
        """See `FeatureStore.part_of_ad`."""
        return self._connection.node_of(ad_key(ad_id))

    async def ping(self) -> None:
        """Raises: FeatureStoreUnavailable."""
        await self._connection.ping()

    async def aclose(self) -> None:
        await self._connection.aclose()


def _empty_wrong_types(replies: list[Any]) -> int:
    """Replace the reply for each key of a wrong type by an empty one, and count them.

    Raises:
        FeatureStoreUnavailable: Redis refused a command for any other reason.
    """
    num_wrong = 0
    for position, reply in enumerate(replies):
        if isinstance(reply, ResponseError):
            if not str(reply).startswith("WRONGTYPE"):
                raise FeatureStoreUnavailable(f"Redis refused a command: {reply}", StoreFailure.REFUSED) from reply
            replies[position] = {}  # works as an empty list and as an empty hash
            num_wrong += 1
    return num_wrong
