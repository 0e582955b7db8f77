"""Interface of a feature store, independent of its backend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dinrank.model.bundle.encoding import Attributes
from dinrank.service.errors import FeatureStoreUnavailable


@dataclass(frozen=True, slots=True)
class StoredBehaviours:
    """A user's behaviour sequence, oldest first, as columns.

    Attributes:
        attributes: by position, item features stored with a behaviour; only for items newer than the bundle.
    """

    item_ids: Sequence[str] = ()
    attributes: Mapping[int, Attributes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.item_ids)


@dataclass(frozen=True, slots=True)
class StoredFeatures:
    """Stored features for one request.

    Attributes:
        behaviours: empty for an unknown user.
        profile: feature name to raw value.
        ads: attributes of those requested ads that the store knows.
        num_malformed: stored elements that could not be read and were left out.
        ads_failure: why some of the ads could not be fetched; None if all were.
    """

    behaviours: StoredBehaviours
    profile: Attributes
    ads: Mapping[str, Attributes]
    num_malformed: int = 0
    ads_failure: FeatureStoreUnavailable | None = None


@dataclass(frozen=True, slots=True)
class StoredAds:
    """Stored attributes of some ads, as in `StoredFeatures`."""

    ads: Mapping[str, Attributes]
    num_malformed: int = 0


class FeatureStore(Protocol):
    """Reads the features that requests need. One instance serves all requests of a process."""

    async def fetch(self, user_id: str, *, max_behaviours: int, new_ads: Sequence[str]) -> StoredFeatures:
        """Read one user and the ads that the bundle does not know, in one round trip.

        Args:
            max_behaviours: read at most so many, the newest ones.
            new_ads: ids of candidates that the bundle's catalogue lacks.

        Raises:
            FeatureStoreUnavailable: the store refused or did not answer in time.
        """
        ...

    async def fetch_ads(self, ads: Sequence[str]) -> StoredAds:
        """Read only some ads. Raises: FeatureStoreUnavailable."""
        ...

    def part_of(self, user_id: str) -> str:
        """Name the part of the store that holds this user: parts fail independently. Empty if there is only one."""
        ...

    def part_of_ad(self, ad_id: str) -> str:
        """Name the part of the store that holds this ad."""
        ...

    async def ping(self) -> None:
        """Raises: FeatureStoreUnavailable."""
        ...

    async def aclose(self) -> None: ...
