"""What holds for every network, whatever its equation. In float64, so that equal can mean equal to many digits."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from dinrank.model.bundle.schema import Group
from dinrank.model.bundle.vocabulary import PADDING_ID
from dinrank.model.layers.inputs import NetworkInputs
from dinrank.model.nets.registry import Network, NetworkName, build_network
from tests.fixtures.networks import SCHEMA, SMALL, random_indices, random_inputs, random_network, tensors

# Legend: U = users, C = candidates per user, T = behaviours, I = distinct items.


@dataclass(frozen=True)
class Sizes:
    users: int
    candidates: int
    behaviours: int
    seed: int

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def inputs(self, is_real_UT: NDArray[np.bool_] | None) -> NetworkInputs:
        sizes = (self.candidates, self.behaviours)
        return random_inputs(self.rng, is_real_UT=is_real_UT, num_users=self.users, sizes=sizes)

    def padded(self) -> NetworkInputs:
        return self.inputs(self.rng.random((self.users, self.behaviours)) < 0.6)


some_sizes = st.builds(
    Sizes, users=st.integers(1, 3), candidates=st.integers(1, 3), behaviours=st.integers(0, 5), seed=st.integers(0, 999)
)
every_network = pytest.mark.parametrize("name", NetworkName)
DICE_TOLERANCE = 1e-6  # in training, where Dice divides by a batch's standard deviation, down to 1e-4
few_examples = settings(deadline=None, max_examples=15)


def exact(name: NetworkName, *, seed: int = 0) -> Network:
    return random_network(name, seed=seed).double()


def logits(network: Network, inputs: NetworkInputs) -> Tensor:
    with torch.no_grad():
        logit_UC: Tensor = network(inputs).logit_UC
    return logit_UC


def same(found: Tensor, expected: Tensor, *, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def for_user(inputs: NetworkInputs, user: int) -> NetworkInputs:
    """The user alone in the serving layout: exactly the real behaviours."""
    history = inputs.behaviours_UT[user]
    return inputs._replace(
        candidates_UC=inputs.candidates_UC[user][None],
        behaviours_UT=history[inputs.is_real_UT[user]][None] if inputs.is_real_UT is not None else history[None],
        is_real_UT=None,
        request={name: indices[user][None] for name, indices in inputs.request.items()},
    )


@every_network
@given(sizes=some_sizes)
@few_examples
def test_logits_and_weights_have_the_documented_shapes(name: NetworkName, sizes: Sizes) -> None:
    padded, dense = (random_network(name)(inputs) for inputs in (sizes.padded(), sizes.inputs(None)))
    assert padded.logit_UC.shape == dense.logit_UC.shape == (sizes.users, sizes.candidates)
    assert padded.weights_UCT is None
    if name is NetworkName.DIN:
        assert dense.weights_UCT.shape == (sizes.users, sizes.candidates, sizes.behaviours)
    else:
        assert dense.weights_UCT is None


@every_network
@pytest.mark.parametrize("training", [False, True])
@given(sizes=some_sizes, data=st.data())
@few_examples
def test_padding_never_changes_a_logit(name: NetworkName, training: bool, sizes: Sizes, data: st.DataObject) -> None:
    """Arbitrary rows in new slots anywhere, and other rows in the slots that were padding before; in training too,
    where Dice's statistics must not see them."""
    inputs = sizes.padded()
    assert inputs.is_real_UT is not None
    num_slots = sizes.behaviours + data.draw(st.integers(0, 4), label="extra slots")
    order = data.draw(st.permutations(range(num_slots)), label="where the old slots go")
    where = torch.tensor(sorted(order[: sizes.behaviours]), dtype=torch.int64)
    num_items = len(inputs.items["item_id"])
    rng = np.random.default_rng(sizes.seed + 1)
    behaviours_UT = torch.from_numpy(rng.integers(0, num_items, size=(sizes.users, num_slots)))
    is_real_UT = torch.zeros(sizes.users, num_slots, dtype=torch.bool)
    is_real_UT[:, where] = inputs.is_real_UT
    behaviours_UT[:, where] = torch.where(inputs.is_real_UT, inputs.behaviours_UT, behaviours_UT[:, where])
    more_padding = inputs._replace(behaviours_UT=behaviours_UT, is_real_UT=is_real_UT)
    found, expected = (logits(exact(name).train(training), each) for each in (more_padding, inputs))
    same(found, expected, tolerance=DICE_TOLERANCE)


@every_network
@given(sizes=some_sizes)
@few_examples
def test_the_padded_layout_equals_each_user_alone_in_the_serving_layout(name: NetworkName, sizes: Sizes) -> None:
    network, inputs = exact(name), sizes.padded()
    alone_UC = torch.cat([logits(network, for_user(inputs, user)) for user in range(sizes.users)])
    same(logits(network, inputs), alone_UC)


@every_network
@pytest.mark.parametrize("training", [False, True])
@given(sizes=some_sizes)
@few_examples
def test_a_mask_without_padding_equals_no_mask(name: NetworkName, training: bool, sizes: Sizes) -> None:
    inputs = sizes.inputs(None)
    masked = inputs._replace(is_real_UT=torch.ones(sizes.users, sizes.behaviours, dtype=torch.bool))
    found, expected = (logits(exact(name).train(training), each) for each in (masked, inputs))
    same(found, expected, tolerance=DICE_TOLERANCE)


