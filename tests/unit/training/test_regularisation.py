"""Mini-batch aware regularisation against a dense loop over all ids."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.bundle.schema import Group, Kind
from model.nets.config import NetworkConfig
from model.nets.registry import Network, NetworkName, build_network
from tests.fixtures.dataset import tiny_dataset
from training.data.batches import Batch, make_batch
from training.data.dataset import Dataset
from training.data.encoded import EncodedDataset, encode_dataset
from training.regularisation import mini_batch_aware_l2

STRENGTH = 0.3
CONFIG = NetworkConfig(embedding_dim=3, embedding_std=1.0, tower=(), unit=(2,))


def new_network(data: EncodedDataset) -> Network:
    """With no vector at zero, the unknown one's included."""
    torch.manual_seed(0)
    network = build_network(NetworkName.DIN, data.encoder.schema, CONFIG)
    with torch.no_grad():
        id_table(network)[1:].normal_()
    return network


def id_table(network: Network) -> Tensor:
    table = network.item_embedding.tables["item_id"]
    assert isinstance(table, nn.Embedding)
    return table.weight


def occurrences(data: EncodedDataset) -> np.ndarray:
    """How often each index of item_id occurs in the training rows, as candidate or behaviour."""
    ids = data.encoder.catalogue.columns["item_id"]
    counts = np.zeros(ids.max() + 1, dtype=np.int64)
    for row in data.split_rows["train"]:
        history = data.behaviour_rows_B[data.first_N[row] : data.last_N[row]]
        for item in (data.candidate_rows_N[row], *history):
            counts[ids[item]] += 1
    return counts


def dense_gradient(table: Tensor, ids_in_batch: set[int], counts: np.ndarray) -> Tensor:
    """The paper's λ·(α / n)·w, id by id."""
    gradient = torch.zeros_like(table)
    for index in ids_in_batch - {0}:
        gradient[index] = STRENGTH * table[index] / max(int(counts[index]), 1)
    return gradient


def found_gradient(network: Network, data: EncodedDataset, batch: Batch) -> Tensor:
    penalty = mini_batch_aware_l2(network, data, batch, STRENGTH)
    assert isinstance(penalty, Tensor)
    (gradient,) = torch.autograd.grad(penalty, id_table(network))
    return gradient.to_dense()


def ids_of(batch: Batch) -> set[int]:
    return set(batch.inputs.items["item_id"].tolist())


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_the_gradient_is_that_of_the_paper_for_ids_in_the_batch_and_zero_for_others(
    encoded_dataset: EncodedDataset, batch_size: int
) -> None:
    network, counts = new_network(encoded_dataset), occurrences(encoded_dataset)
    rows = np.random.default_rng(0).permutation(encoded_dataset.split_rows["train"])[:batch_size]
    batch = make_batch(encoded_dataset, rows)
    expected = dense_gradient(id_table(network).detach(), ids_of(batch), counts)
    torch.testing.assert_close(found_gradient(network, encoded_dataset, batch), expected)


def test_items_that_share_the_unknown_vector_are_one_id(dataset: Dataset) -> None:
    data = encode_dataset(dataset, min_count=60)
    network, counts = new_network(data), occurrences(data)
    batch = make_batch(data, data.split_rows["train"][:64])
    rare_items = (data.encoder.catalogue.columns["item_id"][batch.item_rows_I] == 1).sum()
    assert rare_items > 1
    expected = dense_gradient(id_table(network).detach(), ids_of(batch), counts)
    torch.testing.assert_close(found_gradient(network, data, batch), expected)


def test_other_tables_and_layers_are_left_alone(encoded_dataset: EncodedDataset) -> None:
    network = new_network(encoded_dataset)
    penalty = mini_batch_aware_l2(network, encoded_dataset, make_batch(encoded_dataset, np.arange(9)), STRENGTH)
    assert isinstance(penalty, Tensor)
    penalty.backward()  # type: ignore[no-untyped-call]
    reached = [name for name, parameter in network.named_parameters() if parameter.grad is not None]
    assert reached == ["item_embedding.tables.item_id.weight"]


def test_strength_0_is_no_penalty(encoded_dataset: EncodedDataset) -> None:
    batch = make_batch(encoded_dataset, np.arange(3))
    assert mini_batch_aware_l2(new_network(encoded_dataset), encoded_dataset, batch, 0.0) == 0.0


def test_a_schema_without_item_ids_has_no_penalty(dataset: Dataset) -> None:
    without_ids = tiny_dataset(
        dataset.impressions, items=dataset.items, features=(("category", Group.ITEM, Kind.SINGLE),)
    )
    data = encode_dataset(without_ids, min_count=1)
    network = build_network(NetworkName.BASE, data.encoder.schema, CONFIG)
    assert mini_batch_aware_l2(network, data, make_batch(data, np.arange(3)), STRENGTH) == 0.0
