from itertools import combinations, combinations_with_replacement

import numpy as np
import pytest
import torch
from torch import Tensor

from dinrank.model.layers.interactions import (
    field_aware_products,
    inner_products,
    sum_of_pair_products,
    superposed_outer_product,
)

# Legend: U = users, C = candidates per user, F = fields, D = width of a field's vector.
NUM_FIELDS = 4


def random_fields() -> Tensor:
    return torch.randn(2, 3, NUM_FIELDS, 5, dtype=torch.float64)


def test_the_sum_of_pair_products_is_that_over_all_pairs() -> None:
    fields_UCFD = random_fields()
    pairs = combinations(range(NUM_FIELDS), 2)
    expected_UCD = sum(fields_UCFD[:, :, first] * fields_UCFD[:, :, second] for first, second in pairs)
    torch.testing.assert_close(sum_of_pair_products(fields_UCFD), expected_UCD)


def test_a_long_vector_does_not_drown_the_products_of_the_others() -> None:
    """With a field of length 10,000 that is orthogonal to the others, as a summed history may be."""
    fields_UCFD = torch.tensor([[[[1e4, 0.0, 0.0], [0.0, 0.5, 0.25], [0.0, 0.125, 2.0]]]])
    assert sum_of_pair_products(fields_UCFD).tolist() == [[[0.0, 0.0625, 0.5]]]
    fields_UCFD = torch.tensor([[[[1e4], [0.5], [-0.5], [0.25]]]])
    assert sum_of_pair_products(fields_UCFD).item() == 1e4 * 0.25 - 0.25


def test_inner_products_are_of_every_pair_of_fields_and_of_each_with_itself() -> None:
    fields_UCFD = random_fields()
    pairs = list(combinations_with_replacement(range(NUM_FIELDS), 2))
    found_UCP = inner_products(fields_UCFD)
    assert found_UCP.shape == (2, 3, len(pairs))
    for user, candidate, place in np.ndindex(*found_UCP.shape):
        first, second = pairs[place]
        vectors = fields_UCFD[user, candidate]
        assert found_UCP[user, candidate, place] == pytest.approx(float(vectors[first] @ vectors[second]))


def test_the_superposed_outer_product_sums_the_outer_products_of_all_pairs() -> None:
    fields_UCFD = random_fields()
    for user, candidate in np.ndindex(2, 3):
        vectors = fields_UCFD[user, candidate]
        expected_DD = sum(torch.outer(first, second) for first in vectors for second in vectors)
        assert isinstance(expected_DD, Tensor)
        torch.testing.assert_close(
            superposed_outer_product(fields_UCFD)[user, candidate], expected_DD.flatten(), rtol=1e-9, atol=1e-9
        )


def test_field_aware_products_take_from_each_field_the_vector_for_the_other() -> None:
    fields_UCFFD = torch.randn(2, 3, NUM_FIELDS, NUM_FIELDS, 5, dtype=torch.float64)
    for user, candidate in np.ndindex(2, 3):
        vectors = fields_UCFFD[user, candidate]
        expected = sum(
            float(vectors[first, second] @ vectors[second, first])
            for first, second in combinations(range(NUM_FIELDS), 2)
        )
        assert field_aware_products(fields_UCFFD)[user, candidate] == pytest.approx(expected)
