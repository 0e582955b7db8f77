"""Turn logged impressions into the raw requests that the service would get for them."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from dinrank.model.bundle.encoding import Attributes
from dinrank.model.bundle.request import ScoringRequest
from dinrank.model.bundle.schema import Group
from dinrank.model.bundle.vocabulary import RawScalar, token
from dinrank.training.data.dataset import Dataset
from dinrank.training.data.encoded import EncodedDataset


class RequestBuilder:
    """Builds requests from a dataset's raw values.

    A request carries no attributes of items: the catalogue holds those of every item that the dataset describes.
    """

    def __init__(self, dataset: Dataset, data: EncodedDataset) -> None:
        self._impressions = dataset.impressions
        self._behaviour_ids = dataset.behaviours["item_id"]
        self._data = data
        self._context = [feature.name for feature in dataset.group(Group.CONTEXT)]
        self._user_features = [feature.name for feature in dataset.group(Group.USER)]
        self._users = dataset.users
        self._user_row = dict(zip(dataset.users["user_id"], range(len(dataset.users)), strict=True))

    def request(self, impression: int, *, more_candidates: Sequence[str] = ()) -> ScoringRequest:
        """Build the request at the time of an impression, whose item is the first candidate."""
        row = self._impressions.row(impression, named=True)
        window = slice(int(self._data.first_N[impression]), int(self._data.last_N[impression]))
        source = self._data.behaviour_source_B[window]
        return ScoringRequest(
            candidates=[row["item_id"], *more_candidates],
            behaviours=self._behaviour_ids.gather(source).to_list(),
            profile=self._profile(row["user_id"]),
            context=_as_tokens({name: row[name] for name in self._context}),
            candidate_attributes={},
            behaviour_attributes={},
        )

    def user_id(self, impression: int) -> str:
        return str(self._impressions["user_id"][impression])

    def _profile(self, user_id: str) -> Attributes:
        row = self._user_row.get(user_id)
        if row is None:
            return {}
        values = self._users.row(row, named=True)
        return _as_tokens({name: values[name] for name in self._user_features})


def _as_tokens(values: dict[str, Any]) -> dict[str, str | list[str | None] | None]:
    """Convert the values to text, the form that every channel can carry."""
    return {name: _as_token(value) for name, value in values.items()}


def _as_token(value: RawScalar | list[RawScalar] | pl.Series) -> str | list[str | None] | None:
    if isinstance(value, list | pl.Series):
        return [token(scalar) for scalar in value]
    return token(value)
