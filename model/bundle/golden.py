"""Real requests with the trainer's answers: what a bundle must reproduce before it may serve."""

import reprlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from model.bundle.errors import SchemaMismatch
from model.bundle.files import GOLDEN_FILE
from model.bundle.request import ScoringRequest

TOLERANCE = 1e-5  # largest absolute difference of two CTRs that count as equal


@dataclass(frozen=True, slots=True)
class GoldenAnswer:
    """One request and the CTR of each of its candidates, as torch computed them."""

    request: ScoringRequest
    ctr: Sequence[float]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

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
            answer = cls(request=ScoringRequest(**request), ctr=ctrs)
            num_candidates = len(answer.request.candidates)
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise SchemaMismatch(GOLDEN_FILE, expected="requests and their CTRs", found=str(exc)) from exc
        if num_candidates == 0 or len(ctrs) != num_candidates:
            raise SchemaMismatch(
                GOLDEN_FILE,
                expected=f"{num_candidates or 'candidates and'} CTRs, one per candidate of request {number}",
                found=str(len(ctrs)),
            )
        return answer


def _ctr(value: Any, number: int, candidate: int) -> float:
    if type(value) not in (int, float) or not 0.0 <= value <= 1.0:  # NaN is in no interval
        raise SchemaMismatch(
            GOLDEN_FILE,
            expected=f"a CTR from 0 to 1 for candidate {candidate} of golden request {number}",
            found=reprlib.repr(value),
        )
    return float(value)
