"""Results of one run, read back from JSON by goals, tables and the picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.serving.setting import Shape
from bench.serving.timing import Timing
from bench.serving.under_load import ServiceResults


@dataclass(frozen=True, slots=True)
class ScoringResults:
    """Scoring alone, of one network and shape.

    Attributes:
        timings: by subject.
        skipped: reason by subject.
        looked_up: share of the weights that came from the activation table; None without one.
    """

    network: str
    shape: Shape
    timings: Mapping[str, Timing]
    skipped: Mapping[str, str]
    largest_difference: float
    looked_up: float | None = None

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "ScoringResults":
        timings = {name: Timing(**timing) for name, timing in document["timings"].items()}
        return cls(**{**document, "shape": Shape(**document["shape"]), "timings": timings})


@dataclass(frozen=True, slots=True)
class Results:
    """Attributes:
    scoring, services: empty if that part did not run.
    """

    scoring: Sequence[ScoringResults]
    services: Sequence[ServiceResults]

    def timing(self, network: str, shape: Shape, subject: str) -> Timing:
        """Raises: NotMeasured."""
        for results in self.scoring:
            if (results.network, results.shape) == (network, shape):
                return _found(subject, results.timings, results.skipped)
        raise NotMeasured("scoring was not measured")

    def service(self, shape: Shape) -> ServiceResults:
        """Raises: NotMeasured."""
        for results in self.services:
            if results.shape == shape:
                return results
        raise NotMeasured("the service was not measured")

    def per_second(self, shape: Shape, service: str) -> float:
        """Return answers per second at saturation. Raises: NotMeasured."""
        results = self.service(shape)
        per_second: float = _found(service, results.saturations, results.skipped).per_second
        return per_second


class NotMeasured(Exception):
    """The figure is missing; the message says why."""


def _found(name: str, measured: Mapping[str, Any], skipped: Mapping[str, str]) -> Any:
    if name not in measured:
        raise NotMeasured(f"{name}: {skipped.get(name, 'it was not measured')}")
    return measured[name]
