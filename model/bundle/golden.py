"""Real requests with the trainer's answers: what a bundle must reproduce before it may serve."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from model.bundle.errors import SchemaMismatch
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
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Raises: SchemaMismatch, when `document` is not what `to_json` writes."""
        try:
            request = dict(document["request"])
            for name in ("candidate_attributes", "behaviour_attributes"):  # JSON has text keys only
                request[name] = {int(position): values for position, values in request[name].items()}
            return cls(request=ScoringRequest(**request), ctr=[float(ctr) for ctr in document["ctr"]])
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise SchemaMismatch("golden.json", expected="requests and their CTRs", found=str(exc)) from exc
