"""Names of the networks, for command lines and manifests; imports no torch."""

from enum import StrEnum


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
