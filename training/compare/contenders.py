"""Contenders of a comparison: networks and named variants of them, each with its config."""

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dinrank.model.nets.names import NetworkName
from dinrank.training.config import TrainConfig, read_toml
from dinrank.training.errors import ConfigError

ALL = "all"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")  # used as a file name


@dataclass(frozen=True, slots=True)
class Contender:
    """A row of the table: a network with a config, under a name of its own."""

    name: str
    model: NetworkName
    config: TrainConfig


def read_contenders(
    models: str, *, config: TrainConfig, variants: Path | None = None, epochs: int | None = None
) -> list[Contender]:
    """Return the networks that `models` names, under their own names, and every variant in the file `variants`.

    Args:
        models: names with commas between them, or `all`.
        config: for every network; variants override it.
        epochs: overrides every config.

    Raises:
        ConfigError: an unknown network or key, or a value that cannot be used; the message says where.
    """
    found = [Contender(model.value, model, config) for model in _networks(models)]
    if variants is not None:
        found += _variants(variants, config)
    if epochs is None:
        return found
    return [dataclasses.replace(one, config=dataclasses.replace(one.config, epochs=epochs)) for one in found]


def _networks(models: str) -> list[NetworkName]:
    if models == ALL:
        return list(NetworkName)
    return [_network(name.strip(), "--models") for name in dict.fromkeys(models.split(","))]


def _network(name: object, where: str) -> NetworkName:
    try:
        return NetworkName(str(name))
    except ValueError as exc:
        raise ConfigError(f"{where}: unknown network {name!r}; known are {', '.join(NetworkName)}") from exc


def _variants(file: Path, config: TrainConfig) -> Iterator[Contender]:
    """Yield a variant per table of the file: `model`, and the keys that it changes."""
    for name, changes in read_toml(file).items():
        where = f"{file}: [{name}]"
        if not isinstance(changes, dict) or "model" not in changes:
            raise ConfigError(f'{where}: a variant is a section with a model, such as model = "din"')
        if not _NAME.fullmatch(name) or name in {*NetworkName, ALL}:
            raise ConfigError(
                f"{where}: a variant's name has small letters, digits, - and _, and is not that of a network"
            )
        model = _network(changes.pop("model"), where)
        yield Contender(name, model, config.changed(changes, source=where))
