"""Settings of the measurement: subjects, sizes and durations."""

from collections.abc import Mapping
from dataclasses import dataclass

UNIT = (80, 40)
TOWER = (200, 80)
NUM_CANDIDATES = 200  # C
NUM_ITEMS = 20_000
NUM_USERS = 1_000
NUM_ACTIVE_ADS = 2_000  # of the items; candidates are drawn from these
NUM_CATEGORIES = 300
NUM_SEGMENTS = 50
TABLE_BYTES = 512_000_000  # of the activation table at most
SEED = 0
AGREEMENT = 1e-4  # allowed difference of CTRs between two implementations of one network
WORKERS = 2

# Subjects, as named in tables and results.
PLAIN, TABLE = "dinrank, plain graph", "dinrank, activation table"
ONE_GRAPH = "dinrank, one graph, split and folded"
PRODUCTS = "matrix products alone"
EAGER, ORT = "PyTorch, history repeated", "ONNX Runtime, history repeated"
EAGER_ONCE = "PyTorch, history once"
NAIVE = "FastAPI and PyTorch, history repeated"
BENTOML, LITSERVE = "BentoML, history repeated", "LitServe, history repeated"


@dataclass(frozen=True, slots=True)
class Shape:
    """Attributes:
    num_behaviours: T.
    width: D, of an item: item id and category have half of it each.
    """

    num_behaviours: int
    width: int

    def __str__(self) -> str:
        return f"C = {NUM_CANDIDATES}, T = {self.num_behaviours:,}, D = {self.width}"


SCORING_WIDTH = 128
SHORT, LONG, VERY_LONG = (Shape(length, SCORING_WIDTH) for length in (100, 1_000, 10_000))
SERVICE = Shape(num_behaviours=50, width=64)
WIDE_SERVICE = SHORT


@dataclass(frozen=True, slots=True)
class Effort:
    """Amount of measurement. Every subject has a turn in every round, so that all see the same machine.

    Attributes:
        rounds: of scoring, by T.
        saturation_rounds: of `saturation_s` each; the median counts.
        warm_up_s: at full load, before every measurement; not counted.
        service_shapes: for the service under load.
        load_rounds: of `load_s` at each of `load_shares` of a service's saturation; the median counts.
    """

    rounds: Mapping[int, int]
    service_shapes: tuple[Shape, ...]
    saturation_rounds: int
    saturation_s: float
    warm_up_s: float
    load_rounds: int
    load_s: float
    load_shares: tuple[float, ...]


FULL = Effort(
    rounds={SHORT.num_behaviours: 60, LONG.num_behaviours: 15, VERY_LONG.num_behaviours: 15},
    service_shapes=(SERVICE, WIDE_SERVICE),
    saturation_rounds=3,
    saturation_s=8.0,
    warm_up_s=2.0,
    load_rounds=3,
    load_s=10.0,
    load_shares=(0.2, 0.4, 0.6, 0.8, 1.0, 1.2),
)
QUICK = Effort(
    rounds={SHORT.num_behaviours: 5, LONG.num_behaviours: 2, VERY_LONG.num_behaviours: 2},
    service_shapes=(SERVICE,),
    saturation_rounds=1,
    saturation_s=2.0,
    warm_up_s=0.5,
    load_rounds=1,
    load_s=2.0,
    load_shares=(0.2, 0.6, 1.2),
)
