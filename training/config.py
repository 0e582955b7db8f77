"""Training configuration: defaults here, overrides in a TOML file; unknown keys are refused."""

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from dinrank.model.layers.calibration import CalibrationMethod
from dinrank.model.nets.config import NetworkConfig
from dinrank.training.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Training options.

    Attributes:
        epochs: maximum number of passes over the training rows.
        evaluations_per_epoch: number of evaluations on `valid` within an epoch.
        patience: stop after this many evaluations without a better valid GAUC; the best state is kept.
        batch_size: impressions a step.
        learning_rate: Adam's, at the start.
        embedding_learning_rate: the same for embedding tables, whose Adam is lazy: rows that a batch does not touch
            keep their value and their moments.
        min_count: a token that occurs less often in the training set is unknown.
        max_behaviour_dropout: each training row drops its behaviours with a probability drawn for it between 0 and
            this; 0 drops none. It keeps a network from recognising users by their histories.
        average_every: steps between two updates of the average of recent weights, which is what is measured and
            exported.
        auxiliary_weight: weight of the network's auxiliary loss, which DIEN alone has, beside the log loss.
        fm_pretraining_epochs: FNN begins with the parameters of a factorisation machine trained for at most this
            many epochs; 0 is none. Other networks ignore it.
        mini_batch_aware_l2: λ of the paper's regularisation of embeddings, which applies only to the ids of the batch;
            0 is none.
        l2: λ of plain L2 on embeddings, which applies to every id at every step: tables shrink by
            `embedding_learning_rate` · λ of themselves after each; 0 is none.
        calibration: how the finished network's logits are fitted to the clicks of `valid`: by a straight line
            (`platt`), a rising curve of at most 100 knots (`isotonic`) or not at all (`none`). CTRs keep their order.
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    epochs: int = 10
    evaluations_per_epoch: int = 2
    patience: int = 3
    batch_size: int = 1024
    learning_rate: float = 1e-3
    embedding_learning_rate: float = 1e-3
    min_count: int = 1
    max_behaviour_dropout: float = 1.0
    average_every: int = 10
    auxiliary_weight: float = 1.0
    fm_pretraining_epochs: int = 1
    mini_batch_aware_l2: float = 0.0
    l2: float = 0.0
    calibration: CalibrationMethod = CalibrationMethod.PLATT

    def __post_init__(self) -> None:
        for name in ("epochs", "evaluations_per_epoch", "patience", "batch_size", "average_every", "min_count"):
            _require(getattr(self, name) >= 1, f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("learning_rate", "embedding_learning_rate"):
            _require(getattr(self, name) > 0.0, f"{name} must be positive, not {getattr(self, name)}")
        for name in ("auxiliary_weight", "fm_pretraining_epochs", "mini_batch_aware_l2", "l2"):
            _require(getattr(self, name) >= 0.0, f"{name} must be 0 or more, not {getattr(self, name)}")
        _require(
            self.embedding_learning_rate * self.l2 < 1.0,
            f"l2 must be below 1 / embedding_learning_rate = {1.0 / self.embedding_learning_rate}, not {self.l2}",
        )
        _require(
            0.0 <= self.max_behaviour_dropout <= 1.0,
            f"max_behaviour_dropout must be between 0 and 1, not {self.max_behaviour_dropout}",
        )

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a TOML file: the training keys at the top, the network's under [network].

        Raises:
            ConfigError: no such file, not TOML, an unknown key, or a value of the wrong type or out of range.
        """
        return cls().changed(read_toml(file), source=str(file))

    def changed(self, document: Mapping[str, Any], *, source: str) -> Self:
        """Return this config with the keys of a TOML document replaced.

        Args:
            source: name of the document, for messages.

        Raises:
            ConfigError: an unknown key, or a value of the wrong type or out of range.
        """
        options = dict(document)
        network = options.pop("network", {})
        if not isinstance(network, dict):
            raise ConfigError(f"{source}: network is a section [network], found {network!r}")
        try:
            return dataclasses.replace(
                self,
                network=dataclasses.replace(self.network, **_checked(source, NetworkConfig, network)),
                **_checked(source, type(self), options),
            )
        except ValueError as exc:
            raise ConfigError(f"{source}: {exc}") from exc

    def to_toml(self) -> str:
        """Return TOML from which `read` gives this config; all its values are written alike in JSON and in TOML."""
        options = self.to_json()
        network = options.pop("network")
        return "\n".join([*_assignments(options), "", "[network]", *_assignments(network), ""])

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def read_toml(file: Path) -> dict[str, Any]:
    """Raises: ConfigError, if there is no such file or it is not TOML."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ConfigError(f"{file}: cannot be read as TOML: {exc}") from exc


def _assignments(options: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {json.dumps(value)}" for name, value in options.items()]


def _require(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise ValueError(otherwise)


def _checked(source: str, config: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    defaults = config()
    known = [option.name for option in dataclasses.fields(config) if option.name != "network"]
    checked = {}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"{source}: unknown key {key!r}; known are {', '.join(known)}")
        checked[key] = _converted(source, key, value, getattr(defaults, key))
    return checked


def _converted(source: str, key: str, value: Any, default: Any) -> Any:
    """Convert `value` to the type of the option's default."""
    wanted = type(default)
    if wanted is tuple and isinstance(value, list) and all(type(width) is int and width > 0 for width in value):
        return tuple(value)
    if wanted is float and type(value) is int:
        return float(value)
    if issubclass(wanted, str) and isinstance(value, str):
        try:
            return wanted(value)
        except ValueError as exc:
            options = ", ".join(wanted.__members__.values()) if hasattr(wanted, "__members__") else wanted.__name__
            raise ConfigError(f"{source}: {key} is one of {options}, not {value!r}") from exc
    if type(value) is not wanted:
        raise ConfigError(f"{source}: {key} takes {wanted.__name__} like {default!r}, found {value!r}")
    return value
