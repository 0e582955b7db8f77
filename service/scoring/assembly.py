"""Assembly of a scoring request from the caller's fields and the stored features."""

from collections.abc import Mapping, Sequence
from itertools import repeat

import numpy as np

from dinrank.model.bundle.catalogue import UNKNOWN_ROW, Catalogue
from dinrank.model.bundle.encoding import Attributes, Encoder, Indices, UnknownFeatureError
from dinrank.model.bundle.request import ScoringRequest
from dinrank.service.errors import UnknownFeature
from dinrank.service.scoring.ranking import Candidates, RankingTask
from dinrank.service.store.protocol import StoredFeatures


def assemble(task: RankingTask, stored: StoredFeatures, encoder: Encoder) -> ScoringRequest:
    """Merge request and stored features into the bundle's scoring request.

    Stored attributes are used only for items that the bundle lacks (cold start): for the others it has the attributes
    that the model was trained with. A candidate's attributes in the request override both.
    """
    behaviours = stored.behaviours
    return ScoringRequest(
        candidates=task.candidates.ad_ids,
        behaviours=behaviours.item_ids,
        profile=stored.profile,
        context=task.context,
        candidate_attributes=_candidate_attributes(task.candidates, stored.ads),
        behaviour_attributes={
            position: attributes
            for position, attributes in behaviours.attributes.items()
            if behaviours.item_ids[position] not in encoder.catalogue
        },
    )


def _candidate_attributes(candidates: Candidates, ads: Mapping[str, Attributes]) -> Mapping[int, Attributes]:
    """Return attributes by position: stored ones of new ads, overridden by those of the request."""
    if not ads:
        return candidates.features
    stored = {position: ads[ad_id] for position, ad_id in enumerate(candidates.ad_ids) if ad_id in ads}
    return {
        position: {**stored.get(position, {}), **candidates.features.get(position, {})}
        for position in stored.keys() | candidates.features.keys()
    }


def unknown_feature(task: RankingTask, encoder: Encoder) -> UnknownFeature:
    """Find the first field because of which the encoder refused this request.

    Encodes one value at a time, so that the rules exist once, in the encoder. Only for refused requests: it costs more
    than encoding.
    """
    for position, features in sorted(task.candidates.features.items()):
        for name, value in features.items():
            try:
                encoder.items([task.candidates.ad_ids[position]], {0: {name: value}})
            except UnknownFeatureError as exc:
                return UnknownFeature(str(exc), field=f"candidates.{position}.features.{name}")
    for name, value in task.context.items():
        try:
            encoder.context({name: value})
        except UnknownFeatureError as exc:
            return UnknownFeature(str(exc), field=f"context.{name}")
    raise AssertionError("the encoder refused a request, but none of the values that the caller sent")


MAX_IDS = 65_536  # some 10 MB per worker

_NOT_HERE = -1  # no row of a catalogue

_MANY = 2_000  # ids; from here on the catalogue's arrays are faster


class RowCache:
    """Cache in front of the catalogue, whose memory-mapped index is built for thousands of ids rather than hundreds.

    Holds known ids only, so that made-up ids take no space, and is cleared when full. Thread-safe.
    """

    def __init__(self, catalogue: Catalogue, *, max_ids: int = MAX_IDS) -> None:
        self._catalogue = catalogue
        self._max_ids = max_ids
        self._rows: dict[str, int] = {}

    def rows(self, item_ids: Sequence[str]) -> Indices:
        """Return the same as `Catalogue.rows`: [N]."""
        if len(item_ids) >= _MANY:
            return self._catalogue.rows(item_ids)
        rows_N = np.fromiter(map(self._rows.get, item_ids, repeat(_NOT_HERE)), dtype=np.int64, count=len(item_ids))
        missing = np.flatnonzero(rows_N == _NOT_HERE).tolist()
        if missing:
            asked = [item_ids[position] for position in missing]
            rows_N[missing] = found = self._catalogue.rows(asked)
            self._keep(dict(zip(asked, found.tolist(), strict=True)))
        return rows_N

    def _keep(self, found: dict[str, int]) -> None:
        known = {item_id: row for item_id, row in found.items() if row != UNKNOWN_ROW}
        if len(self._rows) + len(known) > self._max_ids:
            self._rows = {}  # another thread may still read the old one
        if len(known) <= self._max_ids:
            self._rows.update(known)
