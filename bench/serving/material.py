"""Material of a measurement: a synthetic shop, a network with random weights for it, and its bundle."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.serving.dataset import Traffic, write_dataset
from bench.serving.networks import random_network
from bench.serving.setting import SEED, TABLE_BYTES, Shape
from dinrank.model.bundle.encoding import Encoder
from dinrank.model.nets.names import NetworkName
from dinrank.model.nets.registry import Network
from dinrank.training.data.dataset import read_dataset
from dinrank.training.data.encoded import encode_dataset
from dinrank.training.export.bundle import export_bundle
from dinrank.training.table.command import TableOptions, add_table

_NUM_GOLDEN = 3


@dataclass(frozen=True, slots=True)
class Material:
    """Attributes:
    data: dataset directory.
    bundle: without an activation table.
    bundle_with_table: of the same network; None if the network cannot use a table.
    """

    network: Network
    encoder: Encoder
    data: Path
    bundle: Path
    bundle_with_table: Path | None


def make_material(directory: Path, name: NetworkName, shape: Shape, *, max_behaviours: int) -> Material:
    """Write the material into the new `directory`.

    Args:
        shape: of the network, and each user's number of behaviours in the dataset.
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
    with_table = _add_table(bundle, data, traffic.active_ads()) if name is NetworkName.DIN else None
    return Material(network, encoder, data, bundle, with_table)


def _add_table(bundle: Path, data: Path, ads: Sequence[str]) -> Path:
    """Copy the bundle with a table of the ranked ads and as many items as fit."""
    file, out = bundle.with_name("ads.txt"), bundle.with_name("bundle-with-table")
    file.write_text("\n".join(ads), encoding="utf-8")
    add_table(bundle, data, out, TableOptions(TABLE_BYTES, file), Console(stderr=True))
    return out
