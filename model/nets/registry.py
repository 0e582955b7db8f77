"""The networks by name."""

from collections.abc import Callable, Mapping
from enum import StrEnum

from model.bundle.schema import FeatureSchema
from model.nets.base import BaseModel
from model.nets.config import NetworkConfig
from model.nets.dcn import DCN
from model.nets.deep_crossing import DeepCrossing
from model.nets.deepfm import DeepFM
from model.nets.dien import DIEN
from model.nets.din import DIN
from model.nets.ffm import FFM
from model.nets.fm import FM
from model.nets.fnn import FNN
from model.nets.lr import LR
from model.nets.nfm import NFM
from model.nets.pnn import PNN
from model.nets.poly2 import Poly2
from model.nets.wide_deep import WideDeep


class NetworkName(StrEnum):
    LR = "lr"
    POLY2 = "poly2"
    FM = "fm"
    FFM = "ffm"
    FNN = "fnn"
    PNN = "pnn"
    WIDE_DEEP = "wide_deep"
    DEEP_CROSSING = "deep_crossing"
    DCN = "dcn"
    NFM = "nfm"
    DEEPFM = "deepfm"
    BASE = "base"
    DIN = "din"
    DIEN = "dien"


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
    """A new network with random weights, drawn from torch's global generator."""
    return _NETWORKS[name](schema, config)
