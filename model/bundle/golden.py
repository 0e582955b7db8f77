"""Golden requests: real requests with the trainer's answers, which a bundle must reproduce before it may serve."""

import reprlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dinrank.model.bundle.errors import SchemaMismatch
from dinrank.model.bundle.files import GOLDEN_FILE
from dinrank.model.bundle.request import ScoringRequest

TOLERANCE = 1e-5  # largest absolute difference of two CTRs that count as equal
MAX_TOLERANCE = 0.01  # upper bound behind a calibration steep enough to amplify the rounding errors of logits


@dataclass(frozen=True, slots=True)
class GoldenAnswer:
    """One request and the CTR of each of its candidates, as torch computed them.

    Attributes:
        tolerance: largest error of each CTR, from `TOLERANCE` to `MAX_TOLERANCE`; empty for `TOLERANCE` throughout.
            The trainer allows more where the calibration is steep, see `dinrank.training.export.check`.
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
    def from_json(cls, document: Any, *, number: int = 0) -> Self:
        """Read what `to_json` writes.

        Args:
            number: of this answer among all in the file, for messages.

        Raises:
            SchemaMismatch: anything else, a number that is no CTR, or not one CTR per candidate.
        """
        try:
            request = dict(document["request"])
            for name in ("candidate_attributes", "behaviour_attributes"):  # JSON has text keys only
                request[name] = {int(position): values for position, values in request[name].items()}
            ctrs = [_ctr(ctr, number, candidate) for candidate, ctr in enumerate(document["ctr"])]
            tolerance = tuple(float(allowed) for allowed in document.get("tolerance", ()))
            answer = cls(request=ScoringRequest(**request), ctr=ctrs, tolerance=tolerance)
            num_candidates = len(answer.request.candidates)
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise SchemaMismatch(GOLDEN_FILE, expected="requests and their CTRs", found=str(exc)) from exc
        if num_candidates == 0 or len(ctrs) != num_candidates:
            raise SchemaMismatch(
                GOLDEN_FILE,
                expected=f"{num_candidates or 'candidates and'} CTRs, one per candidate of request {number}",
                found=str(len(ctrs)),
            )
        if not _are_tolerances(answer):
            raise SchemaMismatch(
                GOLDEN_FILE,
                expected=f"a tolerance from {TOLERANCE:g} to {MAX_TOLERANCE:g} per CTR, or none",
                found=str(answer.tolerance),
            )
        return answer


def _are_tolerances(answer: GoldenAnswer) -> bool:
    """NaN is not a tolerance: every comparison with it is false."""
    beyond = [allowed for allowed in answer.tolerance if not TOLERANCE <= allowed <= MAX_TOLERANCE]
    return not beyond and len(answer.tolerance) in (0, len(answer.ctr))


def _ctr(value: Any, number: int, candidate: int) -> float:
    if type(value) not in (int, float) or not 0.0 <= value <= 1.0:  # NaN is in no interval
        raise SchemaMismatch(
            GOLDEN_FILE,
            expected=f"a CTR from 0 to 1 for candidate {candidate} of golden request {number}",
            found=reprlib.repr(value),
        )
    return float(value)
