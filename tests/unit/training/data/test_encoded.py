"""The arrays of the invented dataset, against its tables, row by row."""

from collections import Counter
from typing import Any

import numpy as np

from dinrank.model.bundle.schema import Feature, Group, Kind
from dinrank.model.bundle.vocabulary import UNKNOWN_ID, FeatureVocabulary, Vocabulary
from dinrank.training.data.dataset import Dataset
from dinrank.training.data.encoded import EncodedDataset, encode_dataset

FIRST_KNOWN = 2  # of catalogue rows and of indices: 0 is padding, 1 is unknown


def seen_behaviours(dataset: Dataset, impression: dict[str, Any]) -> list[str]:
    """The items that the impression's user clicked before it, the newest max_behaviours, oldest first."""
    older = [
        (timestamp, row, item_id)
        for row, (user_id, item_id, timestamp) in enumerate(dataset.behaviours.rows())
        if user_id == impression["user_id"] and timestamp < impression["timestamp"]
    ]
    return [item_id for _, _, item_id in sorted(older)][-dataset.max_behaviours :]


def expected_index(vocabulary: FeatureVocabulary, value: Any) -> int:
    if isinstance(vocabulary, Vocabulary):
        tokens = list(vocabulary.tokens)
        return tokens.index(str(value)) + FIRST_KNOWN if value is not None and str(value) in tokens else UNKNOWN_ID
    return UNKNOWN_ID if value is None else sum(boundary <= value for boundary in vocabulary.boundaries) + FIRST_KNOWN


def expected_indices(feature: Feature, vocabulary: FeatureVocabulary, value: Any) -> Any:
    if feature.kind is not Kind.MULTI:
        return expected_index(vocabulary, value)
    slots = [expected_index(vocabulary, each) for each in (value or [None])][: feature.max_values]
    return slots + [0] * (feature.max_values - len(slots))


def test_every_impression_has_its_item_and_its_history(dataset: Dataset, encoded_dataset: EncodedDataset) -> None:
    data = encoded_dataset
    ids = ("padding", "unknown", *data.encoder.catalogue.item_ids)
    for row, impression in enumerate(dataset.impressions.rows(named=True)):
        candidate, history = impression["item_id"], seen_behaviours(dataset, impression)
        window = slice(data.first_N[row], data.last_N[row])
        assert ids[data.candidate_rows_N[row]] == (candidate if candidate in ids else "unknown")
        assert [ids[item] for item in data.behaviour_rows_B[window]] == history
        assert [dataset.behaviours["item_id"][int(source)] for source in data.behaviour_source_B[window]] == history


def test_the_invented_dataset_has_its_odd_items(encoded_dataset: EncodedDataset) -> None:
    """The tests above would be weaker without them."""
    catalogue, vocabulary = encoded_dataset.encoder.catalogue, encoded_dataset.encoder.vocabularies["item_id"]
    known = {item: (item in catalogue, vocabulary.index(item) != UNKNOWN_ID) for item in ("unlisted", "latecomer")}
    assert known == {"unlisted": (True, True), "latecomer": (True, False)}
    assert "undescribed" not in catalogue
    assert (encoded_dataset.candidate_rows_N == UNKNOWN_ID).sum() == 1


def test_every_impression_has_the_indices_of_its_user_and_context(
    dataset: Dataset, encoded_dataset: EncodedDataset
) -> None:
    """Features of a user whom users.parquet lacks are unknown."""
    schema, vocabularies = encoded_dataset.encoder.schema, encoded_dataset.encoder.vocabularies
    users = {user["user_id"]: user for user in dataset.users.rows(named=True)}
    assert encoded_dataset.request.keys() == {"gender", "interests", "age", "hour", "places", "position"}
    for row, impression in enumerate(dataset.impressions.rows(named=True)):
        for feature in (*schema.group(Group.USER), *schema.group(Group.CONTEXT)):
            source = users.get(impression["user_id"], {}) if feature.group is Group.USER else impression
            expected = expected_indices(feature, vocabularies[feature.name], source.get(feature.name))
            assert encoded_dataset.request[feature.name][row].tolist() == expected, (row, feature.name)


def test_every_catalogue_row_has_the_indices_of_its_item(dataset: Dataset, encoded_dataset: EncodedDataset) -> None:
    encoder = encoded_dataset.encoder
    items = {item["item_id"]: item for item in dataset.items.rows(named=True)}
    for row, item_id in enumerate(encoder.catalogue.item_ids, start=FIRST_KNOWN):
        raw = items.get(item_id, {"item_id": item_id})
        for feature in encoder.schema.group(Group.ITEM):
            expected = expected_indices(feature, encoder.vocabularies[feature.name], raw.get(feature.name))
            assert encoder.catalogue.columns[feature.name][row].tolist() == expected, (item_id, feature.name)


def test_item_counts_are_candidates_and_behaviours_of_training_rows(
    dataset: Dataset, encoded_dataset: EncodedDataset
) -> None:
    counts: Counter[str] = Counter()
    for impression in dataset.impressions.rows(named=True):
        if impression["split"] == "train":
            counts.update([impression["item_id"], *seen_behaviours(dataset, impression)])
    expected = [0, 0, *(counts[item_id] for item_id in encoded_dataset.encoder.catalogue.item_ids)]
    assert encoded_dataset.item_counts.tolist() == expected


def test_a_token_is_known_when_it_occurs_min_count_times_in_training_rows(
    dataset: Dataset, encoded_dataset: EncodedDataset
) -> None:
    min_count = int(np.median(encoded_dataset.item_counts))
    vocabulary = encode_dataset(dataset, min_count=min_count).encoder.vocabularies["item_id"]
    frequent = encoded_dataset.item_counts[FIRST_KNOWN:] >= min_count
    ids = np.array(list(encoded_dataset.encoder.catalogue.item_ids))
    assert isinstance(vocabulary, Vocabulary)
    assert set(vocabulary.tokens) == set(ids[frequent]) != set(ids)


def test_rows_are_grouped_by_user_and_by_split(dataset: Dataset, encoded_dataset: EncodedDataset) -> None:
    users, splits = dataset.impressions["user_id"].to_list(), np.array(dataset.impressions["split"].to_list())
    assert len(set(zip(users, encoded_dataset.user_N.tolist(), strict=True))) == len(set(users))
    assert len(set(encoded_dataset.user_N.tolist())) == len(set(users))
    assert encoded_dataset.split_rows.keys() == {"train", "valid", "test"}
    for name, rows in encoded_dataset.split_rows.items():
        assert rows.tolist() == np.flatnonzero(splits == name).tolist()
    assert encoded_dataset.clicked_N.tolist() == [float(clicked) for clicked in dataset.impressions["clicked"]]