@every_network
@given(sizes=some_sizes)
@few_examples
def test_a_candidate_never_changes_another_ones_logit(name: NetworkName, sizes: Sizes) -> None:
    network, inputs = exact(name), sizes.padded()
    alone = [
        logits(network, inputs._replace(candidates_UC=inputs.candidates_UC[:, [candidate]]))
        for candidate in range(sizes.candidates)
    ]
    same(logits(network, inputs), torch.cat(alone, dim=1))


@every_network
@given(sizes=some_sizes)
@few_examples
def test_a_user_never_changes_another_ones_logit_at_inference(name: NetworkName, sizes: Sizes) -> None:
    network, inputs = exact(name), sizes.inputs(None)
    alone = [logits(network, for_user(inputs, user)) for user in range(sizes.users)]
    same(logits(network, inputs), torch.cat(alone))


@every_network
@given(sizes=some_sizes)
@few_examples
def test_no_behaviours_give_zero_interest_in_every_layout(name: NetworkName, sizes: Sizes) -> None:
    """The zero interest is that of a history of nothing but the padding item, whose vector is zero. Not in DIEN, whose
    gates have biases: there all layouts agree on what no slots give."""
    network, inputs = exact(name), sizes.inputs(None)
    num_items = len(inputs.items["item_id"])
    padding_item = {
        feature: torch.cat([indices, torch.full_like(indices[:1], PADDING_ID)])
        for feature, indices in inputs.items.items()
    }
    of_zeros = inputs._replace(items=padding_item, behaviours_UT=torch.full((sizes.users, 2), num_items))
    no_slots = inputs.behaviours_UT[:, :0]
    without = logits(network, inputs._replace(behaviours_UT=no_slots))
    expected = without if name is NetworkName.DIEN else logits(network, of_zeros)
    same(without, expected)
    same(logits(network, inputs._replace(behaviours_UT=no_slots, is_real_UT=no_slots.bool())), expected)
    nothing_real = torch.zeros_like(inputs.behaviours_UT, dtype=torch.bool)
    same(logits(network, inputs._replace(is_real_UT=nothing_real)), expected)


@every_network
@given(sizes=some_sizes)
@few_examples
def test_how_items_are_numbered_in_the_batch_does_not_matter(name: NetworkName, sizes: Sizes) -> None:
    """Each candidate and behaviour as an item of its own, as the exporter does, instead of once per distinct item."""
    network, inputs = exact(name), sizes.padded()
    rows = torch.cat([inputs.candidates_UC.flatten(), inputs.behaviours_UT.flatten()])
    own, num_candidates = torch.arange(len(rows)), inputs.candidates_UC.numel()
    renumbered = inputs._replace(
        items={feature: indices[rows] for feature, indices in inputs.items.items()},
        candidates_UC=own[:num_candidates].reshape(inputs.candidates_UC.shape),
        behaviours_UT=own[num_candidates:].reshape(inputs.behaviours_UT.shape),
    )
    same(logits(network, renumbered), logits(network, inputs))


@every_network
def test_a_gradient_reaches_every_parameter(name: NetworkName) -> None:
    """Of every table the vectors that the batch holds, padding excepted; of every layer at least one number."""
    network = random_network(name).train()
    rng = np.random.default_rng(0)
    num_users = 40  # enough to hold every index
    inputs = random_inputs(rng, is_real_UT=rng.random((num_users, 5)) < 0.7, num_users=num_users, sizes=(2, 5))
    items = random_indices(SCHEMA.group(Group.ITEM), 60, rng)
    inputs = inputs._replace(
        items=tensors(items),
        candidates_UC=torch.from_numpy(rng.permutation(80).reshape(num_users, 2) % 60),
        behaviours_UT=torch.from_numpy(rng.permutation(200).reshape(num_users, 5) % 60),
    )
    logit_UC = network(inputs).logit_UC
    (logit_UC * torch.randn(logit_UC.shape)).sum().backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        grad = parameter.grad.to_dense()
        assert grad.isfinite().all(), parameter_name
        if ".tables." in parameter_name:
            assert not grad[PADDING_ID].any(), parameter_name
            assert grad[PADDING_ID + 1 :].any(dim=1).all(), parameter_name
        else:
            assert grad.any(), parameter_name


@every_network
def test_one_seed_gives_one_network(name: NetworkName) -> None:
    first, second, other = (_built(name, seed) for seed in (3, 3, 4))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def _built(name: NetworkName, seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    state: dict[str, Tensor] = build_network(name, SCHEMA, SMALL).state_dict()
    return state


@pytest.mark.parametrize("name", [name for name in NetworkName if name is not NetworkName.DIEN])
@given(sizes=some_sizes, data=st.data())
@few_examples
def test_the_order_of_behaviours_does_not_matter(name: NetworkName, sizes: Sizes, data: st.DataObject) -> None:
    network, inputs = exact(name), sizes.padded()
    assert inputs.is_real_UT is not None
    order = torch.tensor(data.draw(st.permutations(range(sizes.behaviours))), dtype=torch.int64)
    permuted = inputs._replace(behaviours_UT=inputs.behaviours_UT[:, order], is_real_UT=inputs.is_real_UT[:, order])
    same(logits(network, permuted), logits(network, inputs))
