import numpy as np
import pytest
import torch
from torch import Tensor

from dinrank.model.layers.inputs import NetworkInputs
from dinrank.model.layers.interest import Pooling
from dinrank.model.nets.base import BaseModel
from dinrank.model.nets.config import NetworkConfig
from dinrank.model.nets.names import NetworkName
from tests.fixtures.networks import random_inputs, random_network

# Legend: U = users, C = candidates per user, T = behaviours, D = item width, I = distinct items.


@pytest.mark.parametrize("is_padded", [False, True])
@pytest.mark.parametrize(("pooling", "divisors"), [(Pooling.SUM, [1, 1]), (Pooling.MEAN, [3, 2])])
def test_the_tower_sees_the_candidate_and_its_users_pooled_behaviours(
    is_padded: bool, pooling: Pooling, divisors: list[int]
) -> None:
    """Of two users, the first has three behaviours, the second two when padded, else three."""
    rng = np.random.default_rng(0)
    is_real_UT = np.array([[True, True, True], [False, True, True]]) if is_padded else None
    inputs = random_inputs(rng, is_real_UT=is_real_UT, num_users=2, sizes=(3, 3))
    network = random_network(NetworkName.BASE, NetworkConfig(embedding_dim=2, tower=(4,), pooling=pooling))
    assert isinstance(network, BaseModel)
    with torch.no_grad():
        rows_ID = network.fields.item_embedding(inputs.items)
        query_UCD = rows_ID[inputs.candidates_UC]
        interest_UCD = torch.zeros_like(query_UCD)
        for user, candidate, slot in np.ndindex(2, 3, 3):
            if is_real_UT is None or is_real_UT[user, slot]:
                divisor = divisors[user if is_padded else 0]
                interest_UCD[user, candidate] += rows_ID[inputs.behaviours_UT[user, slot]] / divisor
        expected_UC = mlp_on(network, [query_UCD, interest_UCD], inputs)
        torch.testing.assert_close(network(inputs).logit_UC, expected_UC)


def test_no_behaviours_compute_the_tower_on_zeros() -> None:
    network = random_network(NetworkName.BASE)
    assert isinstance(network, BaseModel)
    inputs = random_inputs(np.random.default_rng(0), is_real_UT=None, num_users=2, sizes=(3, 0))
    with torch.no_grad():
        query_UCD = network.fields.item_embedding(inputs.items)[inputs.candidates_UC]
        expected_UC = mlp_on(network, [query_UCD, torch.zeros_like(query_UCD)], inputs)
        assert torch.equal(network(inputs).logit_UC, expected_UC)


def mlp_on(network: BaseModel, parts_UC: list[Tensor], inputs: NetworkInputs) -> Tensor:
    request_UF = network.fields.request_embedding(inputs.request)
    request_UCF = request_UF[:, None, :].expand(-1, inputs.candidates_UC.shape[1], -1)
    logit_UC: Tensor = network.mlp(torch.cat([*parts_UC, request_UCF], dim=-1)).squeeze(-1)
    return logit_UC
