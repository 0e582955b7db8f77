"""Real requests with the trainer's answers: what a bundle must reproduce before it may serve."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from model.bundle.errors import SchemaMismatch
from model.bundle.request import ScoringRequest

TOLERANCE = 1e-5  # largest absolute difference of two CTRs that count as equal
MAX_TOLERANCE = 0.01  # and behind a calibration so steep that rounding errors of logits show, at the very most


@dataclass(frozen=True, slots=True)
class GoldenAnswer:
    """One request and the CTR of each of its candidates, as torch computed them.

    Attributes:
        tolerance: how far each CTR may be off, from `TOLERANCE` to `MAX_TOLERANCE`; empty for `TOLERANCE` throughout.
            The trainer allows more where the calibration is steep, see `training.parity`.
    """

    request: ScoringRequest
    ctr: Sequence[float]
    tolerance: Sequence[float] = ()

    @property
    def allowed(self) -> NDArray[np.float64]:
        """The tolerance of each CTR."""
        return np.asarray(self.tolerance) if len(self.tolerance) else np.full(len(self.ctr), TOLERANCE)

    def to_json(self) -> dict[str, Any]:
        document = asdict(self)
        return document if self.tolerance else {name: document[name] for name in ("request", "ctr")}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Raises: SchemaMismatch, when `document` is not what `to_json` writes."""
        try:
            request = dict(document["request"])
            for name in ("candidate_attributes", "behaviour_attributes"):  # JSON has text keys only
                request[name] = {int(position): values for position, values in request[name].items()}
            answer = cls(
                request=ScoringRequest(**request),
                ctr=[float(ctr) for ctr in document["ctr"]],
                tolerance=tuple(float(allowed) for allowed in document.get("tolerance", ())),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise SchemaMismatch("golden.json", expected="requests and their CTRs", found=str(exc)) from exc
        if not _are_tolerances(answer):
            raise SchemaMismatch(
                "golden.json",
                expected=f"a tolerance from {TOLERANCE:g} to {MAX_TOLERANCE:g} per CTR, or none",
                found=str(answer.tolerance),
            )
        return answer


def _are_tolerances(answer: GoldenAnswer) -> bool:
    """NaN is none: no comparison with it holds."""
    are_within = all(TOLERANCE <= allowed <= MAX_TOLERANCE for allowed in answer.tolerance)
    return are_within and len(answer.tolerance) in (0, len(answer.ctr))
