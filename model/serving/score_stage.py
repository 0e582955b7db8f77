"""A DIN behind its activation weights, as a graph of its own."""

import torch
from torch import Tensor, nn

from model.bundle.schema import FeatureSchema, Group
from model.layers.interest import pool_interest
from model.nets.calibrated import CalibratedNetwork, uncalibrated
from model.nets.din import DIN
from model.nets.registry import Network


# Legend: C = candidates, T = behaviours, D = item width.
class ScoreStage(nn.Module):
    """CTRs [C] from vectors, raw activation weights and the indices of user and context.

    Args:
        network: a DIN, calibrated or not.
    """

    def __init__(self, network: Network | CalibratedNetwork, schema: FeatureSchema) -> None:
        super().__init__()
        self.network = network
        self.features = (*schema.group(Group.USER), *schema.group(Group.CONTEXT))

    def forward(self, candidates_CD: Tensor, behaviours_TD: Tensor, weights_CT: Tensor, *arrays: Tensor) -> Tensor:
        din = uncalibrated(self.network)
        assert isinstance(din, DIN)
        request = {feature.name: array for feature, array in zip(self.features, arrays, strict=True)}
        sum_UCD = pool_interest(weights_CT[None], behaviours_TD[None])
        logit_UC = din.logit(candidates_CD[None], sum_UCD, behaviours_TD[None, :, 0], None, request)
        if isinstance(self.network, CalibratedNetwork):
            logit_UC = self.network.calibrate(logit_UC)
        return torch.sigmoid(logit_UC[0])
