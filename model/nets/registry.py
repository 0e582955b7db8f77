"""The networks by name."""

from enum import StrEnum

from model.bundle.schema import FeatureSchema
from model.nets.base import BaseModel
from model.nets.config import NetworkConfig
from model.nets.dien import DIEN
from model.nets.din import DIN


class NetworkName(StrEnum):
    BASE = "base"
    DIN = "din"
    DIEN = "dien"


Network = BaseModel | DIN | DIEN


def build_network(name: NetworkName, schema: FeatureSchema, config: NetworkConfig) -> Network:
    """A new network with random weights, drawn from torch's global generator."""
    match name:
        case NetworkName.BASE:
            return BaseModel(schema, config)
        case NetworkName.DIN:
            return DIN(schema, config)
        case NetworkName.DIEN:
            return DIEN(schema, config)
