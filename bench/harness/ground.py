"""Test fixture of a measurement: a folder with a bundle, and a filled Redis."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.harness.bundle import make_bundle
from bench.harness.traffic import fill_redis
from dinrank.model.bundle.reader import open_bundle
from dinrank.model.nets.names import NetworkName
from dinrank.service.store.embedded import embedded_redis


@dataclass(frozen=True, slots=True)
class Ground:
    """Attributes:
    directory: for logs; removed at the end.
    redis_url: of a server that stops with the block.
    """

    directory: Path
    bundle: Path
    redis_url: str


@contextmanager
def prepared(bundle: Path | None, model: NetworkName, nums_behaviours: list[int]) -> Iterator[Ground]:
    """Prepare `bundle`, or a new one of `model`, and users with each of the given numbers of behaviours."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        if bundle is None:
            bundle = directory / "bundle"
            make_bundle(bundle, model)
        with embedded_redis(directory / "redis") as url:
            fill_redis(url, open_bundle(bundle).schema, nums_behaviours)
            yield Ground(directory, bundle, url)
