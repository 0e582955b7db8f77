"""A network followed by its calibration, as exported and served."""

import math
from typing import Any

from torch import Tensor, nn

from dinrank.model.layers.calibration import Calibration, NoCalibration
from dinrank.model.layers.inputs import NetworkInputs, NetworkOutput
from dinrank.model.nets.registry import Network


# Legend: U = users, C = candidates per user.
class CalibratedNetwork(nn.Module):
    """Same inputs and outputs as a network; its logit is

        calibration(logit of the network) + ln(negative_sampling_rate)

    If only a share w of the not-clicked impressions was kept, the odds of a click in the sample are 1/w times the real
    ones. The second term corrects that: a CTR p in the sample becomes q = p / (p + (1 − p)/w).

    Args:
        negative_sampling_rate: w, above 0 and at most 1. With 1, the default, CTRs are those of the rows as they are.

    Raises:
        ValueError: another rate.

    Source: He et al., "Practical Lessons from Predicting Clicks on Ads at Facebook", ADKDD 2014, section 6.3.
    """

    def __init__(self, network: Network, calibration: Calibration, *, negative_sampling_rate: float = 1.0) -> None:
        super().__init__()
        if not 0.0 < negative_sampling_rate <= 1.0:
            raise ValueError(f"negative_sampling_rate must be above 0 and at most 1, not {negative_sampling_rate}")
        self.network = network
        self.calibration = calibration
        self.negative_sampling_rate = negative_sampling_rate

    def forward(self, inputs: NetworkInputs) -> NetworkOutput:
        output: NetworkOutput = self.network(inputs)
        return output._replace(logit_UC=self.calibrate(output.logit_UC))

    def calibrate(self, logit: Tensor) -> Tensor:
        """Return the served logits for the network's, any shape."""
        calibrated: Tensor = self.calibration(logit) + math.log(self.negative_sampling_rate)
        return calibrated


def uncalibrated(network: Network | CalibratedNetwork) -> Network:
    return network.network if isinstance(network, CalibratedNetwork) else network


def describe_calibration(network: Network | CalibratedNetwork) -> dict[str, Any]:
    """Describe the calibration for the manifest: method, parameters, and negative sampling rate."""
    if not isinstance(network, CalibratedNetwork):
        return describe_calibration(CalibratedNetwork(network, NoCalibration()))
    return {**network.calibration.to_json(), "negative_sampling_rate": network.negative_sampling_rate}
