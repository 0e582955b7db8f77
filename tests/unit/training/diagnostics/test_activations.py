import numpy as np
import polars as pl
import pytest
import torch

from dinrank.model.bundle.catalogue import FIRST_ROW
from dinrank.model.bundle.schema import Group, Kind
from dinrank.model.layers.inputs import NetworkInputs
from dinrank.model.nets.names import NetworkName
from dinrank.training.data.dataset import Dataset
from dinrank.training.data.encoded import EncodedDataset, encode_dataset
from dinrank.training.diagnostics import activations as module
from dinrank.training.diagnostics.activations import activations, chosen_impressions, other_candidates
from tests.fixtures.dataset import tiny_dataset
from tests.fixtures.networks import random_network


@pytest.fixture
def short_view(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the invented histories of up to 5 are cut."""
    monkeypatch.setattr(module, "MAX_SHOWN", 3)


@pytest.mark.usefixtures("short_view")
def test_weights_are_the_networks_own_of_the_items_that_are_named(
    dataset: Dataset, encoded_dataset: EncodedDataset
) -> None:
    """Each weight computed again for its pair alone, from the names that stand beside it."""
    network = random_network(NetworkName.DIN, schema=encoded_dataset.encoder.schema)
    found = activations(network, dataset, encoded_dataset)
    assert found is not None
    catalogue = encoded_dataset.encoder.catalogue
    any_request = {name: torch.from_numpy(values[:1]) for name, values in encoded_dataset.request.items()}
    for shown in found.maps:
        assert len(shown.behaviours) == min(3, shown.num_behaviours)
        assert len(shown.weights_CT) == len(shown.candidates)
        for candidate, row in zip(shown.candidates, shown.weights_CT, strict=True):
            for behaviour, weight in zip(shown.behaviours, row, strict=True):
                rows = catalogue.rows([candidate.item_id, behaviour.item_id])
                inputs = NetworkInputs(
                    items={name: torch.from_numpy(values) for name, values in catalogue.features(rows).items()},
                    candidates_UC=torch.tensor([[0]]),
                    behaviours_UT=torch.tensor([[1]]),
                    is_real_UT=None,
                    request=any_request,
                )
                with torch.no_grad():
                    weights_UCT = network(inputs).weights_UCT
                assert weights_UCT is not None
                assert weight == pytest.approx(weights_UCT.item(), abs=1e-5)


def test_the_first_candidate_is_the_click_and_items_carry_their_attribute(
    dataset: Dataset, encoded_dataset: EncodedDataset
) -> None:
    network = random_network(NetworkName.DIN, schema=encoded_dataset.encoder.schema)
    found = activations(network, dataset, encoded_dataset)
    assert found is not None
    assert found.attribute == "category"
    category = dict(dataset.items.select("item_id", "category").iter_rows())
    impressions = chosen_impressions(encoded_dataset)
    assert len(found.maps) == len(impressions) == module.NUM_USERS
    for shown, impression in zip(found.maps, impressions, strict=True):
        row = dataset.impressions.row(impression, named=True)
        assert (row["clicked"], row["split"]) == (True, "valid")
        assert (row["user_id"], row["item_id"]) == (shown.user_id, shown.candidates[0].item_id)
        items = (*shown.candidates, *shown.behaviours)
        assert [item.attribute for item in items] == [category.get(item.item_id, "") for item in items]
        names = [item.item_id for item in shown.candidates]
        assert len(set(names)) == len(names)


def test_a_network_without_a_unit_has_no_map(dataset: Dataset, encoded_dataset: EncodedDataset) -> None:
    network = random_network(NetworkName.BASE, schema=encoded_dataset.encoder.schema)
    assert activations(network, dataset, encoded_dataset) is None


def test_users_are_chosen_by_their_history_alone() -> None:
    """User u has u earlier clicks, then two on valid: the last counts, and of five users with behaviours those at a
    quarter, a half and three quarters. User 0's first click on valid has no behaviour before it, so their second counts
    as well, with one behaviour."""
    rows = [
        {"user_id": f"u{user}", "item_id": f"i{time}", "clicked": True, "timestamp": time, "split": "train"}
        for user in range(5)
        for time in range(2 * user)
    ]
    rows += [
        {"user_id": f"u{user}", "item_id": "v", "clicked": True, "timestamp": time, "split": "valid"}
        for user in range(5)
        for time in (50, 51)
    ]
    rows.append({"user_id": "u0", "item_id": "i0", "clicked": True, "timestamp": 99, "split": "test"})
    data = encode_dataset(tiny_dataset(pl.DataFrame(rows), items=pl.DataFrame({"item_id": ["v"]})), min_count=1)
    chosen = chosen_impressions(data)
    assert [(rows[row]["user_id"], rows[row]["timestamp"]) for row in chosen] == [("u1", 51), ("u2", 51), ("u3", 51)]


def test_other_candidates_stand_for_equal_shares_of_the_training_set(encoded_dataset: EncodedDataset) -> None:
    counts = dict(zip(encoded_dataset.encoder.catalogue.item_ids, encoded_dataset.item_counts[FIRST_ROW:], strict=True))
    found = other_candidates(encoded_dataset)
    assert len(found) == len(set(found)) == module.NUM_OTHERS
    found_counts = [counts[item] for item in found]
    assert found_counts == sorted(found_counts, reverse=True)
    ordered = sorted(counts.values(), reverse=True)
    middles = (np.arange(module.NUM_OTHERS) + 0.5) / module.NUM_OTHERS * sum(ordered)
    for middle, count in zip(middles, found_counts, strict=True):
        assert count == next(value for value, total in zip(ordered, np.cumsum(ordered), strict=True) if total >= middle)


def test_a_list_of_values_is_joined_and_ids_alone_have_no_attribute() -> None:
    impressions = pl.DataFrame(
        [
            {"user_id": "u", "item_id": item, "clicked": True, "timestamp": time, "split": split}
            for time, (item, split) in enumerate([("a", "train"), ("b", "valid"), ("a", "test")])
        ]
    )
    items = pl.DataFrame({"item_id": ["a", "b"], "genre": [["Comedy", "Drama"], []], "price": [1.0, 2.0]})
    features = [("item_id", Group.ITEM, Kind.SINGLE), ("price", Group.ITEM, Kind.NUMERIC)]
    dataset = tiny_dataset(impressions, items=items, features=[*features, ("genre", Group.ITEM, Kind.MULTI)])
    data = encode_dataset(dataset, min_count=1)
    found = activations(random_network(NetworkName.DIN, schema=data.encoder.schema), dataset, data)
    assert found is not None
    assert (found.attribute, found.maps[0].behaviours[0].attribute) == ("genre", "Comedy, Drama")
    assert found.maps[0].candidates[0].attribute == ""
    dataset = tiny_dataset(impressions, items=items, features=features)
    data = encode_dataset(dataset, min_count=1)
    found = activations(random_network(NetworkName.DIN, schema=data.encoder.schema), dataset, data)
    assert found is not None
    assert found.attribute is None
