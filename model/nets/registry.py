"""The networks by name."""

from collections.abc import Callable, Mapping

from dinrank.model.bundle.schema import FeatureSchema
from dinrank.model.nets.base import BaseModel
from dinrank.model.nets.config import NetworkConfig
from dinrank.model.nets.dcn import DCN
from dinrank.model.nets.deep_crossing import DeepCrossing
from dinrank.model.nets.deepfm import DeepFM
from dinrank.model.nets.dien import DIEN
from dinrank.model.nets.din import DIN
from dinrank.model.nets.ffm import FFM
from dinrank.model.nets.fm import FM
from dinrank.model.nets.fnn import FNN
from dinrank.model.nets.lr import LR
from dinrank.model.nets.names import NetworkName
from dinrank.model.nets.nfm import NFM
from dinrank.model.nets.pnn import PNN
from dinrank.model.nets.poly2 import Poly2
from dinrank.model.nets.wide_deep import WideDeep

Network = LR | Poly2 | FM | FFM | FNN | PNN | WideDeep | DeepCrossing | DCN | NFM | DeepFM | BaseModel | DIN | DIEN

_NETWORKS: Mapping[NetworkName, Callable[[FeatureSchema, NetworkConfig], Network]] = {
    NetworkName.LR: LR,
    NetworkName.POLY2: Poly2,
    NetworkName.FM: FM,
    NetworkName.FFM: FFM,
    NetworkName.FNN: FNN,
    NetworkName.PNN: PNN,
    NetworkName.WIDE_DEEP: WideDeep,
    NetworkName.DEEP_CROSSING: DeepCrossing,
    NetworkName.DCN: DCN,
    NetworkName.NFM: NFM,
    NetworkName.DEEPFM: DeepFM,
    NetworkName.BASE: BaseModel,
    NetworkName.DIN: DIN,
    NetworkName.DIEN: DIEN,
}


def build_network(name: NetworkName, schema: FeatureSchema, config: NetworkConfig) -> Network:
    """Build a network with random weights, drawn from torch's global generator."""
    return _NETWORKS[name](schema, config)
