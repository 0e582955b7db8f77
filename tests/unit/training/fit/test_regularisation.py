"""Mini-batch aware regularisation against a dense loop over all ids."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dinrank.model.bundle.schema import Group, Kind
from dinrank.model.layers.embedding import FeatureEmbedding
from dinrank.model.nets.config import NetworkConfig
from dinrank.model.nets.registry import Network, NetworkName, build_network
from dinrank.training.data.batches import make_batch
from dinrank.training.data.dataset import Dataset
from dinrank.training.data.encoded import EncodedDataset, encode_dataset
from dinrank.training.fit.regularisation import MiniBatchAwareL2
from tests.fixtures.dataset import tiny_dataset

STRENGTH = 0.3

CONFIG = NetworkConfig(embedding_dim=3, embedding_std=1.0, tower=(), unit=(2,))


def new_network(data: EncodedDataset) -> Network:
    """With no vector at zero, the unknown one's included."""
    torch.manual_seed(0)
    network = build_network(NetworkName.DIN, data.encoder.schema, CONFIG)
    with torch.no_grad():
        for table in tables(network).values():
            table[1:].normal_()
    return network


def tables(network: nn.Module) -> dict[str, Tensor]:
    """Every embedding table by its name in the network, `item_embedding.tables.item_id.weight` for instance."""
    return {name: weight for name, weight in network.named_parameters() if ".tables." in name}


def feature_of(table: str) -> str:
    return table.split(".")[-2]


def indices_of(data: EncodedDataset, feature: str, row: int) -> list[int]:
    """The indices of a feature that an impression holds, as often as it does: candidate and behaviours, or user."""
    if feature in data.request:
        return np.atleast_1d(data.request[feature][row]).tolist()
    column = data.encoder.catalogue.columns[feature]
    history = data.behaviour_rows_B[data.first_N[row] : data.last_N[row]]
    return [int(index) for item in (data.candidate_rows_N[row], *history) for index in np.atleast_1d(column[item])]


def dense_gradient(data: EncodedDataset, feature: str, table: Tensor, rows: np.ndarray) -> Tensor:
    """The paper's λ·(α / n)·w, id by id, for the batch of these impressions."""
    occurrences = Counter(index for row in data.split_rows["train"] for index in indices_of(data, feature, row))
    in_batch = {index for row in rows for index in indices_of(data, feature, row)}
    gradient = torch.zeros_like(table)
    for index in in_batch - {0}:
        gradient[index] = STRENGTH * table[index] / max(occurrences[index], 1)
    return gradient


def assert_gradients_are_the_papers(network: nn.Module, data: EncodedDataset, rows: np.ndarray) -> None:
    penalty = MiniBatchAwareL2(network, data, STRENGTH)(make_batch(data, rows).inputs)
    assert isinstance(penalty, Tensor)
    penalty.backward()  # type: ignore[no-untyped-call]
    for name, table in tables(network).items():
        assert table.grad is not None, name
        expected = dense_gradient(data, feature_of(name), table.detach(), rows)
        torch.testing.assert_close(table.grad.to_dense(), expected, msg=name)


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_the_gradient_is_that_of_the_paper_for_ids_in_the_batch_and_zero_for_others(
    encoded_dataset: EncodedDataset, batch_size: int
) -> None:
    """Of item, user and context features, single, multi-valued and numeric."""
    rows = np.random.default_rng(0).permutation(encoded_dataset.split_rows["train"])[:batch_size]
    network = new_network(encoded_dataset)
    assert {feature_of(name) for name in tables(network)} == {
        feature.name for feature in encoded_dataset.encoder.schema.features
    }
    assert_gradients_are_the_papers(network, encoded_dataset, rows)


def test_items_that_share_the_unknown_vector_are_one_id(dataset: Dataset) -> None:
    data = encode_dataset(dataset, min_count=60)
    rows = data.split_rows["train"][:64]
    rare_items = (data.encoder.catalogue.columns["item_id"][make_batch(data, rows).item_rows_I] == 1).sum()
    assert rare_items > 1
    assert_gradients_are_the_papers(new_network(data), data, rows)


class TwoTables(nn.Module):
    """A network with two tables of every item feature, one of them of width 1 as in a linear term."""

    def __init__(self, data: EncodedDataset) -> None:
        super().__init__()
        features = data.encoder.schema.group(Group.ITEM)
        self.factors = FeatureEmbedding(features, embedding_dim=3, init_std=1.0)
        self.linear = FeatureEmbedding(features, embedding_dim=1, init_std=1.0)


def test_every_table_of_a_feature_is_regularised(encoded_dataset: EncodedDataset) -> None:
    torch.manual_seed(0)
    assert_gradients_are_the_papers(
        TwoTables(encoded_dataset), encoded_dataset, encoded_dataset.split_rows["train"][:9]
    )


@pytest.mark.parametrize("name", NetworkName)
def test_layers_are_left_alone_in_every_network(encoded_dataset: EncodedDataset, name: NetworkName) -> None:
    network = build_network(name, encoded_dataset.encoder.schema, CONFIG)
    penalty = MiniBatchAwareL2(network, encoded_dataset, STRENGTH)(make_batch(encoded_dataset, np.arange(9)).inputs)
    assert isinstance(penalty, Tensor)
    penalty.backward()  # type: ignore[no-untyped-call]
    reached = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert reached == set(tables(network))


def test_strength_0_is_no_penalty(encoded_dataset: EncodedDataset) -> None:
    batch = make_batch(encoded_dataset, np.arange(3))
    assert MiniBatchAwareL2(new_network(encoded_dataset), encoded_dataset, 0.0)(batch.inputs) == 0.0


def test_a_schema_without_item_ids_is_regularised_by_its_other_features(dataset: Dataset) -> None:
    without_ids = tiny_dataset(
        dataset.impressions, items=dataset.items, features=(("category", Group.ITEM, Kind.SINGLE),)
    )
    data = encode_dataset(without_ids, min_count=1)
    network = build_network(NetworkName.BASE, data.encoder.schema, CONFIG)
    assert_gradients_are_the_papers(network, data, np.arange(3))
