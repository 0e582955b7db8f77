"""The items that the trainer knew."""

import numpy as np
import pytest

from dinrank.model.bundle.catalogue import PADDING_ROW, UNKNOWN_ROW, Catalogue, column_with_sentinels, unknown_slots
from dinrank.model.bundle.vocabulary import PADDING_ID, UNKNOWN_ID


def small_catalogue() -> Catalogue:
    columns = {
        "brand": column_with_sentinels(np.array([7, 8])),
        "genre": column_with_sentinels(np.array([[2, 3], [4, PADDING_ID]])),
    }
    return Catalogue(item_ids=("10", "20"), columns=columns)


def test_the_first_two_rows_are_the_padding_item_and_the_unknown_one() -> None:
    features = small_catalogue().features(np.array([PADDING_ROW, UNKNOWN_ROW]))
    assert features["brand"].tolist() == [PADDING_ID, UNKNOWN_ID]
    assert features["genre"].tolist() == [[PADDING_ID, PADDING_ID], [UNKNOWN_ID, PADDING_ID]]


def test_known_items_have_the_rows_in_order_and_others_the_unknown_row() -> None:
    catalogue = small_catalogue()
    assert catalogue.rows(["20", 10, 10.0, "30", None]).tolist() == [3, 2, 2, UNKNOWN_ROW, UNKNOWN_ROW]
    assert "10" in catalogue
    assert 10 in catalogue
    assert "30" not in catalogue


def test_ids_may_come_in_several_types_however_many_they_are() -> None:
    catalogue = small_catalogue()
    several = ["20", 10, 10.0, "30", None, float("nan"), True]
    assert catalogue.rows(several * 10).tolist() == [catalogue.row(item_id) for item_id in several] * 10


def test_features_are_copies_that_a_request_may_change() -> None:
    catalogue = small_catalogue()
    catalogue.features(np.array([2]))["brand"][0] = 99
    assert catalogue.columns["brand"].tolist() == [PADDING_ID, UNKNOWN_ID, 7, 8]


def test_no_rows_give_empty_features_of_the_right_width() -> None:
    features = small_catalogue().features(np.array([], dtype=np.int64))
    assert features["brand"].shape == (0,)
    assert features["genre"].shape == (0, 2)


def test_a_catalogue_without_items_still_has_its_two_sentinels() -> None:
    assert column_with_sentinels(np.empty((0,), dtype=np.int64)).tolist() == [PADDING_ID, UNKNOWN_ID]


def test_an_item_cannot_be_in_the_catalogue_twice() -> None:
    with pytest.raises(ValueError, match="once"):
        Catalogue(item_ids=("10", "10"), columns={})


def test_a_column_has_one_entry_per_row() -> None:
    with pytest.raises(ValueError, match="brand has 3 rows, the catalogue 4"):
        Catalogue(item_ids=("10", "20"), columns={"brand": np.zeros(3, dtype=np.int32)})


def test_a_multi_valued_feature_without_value_is_one_unknown_and_padding() -> None:
    assert unknown_slots(3).tolist() == [UNKNOWN_ID, PADDING_ID, PADDING_ID]
