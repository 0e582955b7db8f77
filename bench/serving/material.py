"""What is measured: an invented shop, a network with random weights for it, and its bundle."""

from dataclasses import dataclass
from pathlib import Path

from bench.serving.dataset import Traffic, write_dataset
from bench.serving.networks import random_network
from bench.serving.setting import SEED, Shape
from model.bundle.encoding import Encoder
from model.bundle.reader import open_bundle
from model.nets.registry import Network, NetworkName
from training.data.dataset import read_dataset
from training.data.encoded import encode_dataset
from training.export import export_bundle

_NUM_GOLDEN = 3


@dataclass(frozen=True, slots=True)
class Material:
    """Attributes:
    data: dataset directory.
    bundle: without an activation table.
    bundle_with_table: of the same network; None when there is none.
    """

    network: Network
    encoder: Encoder
    data: Path
    bundle: Path
    bundle_with_table: Path | None


def make_material(directory: Path, name: NetworkName, shape: Shape, *, max_behaviours: int) -> Material:
    """Write all of it into the new `directory`.

    Args:
        shape: of the network, and how many behaviours each user of the dataset has.
        max_behaviours: the longest history that the bundle takes.
    """
    data, bundle = directory / "data", directory / "bundle"
    write_dataset(data, num_behaviours=shape.num_behaviours, max_behaviours=max_behaviours)
    encoder = encode_dataset(read_dataset(data), min_count=1).encoder
    network = random_network(name, encoder.schema, embedding_dim=shape.width // 2)
    traffic = Traffic(seed=SEED)
    export_bundle(
        bundle,
        network=network,
        name=name,
        encoder=encoder,
        golden_requests=[traffic.scoring_request(shape.num_behaviours) for _ in range(_NUM_GOLDEN)],
        training={"dataset": "invented", "seed": SEED},
        metrics={},
    )
    return Material(network, encoder, data, bundle, _with_table(bundle))


def _with_table(bundle: Path) -> Path | None:
    """The bundle with an activation table; None where there is none."""
    return bundle if open_bundle(bundle).table is not None else None
