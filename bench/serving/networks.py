"""A network with random weights, and the same network with a row per candidate."""

import torch
from torch import Tensor, nn

from bench.serving.repeated import Dice, RepeatedDIN
from bench.serving.setting import SEED, TOWER, UNIT
from dinrank.model.bundle.schema import FeatureSchema
from dinrank.model.bundle.vocabulary import PADDING_ID
from dinrank.model.layers import dice
from dinrank.model.layers.inputs import NetworkInputs
from dinrank.model.layers.interest import Pooling
from dinrank.model.layers.mlp import Activation
from dinrank.model.nets.config import NetworkConfig
from dinrank.model.nets.din import DIN
from dinrank.model.nets.registry import Network, NetworkName, build_network

_EMBEDDING_STD = 0.3


def random_network(name: NetworkName, schema: FeatureSchema, *, embedding_dim: int) -> Network:
    """Build a network whose CTRs differ between items, with Dice everywhere, and α and statistics that matter."""
    torch.manual_seed(SEED)
    config = NetworkConfig(
        embedding_dim=embedding_dim,
        embedding_std=_EMBEDDING_STD,
        unit=UNIT,
        unit_activation=Activation.DICE,
        tower=TOWER,
        tower_activation=Activation.DICE,
        pooling=Pooling.MEAN,  # the default, a sum, makes CTRs of 0 and 1 from random vectors
    )
    network = build_network(name, schema, config)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, dice.Dice):
                module.alpha.normal_(std=0.3)
                module.running_mean.normal_(std=0.2)
                module.running_var.uniform_(0.05, 0.5)
            if isinstance(module, nn.Linear):
                module.weight.normal_(std=module.in_features**-0.5)
            if isinstance(module, nn.Embedding):
                module.weight[PADDING_ID] = 0.0
    return network.eval()


def repeat_history(network: DIN) -> RepeatedDIN:
    """Build the same DIN, weight by weight, in the form of papers' code."""
    weights = {
        name: table.weight
        for embedding in (network.item_embedding, network.tower.request_embedding)
        for name, table in embedding.tables.items()
    }
    ours = [weights[name] for name in ("item_id", "category", "segment", "hour")]
    repeated = RepeatedDIN([len(weight) for weight in ours], embedding_dim=ours[0].shape[1], unit=UNIT, tower=TOWER)
    theirs = (repeated.item, repeated.category, repeated.segment, repeated.hour)
    with torch.no_grad():
        for table, weight in zip(theirs, ours, strict=True):
            table.weight.copy_(weight)
        _copy_layers(network.unit, repeated.unit)
        _copy_layers(network.tower.mlp, repeated.tower)
    return repeated.eval()


def _copy_layers(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy linear and Dice layers, which both have in the same order."""
    kinds = (nn.Linear, dice.Dice, Dice)
    pairs = zip(*([m for m in module.modules() if isinstance(m, kinds)] for module in (ours, theirs)), strict=True)
    for source, target in pairs:
        if isinstance(source, nn.Linear):
            target.load_state_dict(source.state_dict())
            continue
        target.alpha.copy_(source.alpha)
        target.norm.running_mean.copy_(source.running_mean)
        target.norm.running_var.copy_(source.running_var)


# Legend: N = rows, one per candidate; T = behaviours.
class RowPerCandidate(nn.Module):
    """A network of the product with the inputs of others: each candidate with its own user and history."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        item_N: Tensor,
        category_N: Tensor,
        behaviour_item_NT: Tensor,
        behaviour_category_NT: Tensor,
        segment_N: Tensor,
        hour_N: Tensor,
    ) -> Tensor:
        num_rows, num_behaviours = behaviour_item_NT.shape
        output = self.network(
            NetworkInputs(
                items={
                    "item_id": torch.cat([item_N, behaviour_item_NT.flatten()]),
                    "category": torch.cat([category_N, behaviour_category_NT.flatten()]),
                },
                candidates_UC=torch.arange(num_rows)[:, None],
                behaviours_UT=(torch.arange(num_rows * num_behaviours) + num_rows).view(num_rows, num_behaviours),
                is_real_UT=None,
                request={"segment": segment_N, "hour": hour_N},
            )
        )
        return torch.sigmoid(output.logit_UC[:, 0])
