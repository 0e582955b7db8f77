import pytest
import torch
from torch import Tensor

from dinrank.model.bundle.schema import Feature, Group, Kind
from dinrank.model.bundle.vocabulary import PADDING_ID, UNKNOWN_ID
from dinrank.model.layers.embedding import FeatureEmbedding, take_rows

GENRE = Feature("genre", Group.ITEM, Kind.MULTI, num_indices=5, max_values=3)
ITEM_ID = Feature("item_id", Group.ITEM, Kind.SINGLE, num_indices=4)
PRICE = Feature("price", Group.ITEM, Kind.NUMERIC, num_indices=6)


def table_of(embedding: FeatureEmbedding, feature: Feature) -> Tensor:
    weight = embedding.tables[feature.name].weight
    assert isinstance(weight, Tensor)
    return weight


def make_embedding(*features: Feature) -> FeatureEmbedding:
    torch.manual_seed(0)
    return FeatureEmbedding(features, embedding_dim=2, init_std=0.5)


def test_vectors_stand_side_by_side_in_schema_order() -> None:
    embedding = make_embedding(GENRE, ITEM_ID, PRICE)
    found = embedding({"price": torch.tensor([5]), "item_id": torch.tensor([3]), "genre": torch.tensor([[2, 0, 0]])})
    expected = [table_of(embedding, GENRE)[2], table_of(embedding, ITEM_ID)[3], table_of(embedding, PRICE)[5]]
    assert embedding.dim == 6
    assert torch.equal(found, torch.cat(expected)[None])


def test_several_values_are_averaged_over_those_that_are_there() -> None:
    embedding = make_embedding(GENRE)
    with torch.no_grad():
        table_of(embedding, GENRE)[2:] = torch.tensor([[1.0, 10.0], [3.0, 20.0], [8.0, 0.0]])
    genres = torch.tensor([[2, 3, 0], [4, 0, 0], [2, 3, 4], [2, 2, 3], [0, 0, 0]])
    # (1 + 3)/2, 8, (1 + 3 + 8)/3, (1 + 1 + 3)/3, and nothing.
    expected = torch.tensor([[2.0, 15.0], [8.0, 0.0], [4.0, 10.0], [5 / 3, 40 / 3], [0.0, 0.0]])
    torch.testing.assert_close(embedding({"genre": genres}), expected)


def test_an_unknown_value_counts_in_the_average() -> None:
    embedding = make_embedding(GENRE)
    with torch.no_grad():
        table_of(embedding, GENRE)[UNKNOWN_ID:3] = torch.tensor([[4.0, 4.0], [2.0, 0.0]])
    assert embedding({"genre": torch.tensor([[UNKNOWN_ID, 2, PADDING_ID]])}).tolist() == [[3.0, 2.0]]


def test_padding_and_unknown_begin_at_zero_and_the_others_do_not() -> None:
    embedding = make_embedding(GENRE, ITEM_ID)
    for feature in (GENRE, ITEM_ID):
        table = table_of(embedding, feature)
        assert not table[[PADDING_ID, UNKNOWN_ID]].any()
        assert table[2:].all()


def test_vectors_begin_with_the_given_deviation() -> None:
    torch.manual_seed(0)
    feature = Feature("item_id", Group.ITEM, Kind.SINGLE, num_indices=5002)
    table = table_of(FeatureEmbedding([feature], embedding_dim=2, init_std=0.01), feature)[2:]
    # 10,000 numbers: the sample's deviation is within 5 %, its mean within 5 standard errors.
    assert table.std().item() == pytest.approx(0.01, rel=0.05)
    assert abs(table.mean().item()) < 5 * 0.01 / 100


def test_training_moves_unknown_and_known_vectors_but_never_padding() -> None:
    embedding = make_embedding(GENRE, ITEM_ID)
    before = table_of(embedding, ITEM_ID)[3].clone()
    optimiser = torch.optim.SparseAdam(list(embedding.parameters()), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        vectors = embedding({"genre": torch.tensor([[2, 0, 0], [0, 0, 0]]), "item_id": torch.tensor([0, 1])})
        (vectors - 1.0).square().sum().backward()
        optimiser.step()  # type: ignore[no-untyped-call]
    assert table_of(embedding, GENRE)[PADDING_ID].tolist() == [0.0, 0.0]
    assert table_of(embedding, ITEM_ID)[PADDING_ID].tolist() == [0.0, 0.0]
    assert table_of(embedding, ITEM_ID)[UNKNOWN_ID].abs().min().item() > 0.1
    assert torch.equal(table_of(embedding, ITEM_ID)[3], before)  # not in the batch, so not touched


def test_gradients_are_sparse_and_hold_what_the_batch_touches() -> None:
    """Genres 2 and 3 share a mean over two values; item 3 occurs twice."""
    embedding = make_embedding(GENRE, ITEM_ID)
    embedding({"genre": torch.tensor([[2, 3, 0], [0, 0, 0]]), "item_id": torch.tensor([3, 3])}).sum().backward()
    genre_grad, item_grad = (table_of(embedding, feature).grad for feature in (GENRE, ITEM_ID))
    assert genre_grad is not None and genre_grad.is_sparse
    assert item_grad is not None and item_grad.is_sparse
    assert genre_grad.to_dense().tolist() == [[0.0, 0.0], [0.0, 0.0], [0.5, 0.5], [0.5, 0.5], [0.0, 0.0]]
    assert item_grad.to_dense().tolist() == [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [2.0, 2.0]]


def test_taken_rows_equal_indexing_and_repeated_ones_add_their_gradients() -> None:
    rows_ID = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    positions = torch.tensor([[3, 0], [3, 3]])
    taken = take_rows(rows_ID, positions)
    assert torch.equal(taken, rows_ID[positions])
    taken.sum().backward()  # type: ignore[no-untyped-call]
    assert rows_ID.grad is not None
    assert rows_ID.grad.tolist() == [[1.0] * 3, [0.0] * 3, [0.0] * 3, [3.0] * 3]
