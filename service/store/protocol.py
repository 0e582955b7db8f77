"""What the scorer asks of a feature store, whatever it is built on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dinrank.model.bundle.encoding import Attributes
from dinrank.service.errors import FeatureStoreUnavailable


@dataclass(frozen=True, slots=True)
class StoredBehaviours:
    """What the user did with items, oldest first, as columns.

    Attributes:
        attributes: by position, item features stored with a behaviour, of the behaviours that carry any: those with
            items that are newer than the bundle.
    """

    item_ids: Sequence[str] = ()
    attributes: Mapping[int, Attributes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.item_ids)


@dataclass(frozen=True, slots=True)
class StoredFeatures:
    """What the store knows for one request.

    Attributes:
        behaviours: empty for a user whom the store does not know.
        profile: feature name to raw value.
        ads: attributes of those asked-for ads that the store knows.
        num_malformed: stored elements that could not be read and were left out.
        ads_failure: why some of the ads could not be asked for; None when all could.
    """

    behaviours: StoredBehaviours
    profile: Attributes
    ads: Mapping[str, Attributes]
    num_malformed: int = 0
    ads_failure: FeatureStoreUnavailable | None = None


@dataclass(frozen=True, slots=True)
class StoredAds:
    """What the store knows of some ads; attributes as in `StoredFeatures`."""

    ads: Mapping[str, Attributes]
    num_malformed: int = 0


class FeatureStore(Protocol):
    """Reads what requests need. One instance serves all requests of a process."""

    async def fetch(self, user_id: str, *, max_behaviours: int, new_ads: Sequence[str]) -> StoredFeatures:
        """Read one user and the ads that the bundle does not know, in one round trip.

        Args:
            max_behaviours: the newest so many are read; there are never more in the answer.
            new_ads: ids of candidates that the bundle's catalogue lacks.

        Raises:
            FeatureStoreUnavailable: the store refused or did not answer in time.
        """
        ...

    async def fetch_ads(self, ads: Sequence[str]) -> StoredAds:
        """Read some ads alone. Raises: FeatureStoreUnavailable."""
        ...

    def part_of(self, user_id: str) -> str:
        """Which part of the store answers for this user: parts fail apart from each other. Empty where there is one."""
        ...

    def part_of_ad(self, ad_id: str) -> str:
        """The same for an ad."""
        ...

    async def ping(self) -> None:
        """Raises: FeatureStoreUnavailable."""
        ...

    async def aclose(self) -> None: ...
